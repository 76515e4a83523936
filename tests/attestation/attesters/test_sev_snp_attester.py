"""The SEV-SNP attester, through a mounted fake of configfs-tsm that gives out real reports."""

import errno
import ssl
import threading
from collections import deque
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.attesters import ARK, VCEK, VLEK, snp, snp_driver, snp_report_data, table, tdx_driver, unsigned_snp_driver
from support.tsm import Entry, Faults, Tsm
from vesica_attestation import sev_snp
from vesica_attestation._configfs_tsm import ATTEMPTS_MAX
from vesica_attestation._table import Table
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import Kind, from_json
from vesica_attestation.sev_snp.attester import SevSnpAttester, certificate_table

REPORT, CERTIFICATE = snp("genoa-v5")
DATA = snp_report_data(REPORT)
AGAIN = [errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR]


def waits():
    """A sleep that only takes notes, and its notes."""
    notes: list[float] = []
    return notes.append, notes


def attester(mount, tsm: Tsm, **options):
    return SevSnpAttester(place=mount(tsm), sleep=options.pop("sleep", lambda _: None), **options)


def genoa(**faults) -> Tsm:
    return Tsm(snp_driver("genoa-v5"), Faults(**faults))


CASES = [
    ("genoa-v5", datetime(2026, 6, 1, tzinfo=UTC), "genoa", 0),
    ("turin-v5", datetime(2026, 6, 1, tzinfo=UTC), "turin", 0),
    ("milan-v3-hostdata", datetime(2026, 6, 20, tzinfo=UTC), "milan", 0),
    ("milan-v3-vlek-vmpl1", datetime(2025, 6, 1, tzinfo=UTC), "milan", 1),
]


@pytest.mark.parametrize(("name", "at", "product", "vmpl"), CASES)
def test_a_real_report_given_out_by_the_kernel_survives_json_and_is_accepted_by_the_verifier(
    mount, name, at, product, vmpl
):
    report, _ = snp(name)
    data = snp_report_data(report)
    evidence = attester(mount, Tsm(snp_driver(name, floor=vmpl))).attest(data)
    assert evidence.kind is Kind.SEV_SNP
    assert from_json(evidence.to_json()) == evidence
    floor = {"bootloader": 0, "tee": 0, "snp": 0, "microcode": 0} | ({"fmc": 0} if product == "turin" else {})
    table_ = {
        "launch_digests": [report[0x90:0xC0].hex()],
        "minimum_tcb": {product: floor},
        "vmpl": [vmpl],
        "allow_vlek": "vlek" in name,
        "allow_smt": True,
        "host_data": [report[0xC0:0xE0].hex()],
    }
    policy = sev_snp.read_policy(Table("sev_snp", table_))
    assert sev_snp.verify(evidence, data, policy, at).claims


def test_one_entry_is_made_written_and_removed(mount):
    tsm = genoa()
    seen: list[Entry] = []
    tsm.faults.rival = seen.append
    attester(mount, tsm).attest(DATA)
    assert len(tsm.made) == 1
    assert tsm.entries == {}
    assert seen[0].commits == [("privlevel", b"0"), ("inblob", DATA)]


def test_entries_have_names_that_nobody_can_guess_and_that_never_come_twice(mount):
    tsm = genoa()
    one = attester(mount, tsm)
    for _ in range(20):
        one.attest(DATA)
    assert len(set(tsm.made)) == 20
    assert all(len(bytes.fromhex(name.removeprefix("vesica-"))) == 16 for name in tsm.made)


def test_the_guests_own_privilege_level_is_asked_for_unless_another_is_named(mount):
    levels: list[int] = []
    driver = snp_driver("genoa-v5", floor=2)
    given_out = driver.report
    driver.report = lambda inblob, level: (levels.append(level), given_out(inblob, level))[1]
    place = mount(Tsm(driver))
    SevSnpAttester(place=place).attest(DATA)
    SevSnpAttester(place=place, privlevel=3).attest(DATA)
    assert levels == [2, 3]
    with pytest.raises(AttesterUnavailable, match="EINVAL"):
        SevSnpAttester(place=place, privlevel=1).attest(DATA)


@pytest.mark.parametrize("piece", [1, 7, 64, 1183])
def test_short_reads_are_joined(mount, piece):
    assert attester(mount, genoa(piece_bytes_max=piece)).attest(DATA).part("report") == REPORT


OPERATIONS = [
    "mkdir",
    "provider",
    "generation",
    "privlevel_floor",
    "privlevel",
    "inblob",
    "outblob",
    "auxblob",
    "rmdir",
]


@pytest.mark.parametrize("number", AGAIN)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kernel_that_is_busy_is_asked_again_at_every_step(mount, operation, number):
    tsm = genoa(errors={operation: deque([number, number])})
    assert attester(mount, tsm).attest(DATA).part("report") == REPORT
    # Of what was interrupted, reads and writes are repeated by Python itself; all else begins anew, and leaves nothing.
    left = sum(1 for name in tsm.entries)
    assert left == (2 if operation == "rmdir" else 0)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kernel_that_stays_busy_is_given_up_on_after_bounded_waits(mount, operation):
    sleep, notes = waits()
    tsm = genoa(errors={operation: deque([errno.EBUSY] * 1000)})
    with pytest.raises(AttesterUnavailable, match="no undisturbed report in 8 tries"):
        attester(mount, tsm, sleep=sleep).attest(DATA)
    assert len(notes) == ATTEMPTS_MAX - 1
    assert sum(notes) < 10
    assert 1000 - len(tsm.faults.errors[operation]) == ATTEMPTS_MAX


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT, errno.EACCES, errno.ENXIO, errno.EINVAL])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_any_other_error_ends_it_at_once_and_the_entry_is_removed(mount, operation, number):
    tsm = genoa(errors={operation: deque([number])})
    with pytest.raises(AttesterUnavailable):
        attester(mount, tsm, sleep=pytest.fail).attest(DATA)
    assert len(tsm.made) <= 1
    assert tsm.entries == {} or operation == "rmdir"


def write_the_same(entry: Entry) -> None:
    entry.store_inblob(DATA)


def write_another(entry: Entry) -> None:
    entry.store_inblob(b"\xee" * 64)


def write_a_level(entry: Entry) -> None:
    entry.store_privlevel(b"3")


@pytest.mark.parametrize("meddle", [write_the_same, write_another, write_a_level])
def test_a_report_is_not_used_if_somebody_else_wrote_to_the_entry(mount, meddle):
    tsm = Tsm(unsigned_snp_driver())
    times = []

    def rival(entry: Entry) -> None:
        times.append(entry)
        if len(times) == 1:
            meddle(entry)

    tsm.faults.rival = rival
    evidence = attester(mount, tsm).attest(DATA)
    assert evidence.part("report")[0x50:0x90] == DATA
    assert len(tsm.made) == 2
    assert tsm.entries == {}


def test_a_rival_who_never_stops_makes_attestation_fail_and_never_lie(mount):
    tsm = Tsm(unsigned_snp_driver())
    tsm.faults.rival = write_another
    with pytest.raises(AttesterUnavailable, match="no undisturbed report"):
        attester(mount, tsm).attest(DATA)
    assert len(tsm.made) == ATTEMPTS_MAX
    assert tsm.entries == {}


def test_a_write_that_the_kernel_lost_at_close_is_noticed_and_made_again(mount):
    """configfs ignores what a binary attribute's write returns when its file is closed."""
    tsm = genoa(lost_writes=1)
    assert attester(mount, tsm).attest(DATA).part("report") == REPORT
    assert len(tsm.made) == 2


def test_a_report_about_other_report_data_is_never_handed_out(mount):
    driver = snp_driver("genoa-v5")
    driver.report = lambda inblob, level: (REPORT, table({VCEK: CERTIFICATE}))
    with pytest.raises(AttesterUnavailable, match="about something else"):
        attester(mount, Tsm(driver)).attest(bytes(64))


@pytest.mark.parametrize("report", [b"", REPORT[:-1], REPORT + b"\0", b"\xff" * 1184])
def test_a_report_that_no_verifier_reads_is_not_handed_out(mount, report):
    driver = snp_driver("genoa-v5")
    driver.report = lambda inblob, level: (report, table({VCEK: CERTIFICATE}))
    with pytest.raises(AttesterUnavailable, match="no verifier reads"):
        attester(mount, Tsm(driver)).attest(DATA)


def test_another_driver_is_an_error_before_anything_is_written(mount):
    tsm = Tsm(tdx_driver("v4-uptodate"))
    one = attester(mount, tsm)
    for ask in (one.probe, lambda: one.attest(DATA)):
        with pytest.raises(AttesterUnavailable, match="'tdx_guest' here, not for 'sev_guest'"):
            ask()
    assert tsm.entries == {}


def test_no_driver_no_configfs_and_no_rights_are_told_apart(mount, tmp_path):
    empty = attester(mount, Tsm(None))
    with pytest.raises(AttesterUnavailable, match="no TEE's guest driver"):
        empty.probe()
    with pytest.raises(AttesterUnavailable, match="no TEE's guest driver"):
        empty.attest(DATA)
    with pytest.raises(AttesterUnavailable, match=r"Linux 6\.7"):
        SevSnpAttester(place=tmp_path / "none").attest(DATA)
    with pytest.raises(AttesterUnavailable, match="not permitted"):
        attester(mount, genoa(errors={"mkdir": deque([errno.EACCES])})).probe()


def test_probing_makes_no_report(mount):
    tsm = genoa()
    tsm.faults.rival = pytest.fail
    attester(mount, tsm).probe()
    assert tsm.entries == {}


def test_the_certificate_is_the_one_of_the_key_that_signed(mount):
    milan, certificate = snp("milan-v3-vlek-vmpl1")
    both = table({VCEK: b"of this chip, but it did not sign", ARK: b"ark", VLEK: certificate})
    evidence = attester(mount, Tsm(snp_driver("milan-v3-vlek-vmpl1", both))).attest(snp_report_data(milan))
    assert evidence.many("certificates") == (certificate,)


def test_a_table_in_pem_is_sent_as_der(mount):
    pem = ssl.DER_cert_to_PEM_cert(CERTIFICATE).encode()
    evidence = attester(mount, Tsm(snp_driver("genoa-v5", table({VCEK: pem})))).attest(DATA)
    assert evidence.many("certificates") == (CERTIFICATE,)


PEM = ssl.DER_cert_to_PEM_cert(CERTIFICATE).encode()


@pytest.mark.parametrize(
    "pem", [PEM + PEM, PEM[:-5], b"-----BEGIN CERTIFICATE-----", b"\n" + PEM[:40] + b"\xff" + PEM[40:]]
)
def test_a_chain_or_a_broken_file_in_place_of_one_certificate_is_an_error(mount, pem):
    place = mount(genoa())
    with pytest.raises(AttesterUnavailable, match="one certificate in PEM"):
        SevSnpAttester(certificate=lambda _: pem, place=place).attest(DATA)
    assert SevSnpAttester(certificate=lambda _: b"\n" + PEM, place=place).attest(DATA).many("certificates") == (
        CERTIFICATE,
    )


@pytest.mark.parametrize("auxblob", [b"", bytes(24), bytes(4096), table({ARK: b"x"}), table({VLEK: b"x"})])
def test_without_a_certificate_from_host_or_operator_there_is_no_evidence(mount, auxblob):
    with pytest.raises(AttesterUnavailable, match="hands out no vcek certificate"):
        attester(mount, Tsm(snp_driver("genoa-v5", auxblob))).attest(DATA)


def test_the_operators_certificate_is_used_and_comes_before_the_hosts(mount):
    asked = []
    place = mount(Tsm(snp_driver("genoa-v5", table({VCEK: b"stale"}))))
    supply = SevSnpAttester(certificate=lambda report: (asked.append(report), CERTIFICATE)[1], place=place)
    assert supply.attest(DATA).many("certificates") == (CERTIFICATE,)
    assert asked == [REPORT]


def test_guids_stand_in_the_byte_order_that_real_hosts_use():
    """Those of RFC 4122, not of Microsoft: pinned as bytes, since a test that shared the mistake would not see it."""
    raw = bytes.fromhex("63da758de6644564adc5f4b93be8accd") + (48).to_bytes(4, "little") + (3).to_bytes(4, "little")
    assert certificate_table(raw + bytes(24) + b"abc", Kind.SEV_SNP) == {VCEK: b"abc"}


@pytest.mark.parametrize(
    "broken",
    [
        VCEK,
        VCEK + b"\x30\0\0\0\x04\0\0\0" + bytes(24) + b"abc",
        VCEK + b"\xff\xff\xff\xff\x04\0\0\0" + bytes(24),
        (VCEK + b"\x48\0\0\0\x01\0\0\0") * 2 + bytes(24) + b"abc",
        VCEK + b"\x00\0\0\0\x01\0\0\0",
    ],
    ids=["cut off", "too long", "outside", "twice", "no end"],
)
def test_a_broken_certificate_table_is_an_error(broken):
    with pytest.raises(AttesterUnavailable, match="certificate table"):
        certificate_table(broken, Kind.SEV_SNP)


@given(st.binary(max_size=400))
def test_no_certificate_table_makes_the_parser_fail_in_another_way(auxblob):
    try:
        found = certificate_table(auxblob, Kind.SEV_SNP)
    except AttesterUnavailable:
        return
    assert all(certificate in auxblob for certificate in found.values())


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_report_data_of_another_length_is_a_bug(mount, size):
    with pytest.raises(ValueError, match="64 bytes"):
        attester(mount, genoa()).attest(bytes(size))


def test_two_threads_attest_at_once_without_meeting(mount):
    one = attester(mount, Tsm(unsigned_snp_driver()))
    results: dict[int, bytes] = {}

    def work(number: int) -> None:
        results[number] = one.attest(bytes([number]) * 64).part("report")[0x50:0x90]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == {number: bytes([number]) * 64 for number in range(8)}
