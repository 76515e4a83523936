"""The Azure attester: on swtpm, behind a mounted device file, with what Azure's paravisor adds around it."""

import hashlib
import json
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from support import azure_vtpm, fuse, swtpm
from support.attesters import EVIDENCE, collateral
from support.azure_vtpm import KEY, REPORT_INDEX, TDX, USER_DATA_INDEX, AzureVtpm, Clock, Devices, hcl_report
from support.fake_amd import AT, FakeAmd
from support.platform import serving, whole
from vesica_attestation import azure
from vesica_attestation._platform_http import Service
from vesica_attestation._table import Table
from vesica_attestation._tpm.commands import RETRIES_MAX, Tpm, TpmError
from vesica_attestation._tpm.quoting import ATTEMPTS_MAX
from vesica_attestation.azure import imds
from vesica_attestation.azure.attester import AzureAttester
from vesica_attestation.binding import Binding
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Kind, from_json

pytestmark = pytest.mark.skipif(
    bool(swtpm.why_not() or fuse.why_not()), reason=f"{swtpm.why_not()}, {fuse.why_not()}: install swtpm, be root"
)
DATA = Binding(b"n" * 32, b"t" * 32, b"h" * 32, b"r" * 32, b"a" * 32).report_data()
NV_DEFINE_SPACE, NV_WRITE, QUOTE, PCR_READ = 0x12A, 0x137, 0x158, 0x17E
PCR_READ_FIRST_EIGHT = bytes.fromhex("8001 00000014 0000017e 00000001 000b 03 ff0000")
RC_RETRY = struct.pack(">HII", 0x8001, 10, 0x922)


class Machine:
    """A virtual machine at Azure, and an attester in it."""

    def __init__(self, tpm: swtpm.Exchange, modulus: int, amd: FakeAmd, folder: Path) -> None:
        self.tpm, self.amd, self.clock = tpm, amd, Clock()
        self.vtpm = AzureVtpm(tpm, modulus, lambda data: amd.report(report_data=data), self.clock)
        self.devices = Devices(self.vtpm.exchange)
        self.device = folder / "tpmrm0"

    def attester(self, **options) -> AzureAttester:
        given = {"certificate": lambda _: self.amd.certificate(), "device": self.device, "sleep": self.clock.sleep}
        return AzureAttester(**given | options)


@contextmanager
def machine_in(folder: Path, *, key: bool = True, **key_options: int) -> Iterator[Machine]:
    with swtpm.running(folder) as tpm:
        modulus = swtpm.make_attestation_key(tpm, KEY, **key_options) if key else 1 << 2047 | 1
        mounted_at = folder / "dev"
        mounted_at.mkdir()
        machine = Machine(tpm, modulus, FakeAmd(), mounted_at)
        with fuse.mounted(machine.devices, mounted_at):
            yield machine
        assert machine.devices.device.open_now == 0


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with machine_in(tmp_path) as made:
        yield made


def policy(evidence, **changes) -> azure.AzurePolicy:
    snp = {
        "launch_digests": [(b"\xaa" * 48).hex()],
        "minimum_tcb": {"milan": {"bootloader": 0, "tee": 0, "snp": 0, "microcode": 0}},
        "vmpl": [0],
    }
    pcrs = {"7": [evidence.many("pcrs")[7].hex()]}
    return azure.read_policy(Table("azure", {"pcrs": pcrs, "sev_snp": snp} | changes))


def test_evidence_from_a_real_tpm_behind_a_device_file_is_accepted_by_the_verifier(machine, monkeypatch):
    machine.amd.install(monkeypatch)
    swtpm.extend(machine.tpm, 7)
    evidence = machine.attester().attest(DATA)
    assert evidence.kind is Kind.AZURE
    assert from_json(evidence.to_json()) == evidence
    assert azure.verify(evidence, DATA, policy(evidence), AT).claims
    with pytest.raises(Refused, match="report-data"):
        azure.verify(evidence, bytes(64), policy(evidence), AT)
    with pytest.raises(Refused, match="pcr"):
        azure.verify(evidence, DATA, policy(evidence, pcrs={"7": ["00" * 32]}), AT)


def test_the_hardware_report_is_fresh_each_time_though_azure_renews_it_only_every_two_seconds(machine, monkeypatch):
    machine.amd.install(monkeypatch)
    attester = machine.attester()
    for number in range(4):
        data = bytes([number]) * 64
        evidence = attester.attest(data)
        azure.verify(evidence, data, policy(evidence), AT)
    assert machine.clock.slept == [2.1, 2.1, 2.1]  # the first had no report before it


def test_the_user_data_index_is_made_where_it_is_missing_and_used_where_it_is_there(machine):
    machine.attester().attest(DATA)
    machine.attester().attest(DATA)
    assert machine.vtpm.commands.count(NV_DEFINE_SPACE) == 1
    assert swtpm.nv_read(machine.tpm, USER_DATA_INDEX, 64) == DATA


def test_the_quote_is_by_the_persistent_key_over_all_pcrs_and_the_digest_of_the_report_data(machine):
    swtpm.extend(machine.tpm, 0)
    evidence = machine.attester().attest(DATA)
    message, signature = evidence.part("quote_message"), evidence.part("quote_signature")
    public = rsa.RSAPublicNumbers(65537, machine.vtpm.modulus).public_key()
    public.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    assert hashlib.sha256(DATA).digest() in message
    pcrs = evidence.many("pcrs")
    assert pcrs[0] == hashlib.sha256(bytes(32) + b"\x11" * 32).digest()
    assert pcrs[1] == bytes(32)
    assert pcrs[17:23] == (b"\xff" * 32,) * 6
    assert message.endswith(hashlib.sha256(b"".join(pcrs)).digest())


def test_a_pcr_that_changes_between_quote_and_reading_is_quoted_again(machine):
    times = []

    def meddle(command: bytes) -> None:
        if int.from_bytes(command[6:10], "big") == PCR_READ and not times:
            times.append(command)
            swtpm.extend(machine.tpm, 16)

    machine.vtpm.before = meddle
    evidence = machine.attester().attest(DATA)
    assert machine.vtpm.commands.count(QUOTE) == 2
    assert evidence.part("quote_message").endswith(hashlib.sha256(b"".join(evidence.many("pcrs"))).digest())


def test_pcrs_that_never_rest_make_attestation_fail(machine):
    def meddle(command: bytes) -> None:
        if int.from_bytes(command[6:10], "big") == PCR_READ:
            swtpm.extend(machine.tpm, 16)

    machine.vtpm.before = meddle
    with pytest.raises(AttesterUnavailable, match="PCRs changed"):
        machine.attester().attest(DATA)
    assert machine.vtpm.commands.count(QUOTE) == ATTEMPTS_MAX


def rival_after_write(machine: Machine, times: int):
    """Another program that overwrites the user data before the report is read."""
    left = [times]

    def meddle(command: bytes) -> None:
        reads = int.from_bytes(command[6:10], "big") == swtpm.NV_READ
        if reads and command[-2:] == b"\0\0" and left[0] > 0:
            left[0] -= 1
            swtpm.nv_write(machine.tpm, USER_DATA_INDEX, b"\xee" * 64)

    return meddle


def test_another_program_that_writes_the_user_data_costs_a_try(machine, monkeypatch):
    machine.amd.install(monkeypatch)
    machine.vtpm.before = rival_after_write(machine, 2)
    evidence = machine.attester().attest(DATA)
    azure.verify(evidence, DATA, policy(evidence), AT)
    assert len(machine.clock.slept) == 2


def test_another_program_that_never_stops_makes_attestation_fail_and_never_lie(machine):
    machine.vtpm.before = rival_after_write(machine, 10**6)
    with pytest.raises(AttesterUnavailable, match="about something else"):
        machine.attester().attest(DATA)
    assert machine.clock.slept == [2.1] * (ATTEMPTS_MAX - 1)


def test_a_report_renewed_between_two_pieces_of_a_read_is_read_again(machine, monkeypatch):
    machine.amd.install(monkeypatch)
    torn = []

    def meddle(command: bytes) -> None:
        at_second_piece = int.from_bytes(command[6:10], "big") == swtpm.NV_READ and command[-2:] == b"\x02\0"
        if at_second_piece and not torn:
            torn.append(command)
            machine.clock.now += 60

    machine.vtpm.before = meddle
    evidence = machine.attester().attest(DATA)
    assert len(machine.clock.slept) == 1
    assert azure.verify(evidence, DATA, policy(evidence), AT).claims


def test_a_tpm_that_is_not_ready_is_asked_again_with_the_same_command_and_not_for_ever(machine):
    refused = []

    def busy(command: bytes) -> bytes | None:
        if refused.count(command) >= 2:
            return None
        refused.append(command)
        return RC_RETRY

    machine.vtpm.before = busy
    machine.attester().attest(DATA)
    machine.vtpm.before = lambda command: (refused.append(command), RC_RETRY)[1]
    refused.clear()
    with pytest.raises(AttesterUnavailable, match="not ready"):
        machine.attester().attest(DATA)
    assert len(refused) == RETRIES_MAX


def test_a_tpm_whose_owner_has_a_password_is_an_error_that_says_what_was_refused(machine):
    swtpm.set_owner_password(machine.tpm, b"secret")
    with pytest.raises(AttesterUnavailable, match=r"refused command 0x12a with 0x9a2"):
        machine.attester().attest(DATA)


def test_a_missing_key_is_an_error(tmp_path):
    why = "refused command 0x158 with 0x18b"
    with machine_in(tmp_path, key=False) as machine, pytest.raises(AttesterUnavailable, match=why):
        machine.attester().attest(DATA)


def test_a_key_that_signs_otherwise_is_an_error(tmp_path):
    why = "not RSASSA, RSAPSS or ECDSA with SHA-256"
    with machine_in(tmp_path, hash_algorithm=0x000C) as machine, pytest.raises(AttesterUnavailable, match=why):
        machine.attester().attest(DATA)


def test_a_tpm_that_is_not_azures_no_tpm_and_a_file_are_told_apart(machine, tmp_path):
    machine.attester().probe()
    machine.vtpm.exchange = machine.tpm
    machine.devices.device.exchange = machine.tpm
    with pytest.raises(AttesterUnavailable, match="no report of Azure's"):
        machine.attester().probe()
    with pytest.raises(AttesterUnavailable, match="No such file"):
        machine.attester(device=tmp_path / "none").probe()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AttesterUnavailable, match="cut off"):
        machine.attester(device=tmp_path / "file").probe()


def test_probing_makes_no_report_and_writes_nothing(machine):
    machine.attester().probe()
    assert machine.vtpm.renewed_at is None
    assert NV_WRITE not in machine.vtpm.commands


def test_every_answer_cut_off_or_changed_at_its_head_is_an_error_and_nothing_else(machine):
    """Each command's real answer, cut at every length, and with each bit of its first 16 bytes flipped."""
    machine.attester().attest(DATA)
    recorded: dict[int, tuple[bytes, bytes]] = {}

    def record(command: bytes) -> bytes:
        answer = machine.vtpm.exchange(command)
        recorded.setdefault(int.from_bytes(command[6:10], "big"), (command, answer))
        return answer

    calls = {
        0x169: lambda tpm: tpm.nv_size(USER_DATA_INDEX),
        0x14E: lambda tpm: tpm.nv_read(USER_DATA_INDEX, 64),
        0x137: lambda tpm: tpm.nv_write(USER_DATA_INDEX, DATA),
        0x158: lambda tpm: tpm.quote(KEY, b"x"),
        0x17E: lambda tpm: tpm.pcrs(),
    }
    for call in calls.values():
        call(Tpm(record, machine.clock.sleep))
    assert set(recorded) == set(calls)
    for code, call in calls.items():
        _, answer = recorded[code]
        cut = [answer[:size] for size in range(len(answer))]
        flipped = [_flip(answer, bit) for bit in range(8 * min(16, len(answer)))]
        for wrong in cut + flipped + [answer + b"\0"]:
            try:
                call(Tpm(lambda _, wrong=wrong: wrong, machine.clock.sleep))
            except TpmError:
                continue
            # Flips that leave a well-formed answer: a handle that is said not to exist; sizes and counters inside.
            assert wrong in flipped


def test_an_answer_of_another_form_or_with_fewer_pcrs_is_an_error(machine):
    def answering(change):
        return Tpm(lambda command: change(machine.vtpm.exchange(command)), machine.clock.sleep)

    swtpm.extend(machine.tpm, 0)
    with pytest.raises(TpmError, match="another form"):
        answering(lambda answer: b"\x80\x02" + answer[2:]).pcrs()
    assert machine.vtpm.exchange(PCR_READ_FIRST_EIGHT)[24:28] == b"\0\0\0\x08"
    for count in (0, 7, 9):
        with pytest.raises(TpmError, match="other PCRs"):
            answering(lambda answer, count=count: answer[:24] + count.to_bytes(4, "big") + answer[28:]).pcrs()


def _flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def real(name: str) -> dict:
    return json.loads((EVIDENCE / "azure" / name / "evidence.json").read_text())


def _unpacked(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_real_snp_report_is_read_intact_and_only_the_quote_of_another_tpm_refuses_it(machine):
    document = real("snp-vtpm-v2")
    raw = _unpacked(document["hcl_report"])
    machine.vtpm.renewed_at, machine.vtpm.report = machine.clock.now, raw
    user_data = bytes.fromhex(json.loads(raw[1236:].rstrip(b"\0"))["user-data"])
    evidence = machine.attester(certificate=lambda report: _unpacked(document["vcek"])).attest(user_data)
    assert evidence.part("hcl_report") == raw
    with pytest.raises(Refused, match="tpm-signature"):
        azure.verify(evidence, user_data, policy(evidence), datetime(2025, 6, 1, tzinfo=UTC))


def test_a_real_td_report_is_turned_into_a_quote_by_the_host(machine):
    document = real("tdx-vtpm-v1")
    raw, quote = _unpacked(document["hcl_report"]), _unpacked(document["td_quote"])
    machine.vtpm.renewed_at, machine.vtpm.report = machine.clock.now, raw
    asked = []
    attester = machine.attester(td_quote=lambda report: (asked.append(report), quote)[1], collateral=collateral)
    evidence = attester.attest(bytes(64))
    assert asked == [raw[32 : 32 + 1024]]
    assert set(evidence.parts) == {
        "hcl_report", "quote_message", "quote_signature", "pcrs", "td_quote", "collateral",
    }  # fmt: skip
    assert (evidence.part("td_quote"), evidence.part("collateral")) == (quote, collateral(b""))
    with pytest.raises(AttesterUnavailable, match="collateral"):
        machine.attester(td_quote=lambda _: quote).attest(bytes(64))
    other = (EVIDENCE / "tdx" / "v4-uptodate" / "quote.bin").read_bytes()
    with pytest.raises(AttesterUnavailable, match="about something else"):
        machine.attester(td_quote=lambda _: other, collateral=collateral).attest(bytes(64))


def test_a_hardware_report_that_is_not_bound_to_its_claims_is_not_handed_out(machine):
    claims = azure_vtpm.runtime_claims(machine.vtpm.modulus, DATA)
    for kind, report in ((azure_vtpm.SNP, machine.amd.report(report_data=bytes(64))), (TDX, bytes(1024))):
        machine.vtpm.renew = lambda kind=kind, report=report: setattr(
            machine.vtpm, "report", hcl_report(kind, report, claims)
        )
        with pytest.raises(AttesterUnavailable, match="about something else"):
            machine.attester().attest(DATA)


def loopback(seen) -> Service:
    return Service(seen.address, 2.0)


def test_the_hosts_certificate_is_fetched_as_microsoft_documents_it():
    body = json.dumps({"vcekCert": "-----BEGIN", "certificateChain": "...", "tcbm": "00"}).encode()
    with serving(None, whole(200, body)) as seen:
        assert imds.vcek(b"report", loopback(seen)) == b"-----BEGIN"
    (asked,) = seen.requests
    assert (asked.method, asked.target) == ("GET", "/metadata/THIM/amd/certification")
    assert asked.headers["metadata"] == "true"


def test_the_hosts_quote_is_fetched_as_microsoft_documents_it():
    quote = bytes(range(256)) * 20
    body = json.dumps({"quote": urlsafe_b64encode(quote).rstrip(b"=").decode()}).encode()
    with serving(None, whole(200, body)) as seen:
        assert imds.td_quote(b"\xff" * 1024, loopback(seen)) == quote
    (asked,) = seen.requests
    assert (asked.method, asked.target) == ("POST", "/acc/tdquote")
    assert asked.document == {"report": urlsafe_b64encode(b"\xff" * 1024).rstrip(b"=").decode()}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"{}"),
        (500, b'{"quote": "AAAA", "vcekCert": "-----BEGIN"}'),
        (200, b""),
        (200, b"[]"),
        (200, b'"x"'),
        (200, b'{"quote": 1, "vcekCert": null}'),
        (200, b"[" * 50000),
    ],
)
def test_a_host_that_answers_otherwise_is_an_error(status, body):
    for fetch in (imds.vcek, imds.td_quote):
        with serving(None, whole(status, body)) as seen, pytest.raises(AttesterUnavailable):
            fetch(b"report", loopback(seen))


def test_a_hosts_quote_that_is_not_base64_is_an_error():
    reply = whole(200, b'{"quote": "\\u00e4"}')
    with serving(None, reply) as seen, pytest.raises(AttesterUnavailable, match="base64url"):
        imds.td_quote(b"", loopback(seen))


def test_the_attesters_indices_are_azures():
    assert (REPORT_INDEX, USER_DATA_INDEX, KEY) == (0x01400001, 0x01400002, 0x81000003)


@pytest.mark.parametrize("size", [0, 32, 65])
def test_report_data_of_another_length_is_a_bug(machine, size):
    with pytest.raises(ValueError, match="64 bytes"):
        machine.attester().attest(bytes(size))
