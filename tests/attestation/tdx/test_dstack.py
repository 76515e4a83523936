"""dstack's event log is believed as far as it replays, and has one reading."""

import hashlib
import json

import pytest

from support.fake_intel import AT, FakeIntel
from support.tdx import TODAY, evidence, policy_for, real, refusal, trust
from vesica_attestation import tdx
from vesica_attestation.tdx.abi import parse_quote
from vesica_attestation.tdx.authentic import check_signatures
from vesica_attestation.tdx.dstack import EVENTS_MAX, replay

LOG = json.loads(real("dstack", "tdx-2026", "event_log.json"))
REPORT = check_signatures(real("dstack", "tdx-2026", "quote.bin"), TODAY).quote.report
RTMR3 = REPORT.rtmrs[3]
RUNTIME = 0x08000001
EVIL, GOOD = hashlib.sha256(b"evil").digest(), hashlib.sha256(b"good").digest()
REPORT_DATA = b"\x33" * 64


def text(events):
    """An event log as JSON."""
    return json.dumps(events).encode()


def event(name, payload=b"", **fields):
    """A runtime event of RTMR3."""
    return {"imr": 3, "event_type": RUNTIME, "event": name, "event_payload": payload.hex(), **fields}


def extended(*events):
    """RTMR3 after (name, payload) pairs, worked out apart from the code under test."""
    register = bytes(48)
    for name, payload in events:
        digest = hashlib.sha384(bytes.fromhex("01000008") + b":" + name + b":" + payload).digest()
        register = hashlib.sha384(register + digest).digest()
    return register


def boot(compose_hash, *more):
    """Events of a boot, as pairs."""
    return [
        (b"system-preparing", b""),
        (b"app-id", b"a" * 20),
        (b"compose-hash", compose_hash),
        (b"system-ready", b""),
        *more,
    ]


def as_log(pairs):
    """Pairs as an event log."""
    return text([event(name.decode(), payload) for name, payload in pairs])


def test_the_real_log_replays_to_the_real_quote():
    claims = replay(text(LOG), RTMR3)
    assert claims.compose_hash.hex() == "86b0e55f2fa8e4fb69d890f14f54d5612707646e2573d54e0d2ddaaade77caa9"
    assert claims.app_id == claims.compose_hash[:20]
    assert claims.instance_id.hex() == "050bf89570575fe8fab4cb8f0a62a9e64efe8ead"
    assert claims.os_image_hash.hex().startswith("07a2388c")
    assert claims.mrconfigid == REPORT.mrconfigid


def test_digests_that_dstack_leaves_out_are_worked_out():
    for digest in ({}, {"digest": ""}):
        bare = [{name: value for name, value in item.items() if name != "digest"} | digest for item in LOG]
        assert replay(text(bare), RTMR3) == replay(text(LOG), RTMR3)


def test_a_log_that_any_event_was_taken_from_added_to_or_moved_in_is_refused():
    runtime = [place for place, item in enumerate(LOG) if item["imr"] == 3]
    for place in runtime:
        without = LOG[:place] + LOG[place + 1 :]
        twice = [*LOG[: place + 1], LOG[place], *LOG[place + 1 :]]
        assert refusal(lambda log=without: replay(text(log), RTMR3)) == "event-log"
        assert refusal(lambda log=twice: replay(text(log), RTMR3)) == "event-log"
    swapped = [*LOG[:4], LOG[5], LOG[4], *LOG[6:]]
    assert refusal(lambda: replay(text(swapped), RTMR3)) == "event-log"


@pytest.mark.parametrize("field", ["event", "event_payload", "digest"])
def test_an_event_with_one_thing_changed_is_refused(field):
    for place, item in enumerate(LOG):
        if item["imr"] == 3 and item[field]:
            other = dict(item, **{field: item[field][:-1] + ("0" if item[field][-1] != "0" else "1")})
            log = [*LOG[:place], other, *LOG[place + 1 :]]
            assert refusal(lambda log=log: replay(text(log), RTMR3)) == "event-log"


def test_an_empty_log_proves_nothing():
    assert refusal(lambda: replay(b"[]", bytes(48))) == "event-log"
    assert refusal(lambda: replay(b"[]", RTMR3)) == "event-log"


def test_a_compose_hash_that_the_application_extended_later_is_refused():
    late = [(b"system-ready", b""), (b"compose-hash", GOOD)]
    assert refusal(lambda: replay(as_log(late), extended(*late))) == "event-log"
    twice = boot(EVIL, (b"compose-hash", GOOD))
    assert refusal(lambda: replay(as_log(twice), extended(*twice))) == "event-log"


def test_an_application_cannot_rename_its_own_compose_hash_by_a_colon():
    # The digest of ("compose-hash", ":" + rest) is that of ("compose-hash:", rest): a hash that starts with a colon,
    # which one application in 256 has, could be hidden under another name, and the application extend the good one.
    evil = b":" + EVIL[1:]
    pairs = boot(evil)
    register = extended(*pairs)
    assert replay(as_log(pairs), register).compose_hash == evil
    ascii_evil = b":" + b"a" * 31
    register = extended((b"compose-hash", ascii_evil), (b"compose-hash", GOOD))
    assert register == extended((b"compose-hash:", b"a" * 31), (b"compose-hash", GOOD))
    renamed = as_log([(b"compose-hash:", b"a" * 31), (b"compose-hash", GOOD)])
    assert refusal(lambda: replay(renamed, register)) == "event-log"


@pytest.mark.parametrize("name", ["", "a:b", "compose hash", "compose-hash\n", "ｃompose-hash", "x" * 129])
def test_an_event_whose_name_is_not_plain_is_refused(name):
    assert refusal(lambda: replay(text([event(name)]), bytes(48))) == "event-log"


@pytest.mark.parametrize(
    "item",
    [
        event("a", imr=4), event("a", imr=True), event("a", imr="3"), event("a", event_type=1.0),
        event("a", version=2), event("a", hash_input=""), event(5), event("a", event_payload="0"),
        event("a", event_payload="AB"), event("a", event_payload=None), event("a", digest=5), {}, [], None, 5,
        {"imr": 3, "event_type": RUNTIME, "event": "a"},
    ],
)  # fmt: skip
def test_an_event_of_another_shape_is_refused(item):
    assert refusal(lambda: replay(text([item]), bytes(48))) == "format"


def test_an_event_of_rtmr3_of_another_type_is_refused():
    assert refusal(lambda: replay(text([event("a", event_type=10)]), bytes(48))) == "event-log"


def test_more_events_than_the_limit_are_refused():
    assert refusal(lambda: replay(text([event("a")] * (EVENTS_MAX + 1)), bytes(48))) == "format"


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_compose_hash_of_another_length_is_refused(size):
    pairs = boot(bytes(size))
    assert refusal(lambda: replay(as_log(pairs), extended(*pairs))) == "event-log"


@pytest.fixture
def room(monkeypatch):
    """A dstack room under a fake Intel: makes evidence, policy and verdict from its parts."""
    intel = FakeIntel()
    trust(monkeypatch, intel)

    def verify(pairs, *, log=None, mrconfigid=None, hashes=frozenset({GOOD}), **changes):
        compose_hash = dict(pairs)[b"compose-hash"]
        fitting = (b"\1" + compose_hash).ljust(48, b"\0")
        quote = intel.quote(rtmr3=extended(*pairs), mrconfigid=fitting if mrconfigid is None else mrconfigid)
        policy = policy_for(parse_quote(quote).report, dstack_compose_hashes=hashes, mrconfigid=None, **changes)
        parts = evidence(quote, intel.collateral(), as_log(pairs) if log is None else log or None)
        return tdx.verify(parts, REPORT_DATA, policy, AT)

    return verify


def test_a_room_with_the_right_compose_hash_is_accepted(room):
    proved = room(boot(GOOD, (b"anything-of-the-application", b"x")))
    assert proved.claims["compose_hash"] == GOOD.hex()
    assert proved.claims["app_id"] == (b"a" * 20).hex()
    assert {"compose_hash", "mrconfigid"} <= proved.pinned
    assert "rtmr3" not in proved.pinned


def test_a_room_with_another_compose_hash_is_refused(room):
    assert refusal(lambda: room(boot(EVIL))) == "compose-hash"


def test_a_room_without_its_event_log_is_refused(room):
    assert refusal(lambda: room(boot(GOOD), log=b"")) == "event-log"


def test_an_empty_set_of_compose_hashes_refuses(room):
    assert refusal(lambda: room(boot(GOOD), hashes=frozenset())) == "compose-hash"


def test_an_event_log_of_another_room_is_refused(room):
    assert refusal(lambda: room(boot(EVIL), log=as_log(boot(GOOD)))) == "event-log"


@pytest.mark.parametrize(
    "config", [bytes(48), b"\1" + EVIL + bytes(15), b"\2" + GOOD + bytes(15), b"\1" + GOOD + b"\1" * 15]
)
def test_a_configuration_that_does_not_fit_the_compose_hash_is_refused(room, config):
    assert refusal(lambda: room(boot(GOOD), mrconfigid=config)) == "mrconfigid"


def test_an_event_log_where_the_policy_names_no_compose_hash_still_needs_rtmr3(room):
    assert refusal(lambda: room(boot(GOOD), hashes=None, rtmr3=frozenset({bytes(48)}))) == "rtmr3"
