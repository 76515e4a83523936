"""The attester of a plain vTPM, on swtpm, by its socket and by a device file; and how a TPM is enrolled for it."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from support import fuse, swtpm
from support import tpm_evidence as make
from support.azure_vtpm import Devices
from support.tpm_evidence import ENDORSEMENT, EVENTS, OWNER, RSAPSS, RSASSA, event_log
from vesica_attestation import azure, tpm
from vesica_attestation._tpm.commands import PASSWORD, Tpm, sized
from vesica_attestation._tpm.device import opened
from vesica_attestation._tpm.quoting import ATTEMPTS_MAX
from vesica_attestation.binding import Binding
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Evidence, Kind, from_json
from vesica_attestation.needs import Needs
from vesica_attestation.tpm import TpmPolicy
from vesica_attestation.tpm.attester import ENROLLED, PLACES, Place, TpmAttester
from vesica_enclave.tpm_enrol.authority import Authority, open_authority
from vesica_enclave.tpm_enrol.enrolment import ATTESTATION_TEMPLATE, install, proven_key

pytestmark = pytest.mark.skipif(bool(swtpm.why_not()), reason=f"{swtpm.why_not()}: apt-get install swtpm")
DATA = Binding(b"n" * 32, b"t" * 32, b"h" * 32, b"r" * 32, b"a" * 32).report_data()
NOW = datetime.now(UTC).replace(microsecond=0)
CREATE, LOAD, QUOTE, PCR_READ, GET_CAPABILITY = 0x153, 0x157, 0x158, 0x17E, 0x17A
RC_RETRY = struct.pack(">HII", 0x8001, 10, 0x922)
NO_LOGS = ()


def no_sleep(_: float) -> None:
    """Retries come at once."""


def rsa_template(scheme: int) -> bytes:
    start = struct.pack(">HHI", 1, make.SHA256, make.ATTRIBUTES) + sized(b"")
    return start + struct.pack(">HHHHI", make.NULL, scheme, make.SHA256, 2048, 0) + sized(b"")


@dataclass
class Machine:
    """A software TPM with an enrolled key, after a boot."""

    socket: Path
    authority: Authority
    folder: Path

    @contextmanager
    def tpm(self) -> Iterator[Tpm]:
        with opened(self.socket) as exchange:
            yield Tpm(exchange, no_sleep)

    def boot(self, events=EVENTS) -> None:
        with opened(self.socket) as exchange:
            for pcr, digest in events:
                swtpm.extend(exchange, pcr, digest)

    def attester(self, **options) -> TpmAttester:
        return TpmAttester(**{"device": self.socket, "event_logs": NO_LOGS, "sleep": no_sleep} | options)

    def policy(self, evidence: Evidence, **changes) -> TpmPolicy:
        pcrs = {index: frozenset({evidence.many("pcrs")[index]}) for index in (4, 11, 12, 13)}
        digests = frozenset({bytes.fromhex(self.authority.digest)})
        return TpmPolicy(**{"ca_certificate_digests": digests, "pcrs": pcrs} | changes)

    def verify(self, evidence: Evidence, data: bytes = DATA):
        return tpm.verify(from_json(evidence.to_json()), data, self.policy(evidence), NOW)

    def enrol(self, template: bytes = ATTESTATION_TEMPLATE, place: Place = ENROLLED) -> None:
        with self.tpm() as device, proven_key(device, lambda _: None, template) as (handle, key):
            chain = (self.authority.certify(key, 30, NOW), self.authority.certificate)
            install(
                device,
                handle,
                place.handle,
                place.certificate,
                b"".join(one.public_bytes(Encoding.DER) for one in chain),
            )


@contextmanager
def machine_in(folder: Path) -> Iterator[Machine]:
    (folder / "tpm").mkdir()
    with swtpm.serving(folder / "tpm") as socket:
        yield Machine(socket, open_authority(folder / "ca", NOW), folder)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Machine]:
    """With nothing in its TPM."""
    with machine_in(tmp_path) as made:
        yield made


@pytest.fixture
def machine(bare: Machine) -> Machine:
    bare.enrol()
    bare.boot()
    return bare


def test_evidence_of_an_enrolled_tpm_is_accepted_by_the_verifier(machine):
    evidence = machine.attester().attest(DATA)
    assert evidence.kind is Kind.TPM
    claims = machine.verify(evidence).claims
    assert claims["pcr.4"] == make.replay(EVENTS)[4].hex()
    assert claims["attestation_key.hierarchy"] == "endorsement"
    assert claims["warning"] == tpm.WARNING
    with pytest.raises(Refused, match="report-data"):
        machine.verify(evidence, bytes(64))


@pytest.mark.parametrize("scheme", [RSASSA, RSAPSS])
def test_rsa_keys_of_a_real_tpm_are_accepted(bare, scheme):
    bare.enrol(rsa_template(scheme))
    bare.boot()
    evidence = bare.attester().attest(DATA)
    assert bare.verify(evidence)
    assert evidence.part("quote_signature")[:2] == struct.pack(">H", scheme)


def test_a_key_of_the_owners_hierarchy_is_accepted_and_its_counts_are_not_shown(bare):
    with bare.tpm() as device, device.primary(OWNER, ATTESTATION_TEMPLATE) as (handle, public):
        certificate = bare.authority.certify(tpm.abi.parse_public(public), 30, NOW)
        chain = certificate.public_bytes(Encoding.DER) + bare.authority.certificate.public_bytes(Encoding.DER)
        install(device, handle, ENROLLED.handle, ENROLLED.certificate, chain)
    bare.boot()
    claims = bare.verify(bare.attester().attest(DATA)).claims
    assert claims["attestation_key.hierarchy"] == "owner"
    assert "reset_count" not in claims


def test_a_key_under_a_parent_gives_evidence_that_is_refused(bare):
    """As tpm2_createak makes them. Their qualified name says nothing to who does not know the parent."""
    storage = struct.pack(">HHI", 0x23, make.SHA256, 0x00030472) + sized(b"")
    storage += struct.pack(">HHHHHH", 6, 128, 0x43, make.NULL, 3, make.NULL) + 2 * sized(b"")
    with bare.tpm() as device, device.primary(OWNER, storage) as (parent, _):
        created = sized(2 * sized(b"")) + sized(ATTESTATION_TEMPLATE) + sized(b"") + struct.pack(">I", 0)
        answer = device.command(CREATE, (parent,), created, (PASSWORD,)).parameters
        private, public = answer.sized(), answer.sized()
        loaded = device.command(LOAD, (parent,), sized(private) + sized(public), (PASSWORD,), makes=True)
        chain = (bare.authority.certify(tpm.abi.parse_public(public), 30, NOW), bare.authority.certificate)
        held = b"".join(one.public_bytes(Encoding.DER) for one in chain)
        install(device, loaded.handle, ENROLLED.handle, ENROLLED.certificate, held)
        device.flush(loaded.handle)
    bare.boot()
    with pytest.raises(Refused, match="not a primary key"):
        bare.verify(bare.attester().attest(DATA))


def test_google_leaves_a_template_and_the_key_is_made_from_it_each_time_and_is_gone_afterwards(bare):
    place = PLACES[2]
    template = rsa_template(RSASSA)
    with bare.tpm() as device:
        with proven_key(device, lambda _: None, template) as (_, key):
            certificate = bare.authority.certify(key, 30, NOW).public_bytes(Encoding.DER)
        for index, content in ((place.template, template), (place.certificate, certificate)):
            device.nv_define(index, len(content))
            device.nv_write(index, content)
    bare.boot()
    issuers = bare.authority.certificate.public_bytes(Encoding.PEM)
    attester = bare.attester(certificates=lambda public: issuers)
    for _ in range(4):
        assert bare.verify(attester.attest(DATA))
    with bare.tpm() as device:
        assert transient_objects(device) == 0


def test_azures_handle_and_index_are_found(bare):
    bare.enrol(rsa_template(RSASSA), PLACES[1])
    bare.boot()
    assert bare.verify(bare.attester().attest(DATA))


def test_an_enrolled_key_comes_before_a_clouds(machine):
    machine.enrol(rsa_template(RSASSA), PLACES[1])
    assert machine.attester().attest(DATA).part("attestation_key")[:2] == b"\0\x23"
    only = machine.attester(places=(PLACES[1],))
    assert only.attest(DATA).part("attestation_key")[:2] == b"\0\x01"


def transient_objects(device: Tpm) -> int:
    answer = device.command(GET_CAPABILITY, (), struct.pack(">III", 1, 0x80000000, 8)).parameters
    answer.take(1 + 4)
    return answer.number(4)


def test_nothing_is_left_in_the_tpm_by_enrolling_or_attesting(machine):
    for _ in range(5):
        machine.enrol()
        machine.attester().attest(DATA)
    with machine.tpm() as device:
        assert transient_objects(device) == 0
        sessions = device.command(GET_CAPABILITY, (), struct.pack(">III", 1, 0x02000000, 8)).parameters
        sessions.take(1 + 4)
        assert sessions.number(4) == 0


def test_behind_a_device_file_it_is_the_same(machine, tmp_path):
    if fuse.why_not():
        pytest.skip(f"no FUSE here: {fuse.why_not()}")
    (tmp_path / "dev").mkdir()
    with opened(machine.socket) as exchange:
        devices = Devices(exchange)
        with fuse.mounted(devices, tmp_path / "dev"):
            evidence = machine.attester(device=tmp_path / "dev" / "tpmrm0").attest(DATA)
            assert machine.verify(evidence)
        assert devices.device.open_now == 0


# The event log


def test_a_log_that_gives_the_quoted_pcrs_is_sent_along_and_shown(machine, tmp_path):
    log = tmp_path / "log"
    log.write_bytes(event_log(EVENTS))
    evidence = machine.attester(event_logs=(tmp_path / "none", log)).attest(DATA)
    assert machine.verify(evidence).claims["launched.programs"] == [make.IMAGE.hex(), make.KERNEL.hex()]


@pytest.mark.parametrize(
    "content", [b"", b"x", event_log(EVENTS[:-1]), event_log((*EVENTS, (1, b"\1" * 32))), bytes(2**20)]
)
def test_a_log_that_would_be_refused_is_left_out(machine, tmp_path, content):
    log = tmp_path / "log"
    log.write_bytes(content)
    evidence = machine.attester(event_logs=(log, tmp_path)).attest(DATA)
    assert "event_log" not in evidence.parts
    assert machine.verify(evidence)


# What goes wrong


class Meddling:
    """A TPM's socket with somebody in between, for attesters that talk to a device."""

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch, before) -> None:
        self.commands: list[int] = []

        @contextmanager
        def meddled(place: Path):
            with opened(place) as exchange:

                def between(command: bytes) -> bytes:
                    code = int.from_bytes(command[6:10], "big")
                    self.commands.append(code)
                    return before(code, exchange) or exchange(command)

                yield between

        monkeypatch.setattr("vesica_attestation.tpm.attester.opened", meddled)


def test_a_pcr_that_changes_between_quote_and_reading_is_quoted_again(machine, monkeypatch):
    done = []

    def before(code, exchange):
        if code == PCR_READ and not done:
            done.append(code)
            swtpm.extend(exchange, 15)

    meddling = Meddling(machine, monkeypatch, before)
    assert machine.verify(machine.attester().attest(DATA))
    assert meddling.commands.count(QUOTE) == 2


def test_pcrs_that_never_rest_make_attestation_fail(machine, monkeypatch):
    meddling = Meddling(
        machine, monkeypatch, lambda code, exchange: swtpm.extend(exchange, 15) if code == PCR_READ else None
    )
    with pytest.raises(AttesterUnavailable, match="PCRs changed"):
        machine.attester().attest(DATA)
    assert meddling.commands.count(QUOTE) == ATTEMPTS_MAX


def test_a_tpm_that_is_never_ready_is_an_error(machine, monkeypatch):
    Meddling(machine, monkeypatch, lambda code, exchange: RC_RETRY)
    with pytest.raises(AttesterUnavailable, match="not ready"):
        machine.attester().attest(DATA)


def test_a_tpm_without_a_key_no_tpm_and_a_file_are_told_apart(bare, tmp_path):
    with pytest.raises(AttesterUnavailable, match="no attestation key"):
        bare.attester().probe()
    with pytest.raises(AttesterUnavailable, match="No such file"):
        bare.attester(device=tmp_path / "none").probe()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AttesterUnavailable, match="cut off"):
        bare.attester(device=tmp_path / "file").probe()
    (tmp_path / "s").mkdir()


def test_a_key_without_a_certificate_is_an_error_that_says_what_to_give(machine):
    with pytest.raises(AttesterUnavailable, match="--tpm-certificates"):
        machine.attester(places=(Place(handle=ENROLLED.handle),)).attest(DATA)
    with pytest.raises(AttesterUnavailable, match="--tpm-certificates"):
        machine.attester(places=(Place(handle=ENROLLED.handle, certificate=0x01810002),)).attest(DATA)


@pytest.mark.parametrize("given", [b"x", b"-----BEGIN CERTIFICATE-----\n", b"\x30\x82\xff\xff\0", b"\x30\x82\0\1\0x"])
def test_certificates_that_cannot_be_read_are_an_error(machine, given):
    with pytest.raises(AttesterUnavailable, match="cannot be read"):
        machine.attester(certificates=lambda public: given).attest(DATA)


def test_certificates_from_the_tpm_and_from_the_file_are_sent_once_each_the_tpms_first(machine):
    held = machine.attester().attest(DATA).many("certificates")
    pem = b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in held)
    for given in (pem, b"".join(held), held[1], b"".join(held) + b"\xff" * 100 + b"\0"):
        assert (
            machine.attester(certificates=lambda public, given=given: given).attest(DATA).many("certificates") == held
        )
    without = machine.attester(places=(Place(handle=ENROLLED.handle),), certificates=lambda public: pem)
    assert without.attest(DATA).many("certificates") == held


def test_an_unrestricted_key_is_not_used(bare):
    template = ATTESTATION_TEMPLATE[:4] + struct.pack(">I", make.ATTRIBUTES & ~(1 << 16)) + ATTESTATION_TEMPLATE[8:]
    with bare.tpm() as device, device.primary(ENDORSEMENT, template) as (handle, _):
        install(device, handle, ENROLLED.handle, ENROLLED.certificate, b"\0")
    with pytest.raises(AttesterUnavailable, match="not restricted"):
        bare.attester().attest(DATA)


def test_what_an_unrestricted_key_of_the_same_tpm_signs_is_refused(bare):
    """A CA that certified it by mistake: the quote itself names the key as it is."""
    template = ATTESTATION_TEMPLATE[:4] + struct.pack(">I", make.ATTRIBUTES & ~(1 << 16)) + ATTESTATION_TEMPLATE[8:]
    bare.boot()
    with bare.tpm() as device, device.primary(ENDORSEMENT, template) as (handle, public):
        quote = device.quote(handle, azure.extra_data(DATA))
    restricted = public[:4] + struct.pack(">I", make.ATTRIBUTES) + public[8:]
    key = tpm.abi.parse_public(restricted)
    chain = (bare.authority.certify(key, 30, NOW), bare.authority.certificate)
    parts = {
        "quote_message": quote.message,
        "quote_signature": quote.signature,
        "pcrs": quote.pcrs,
        "attestation_key": restricted,
        "certificates": tuple(one.public_bytes(Encoding.DER) for one in chain),
    }
    with pytest.raises(Refused, match="names another key"):
        bare.verify(Evidence(Kind.TPM, parts))


@pytest.mark.parametrize("size", [0, 32, 65])
def test_report_data_of_another_length_is_a_bug(machine, size):
    with pytest.raises(ValueError, match="64 bytes"):
        machine.attester().attest(bytes(size))


def test_every_answer_cut_off_or_changed_is_an_error_or_evidence_that_is_refused_or_right(machine, monkeypatch):
    """Each command's real answer, cut off, and with bits of it flipped: no other exception, and no false evidence."""
    recorded: list[bytes] = []

    @contextmanager
    def recording(place: Path):
        with opened(place) as exchange:

            def between(command: bytes) -> bytes:
                recorded.append(exchange(command))
                return recorded[-1]

            yield between

    monkeypatch.setattr("vesica_attestation.tpm.attester.opened", recording)
    right = machine.attester().attest(DATA)
    answers = list(recorded)

    def with_answer(place: int, answer: bytes) -> None:
        replies = iter([*answers[:place], answer, *answers[place + 1 :], *[b""] * 50])

        @contextmanager
        def replaying(_: Path):
            yield lambda command: next(replies)

        monkeypatch.setattr("vesica_attestation.tpm.attester.opened", replaying)
        try:
            evidence = machine.attester().attest(DATA)
            machine.verify(evidence)
        except (AttesterUnavailable, Refused):
            return
        assert evidence.part("quote_message") == right.part("quote_message")

    for place, answer in enumerate(answers):
        for size in range(0, len(answer), 1 + len(answer) // 60):
            with_answer(place, answer[:size])
        for bit in range(0, 8 * len(answer), 1 + len(answer) // 20):
            changed = bytearray(answer)
            changed[bit // 8] ^= 1 << bit % 8
            with_answer(place, bytes(changed))
        with_answer(place, answer + b"\0")


def test_a_sealed_room_keeps_the_device_or_the_socket_and_the_logs_and_nothing_else(machine, tmp_path):
    logs = (tmp_path / "log",)
    by_socket, by_device = (
        machine.attester(event_logs=logs),
        machine.attester(event_logs=logs, device=tmp_path / "tpmrm0"),
    )
    assert by_socket.needs == Needs(sockets=frozenset({machine.socket}), reads=frozenset(logs))
    assert by_device.needs == Needs(devices=frozenset({tmp_path / "tpmrm0"}), reads=frozenset(logs))
