"""The firmware's log: read strictly, believed as far as it adds up to PCRs that a TPM signed."""

import hashlib

import pytest

from support import tpm_evidence as make
from support.tpm_evidence import AT, EVENTS, IPL, NO_ACTION, REPORT_DATA, SHA256, FakeTpm, event, log_header
from vesica_attestation import tpm
from vesica_attestation.errors import Refused
from vesica_attestation.tpm.event_log import LOG_BYTES_MAX, parse_log

TWO_BANKS = ((0x0004, 20), (SHA256, 32))
X = hashlib.sha256(b"x").digest()


def refusal(log: bytes, fake: FakeTpm | None = None) -> str:
    fake = fake or FakeTpm()
    with pytest.raises(Refused) as caught:
        tpm.verify(fake.evidence(event_log=log), REPORT_DATA, fake.policy(), AT)
    assert caught.value.kind == "tpm"
    return caught.value.check


def launched(log: bytes, fake: FakeTpm | None = None) -> list[str]:
    fake = fake or FakeTpm()
    return tpm.verify(fake.evidence(event_log=log), REPORT_DATA, fake.policy(), AT).claims["launched.programs"]


def test_without_a_log_evidence_is_as_good_and_says_less():
    fake = FakeTpm()
    claims = tpm.verify(fake.evidence(drop=["event_log"]), REPORT_DATA, fake.policy(), AT).claims
    assert not [name for name in claims if name.startswith("launched")]
    assert claims["pcr.4"] == fake.pcrs[4].hex()


@pytest.mark.parametrize(
    "algorithms", [TWO_BANKS, TWO_BANKS[::-1], (*TWO_BANKS, (0x000C, 48), (0x000D, 64), (0x0012, 32))]
)
def test_logs_with_other_banks_beside_sha256_are_read(algorithms):
    assert launched(make.event_log(algorithms=algorithms)) == [make.IMAGE.hex(), make.KERNEL.hex()]


@pytest.mark.parametrize(
    "events",
    [
        EVENTS[:-1], EVENTS[1:], EVENTS[:4], EVENTS[:1], (), EVENTS[::-1],
        (*EVENTS, EVENTS[-1]), (*EVENTS, (4, X)), (*EVENTS, (1, X)), (*EVENTS, (12, X)),
        (*EVENTS[:4], (4, X), *EVENTS[5:]),
        tuple((9 if pcr == 4 else pcr, digest) for pcr, digest in EVENTS),
        tuple(entry for entry in EVENTS if entry[0] != 4),
    ],
)  # fmt: skip
def test_a_log_that_does_not_give_the_quoted_pcrs_is_refused(events):
    """An event less, one more, another, in another order; the program left out, or with its whole PCR."""
    assert refusal(make.event_log(events)) == "event-log"


def test_an_event_hidden_as_one_that_extends_nothing_is_refused():
    log = log_header() + b"".join(
        event(pcr, digest, NO_ACTION if digest == make.IMAGE else IPL) for pcr, digest in EVENTS
    )
    assert refusal(log) == "event-log"


def test_a_pcr_above_the_firmwares_that_the_log_says_nothing_of_may_hold_anything():
    """An operating system measures there, and keeps logs of its own."""
    fake = FakeTpm(events=(*EVENTS, (10, X), (15, X)))
    assert launched(make.event_log(EVENTS), fake) == [make.IMAGE.hex(), make.KERNEL.hex()]


def test_types_and_descriptions_of_events_are_in_no_hash_and_change_nothing_that_is_shown():
    lying = b"".join(
        event(pcr, digest, 0x80000001 + place, b"an honest kernel") for place, (pcr, digest) in enumerate(EVENTS)
    )
    fake = FakeTpm()
    claims = [
        tpm.verify(fake.evidence(event_log=log), REPORT_DATA, fake.policy(), AT)
        for log in (make.event_log(), log_header() + lying)
    ]
    assert claims[0] == claims[1]


@pytest.mark.parametrize("locality", [0, 3, 4])
def test_pcr_0_starts_at_the_locality_that_the_log_says(locality):
    started = hashlib.sha256(bytes([0] * 31 + [locality]) + EVENTS[0][1]).digest()
    fake = FakeTpm()
    pcrs = (started, *fake.pcrs[1:])
    body = b"".join(event(pcr, digest) for pcr, digest in EVENTS)
    log = log_header() + make.startup_locality(bytes([locality])) + body
    evidence = fake.evidence(event_log=log, pcrs=pcrs, quote={"pcrs": pcrs})
    assert tpm.verify(evidence, REPORT_DATA, fake.policy(), AT)
    other = log_header() + make.startup_locality(bytes([{0: 3, 3: 4, 4: 0}[locality]])) + body
    with pytest.raises(Refused, match="PCR 0"):
        tpm.verify(fake.evidence(event_log=other, pcrs=pcrs, quote={"pcrs": pcrs}), REPORT_DATA, fake.policy(), AT)


@pytest.mark.parametrize(
    "log",
    [
        log_header() + make.startup_locality(b"\1"),
        log_header() + make.startup_locality(b""),
        log_header() + make.startup_locality(b"\3\0"),
        log_header() + 2 * make.startup_locality(b"\0"),
        make.event_log() + make.startup_locality(b"\0"),
        make.event_log((*EVENTS, (16, X))),
        make.event_log((*EVENTS, (23, X))),
        log_header() + event(0xFFFFFFFF, X),
        log_header(((0x0004, 20),)),
        log_header(((SHA256, 20),)),
        log_header(((SHA256, 32), (SHA256, 32))),
    ],
)
def test_a_log_that_measures_where_nothing_holds_or_has_no_sha256_is_refused(log):
    assert refusal(log) == "event-log"


@pytest.mark.parametrize(
    "log",
    [
        b"", b"\0" * 64, log_header()[:-1], log_header() + b"\0", log_header(signature=b"Spec ID Event02\0"),
        log_header(()), log_header(tuple((number, 1) for number in range(100, 109))), log_header() + log_header(),
        log_header(TWO_BANKS) + event(4, X), log_header() + event(4, X, algorithms=TWO_BANKS),
        log_header(TWO_BANKS) + event(4, X, algorithms=((SHA256, 32), (SHA256, 32))),
        log_header(TWO_BANKS) + event(4, X, algorithms=((SHA256, 32), (0x000C, 48))),
        make.event_log()[:-1], make.event_log() + b"\0",
        b"\1" + log_header()[1:], log_header()[:8] + b"\1" + log_header()[9:],
        make.event_log() + event(4, X)[:-8] + b"\xff\xff\xff\xff",
    ],
)  # fmt: skip
def test_a_log_of_another_form_is_refused(log):
    assert refusal(log) in {"format", "trailing-bytes", "event-log"}
    assert not log or refusal(log) != "pcr"


def test_a_header_with_a_vendors_bytes_is_read_and_one_with_more_is_refused():
    body = make.event_log()[len(log_header()) :]
    assert launched(log_header(vendor=b"acme") + body)
    long = log_header(vendor=b"acme")
    assert refusal(long[:-5] + b"\3" + long[-4:] + body) == "trailing-bytes"


def test_a_log_that_is_too_large_is_refused_before_it_is_read():
    log = log_header() + event(0, bytes(32), NO_ACTION, bytes(LOG_BYTES_MAX))
    with pytest.raises(Refused, match="more than"):
        parse_log(log)
    text = bytes(LOG_BYTES_MAX - len(make.event_log()) - len(event(0, bytes(32), NO_ACTION, b"")))
    assert launched(make.event_log() + event(0, bytes(32), NO_ACTION, text))


def test_sections_that_are_not_known_or_have_no_content_are_shown_as_digests():
    events = (*EVENTS, (11, hashlib.sha256(b".secret\0").digest()), (11, X), (11, hashlib.sha256(b".osrel\0").digest()))
    sections = parse_log(make.event_log(events)).sections()
    assert sections[2:] == [hashlib.sha256(b".secret\0").hexdigest(), X.hex(), hashlib.sha256(b".osrel\0").hexdigest()]
