"""Receipts are checked from what is on disk alone: what was changed, left out or mixed in is named."""

import base64
import dataclasses
import json
import random
import shutil
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from support.attested import agreement_digest, finished_receipts, policy
from support.server import agreement_text
from vesica import receipts_terms
from vesica.agreement import canonical_bytes
from vesica.errors import ReceiptInvalid
from vesica.receipt import Kind, ReceiptLog, check_chain, read_payload, read_statement
from vesica.receipts_check import ReceiptEvidenceRefused, check_receipts, parse_time, read_folder
from vesica_attestation.software import InsecureSoftwareAttester
from vesica_enclave.identity import RoomKeys

TEXT = agreement_text({"alice": "1", "bob": "1"})


@pytest.fixture(scope="module")
def receipts():
    return finished_receipts(TEXT)


@pytest.fixture
def folder(receipts, tmp_path):
    """As ``vesica receipts`` writes it."""
    for i, envelope in enumerate(receipts):
        (tmp_path / f"{i:06d}.json").write_bytes(canonical_bytes(envelope))
    return tmp_path


def check(folder, **terms):
    return check_receipts(read_folder([folder]), policy(), **terms)


def test_a_copied_folder_holds(folder, tmp_path_factory):
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("elsewhere") / "receipts")
    checked = check(copy, agreement_digest=agreement_digest(TEXT))
    kinds = [one.kind for one in checked.statements]
    assert kinds == [Kind.OPENING, Kind.SUBMISSION, Kind.SUBMISSION, Kind.RELEASE, Kind.RELEASE, Kind.CLOSING]
    assert checked.complete
    assert checked.room_clock
    assert checked.result.insecure
    assert checked.recomputed_with == receipts_terms.OPENDP


def test_it_holds_where_opendp_is_not_installed_and_says_so(folder, monkeypatch):
    monkeypatch.setattr(receipts_terms, "load_measure", lambda: None)
    assert check(folder).recomputed_with == receipts_terms.ARITHMETIC


def test_the_order_of_files_and_how_they_are_put_together_do_not_matter(receipts, folder):
    files = sorted(folder.glob("*.json"), reverse=True)
    assert check_receipts(read_folder(files), policy()).complete
    (folder / "all.list").write_text(json.dumps(receipts[::-1], indent=2))
    assert check_receipts(read_folder([folder / "all.list"]), policy()).complete
    (folder / "answer").write_text(json.dumps({"receipts": receipts}))
    assert check_receipts(read_folder([folder / "answer"]), policy()).complete


def test_any_byte_changed_in_any_file_is_refused(folder):
    """Sampled: every file at 40 places, each with three other bytes."""
    dice = random.Random(7)
    for path in sorted(folder.glob("*.json")):
        good = path.read_bytes()
        for _ in range(40):
            at = dice.randrange(len(good))
            for other in (good[at] ^ 1, good[at] ^ 0x20, dice.randrange(256)):
                if other == good[at]:
                    continue
                path.write_bytes(good[:at] + bytes([other]) + good[at + 1 :])
                with pytest.raises((ReceiptInvalid, ReceiptEvidenceRefused)) as refused:
                    check(folder)
                assert "receipt " in refused.value.detail or path.name in refused.value.detail
        path.write_bytes(good)


def test_a_change_that_can_still_be_read_names_its_receipt(receipts):
    for number, envelope in enumerate(receipts):
        changed = [*receipts]
        year = base64.b64decode(envelope["payload"]).replace(b'"issued_at":"2', b'"issued_at":"3', 1)
        changed[number] = {**envelope, "payload": base64.b64encode(year).decode()}
        with pytest.raises(ReceiptInvalid, match=f"receipt {number} was altered"):
            check_receipts(changed, policy())


@pytest.mark.parametrize("number", range(5))
def test_a_receipt_missing_from_the_middle_is_named(receipts, number):
    with pytest.raises(ReceiptInvalid, match=f"receipt {number} is missing"):
        check_receipts([*receipts[:number], *receipts[number + 1 :]], policy())


@pytest.mark.parametrize("left", range(1, 6))
def test_a_tail_that_was_cut_off_holds_and_is_not_complete(receipts, left):
    checked = check_receipts(receipts[:left], policy())
    assert len(checked.statements) == left
    assert not checked.complete


@pytest.mark.parametrize("number", range(6))
def test_a_receipt_that_is_here_twice_is_named(receipts, number):
    with pytest.raises(ReceiptInvalid, match=f"receipt {number} is here twice"):
        check_receipts([*receipts, receipts[number]], policy())


def test_receipts_of_two_rooms_are_not_one_chain(receipts):
    other = finished_receipts(TEXT)
    with pytest.raises(ReceiptInvalid, match="receipt 0 is here twice"):
        check_receipts([*receipts, *other], policy())
    with pytest.raises(ReceiptInvalid, match="receipt 3 was altered, or another room signed it"):
        check_receipts([*receipts[:3], *other[3:]], policy())


def test_another_agreement_than_the_readers_is_refused(receipts):
    with pytest.raises(ReceiptInvalid, match="receipt 0 is of another agreement"):
        check_receipts(receipts, policy(), agreement_digest="0" * 64)


def test_a_policy_that_does_not_accept_the_evidence_refuses_receipt_0(receipts):
    strict = dataclasses.replace(policy(), allow_insecure_software=False)
    with pytest.raises(ReceiptEvidenceRefused, match="receipt 0: its evidence is refused"):
        check_receipts(receipts, strict)


def test_evidence_of_another_key_than_the_one_that_signed_is_refused(receipts):
    """The opening is signed anew, with evidence that is genuine, of a key that did not sign."""
    other = finished_receipts(TEXT)
    body = dict(read_statement(read_payload(other[0])).body)
    log = ReceiptLog(Ed25519PrivateKey.generate(), agreement_digest(TEXT), body)
    with pytest.raises(ReceiptInvalid, match="receipt 0 was altered, or another room signed it"):
        check_receipts(log.all(), policy())


def test_the_time_of_the_reader_is_what_the_evidence_is_judged_at(receipts):
    at = datetime(2031, 1, 2, tzinfo=UTC)
    checked = check_receipts(receipts, policy(), at=at)
    assert checked.result.verified_at == at
    assert not checked.room_clock
    assert check_receipts(receipts, policy()).result.verified_at == parse_time(checked.statements[0].issued_at)


def test_nothing_but_what_was_expected_says_anything_and_nothing_says_a_size():
    """Two rooms whose parties sent other numbers of rows: equal but for keys, digests, times and values."""
    few, many = (finished_receipts(TEXT, rows=rows) for rows in ((1, 2), (900, 70_000)))
    assert [_content(one) for one in few] == [_content(one) for one in many]
    assert [len(one["payload"]) // 64 for one in few[1:3]] == [len(one["payload"]) // 64 for one in many[1:3]]


def _content(envelope):
    statement = read_statement(read_payload(envelope))
    body = {name: value for name, value in statement.body.items() if name not in {"value", "binding", "evidence"}}
    return statement.number, statement.kind, statement.agreement_digest, body


# A room with a flaw: its evidence is good, its key signs, and what it states is not what was agreed.


def flawed(*statements, text=TEXT):
    """The receipts of a room that states these after an opening."""
    from vesica.agreement import as_document, parse_agreement

    keys = RoomKeys()
    binding = keys.identity(agreement_digest(text)).bind(bytes(32))
    evidence = InsecureSoftwareAttester().attest(binding.report_data()).to_json()
    agreement = as_document(parse_agreement(text.encode()))
    opening = {"agreement": agreement, "binding": binding.to_json(), "evidence": evidence}
    log = ReceiptLog(keys.receipt, agreement_digest(text), opening)
    for kind, body in statements:
        log.append(kind, body)
    return log.all()


SUBMITTED = [(Kind.SUBMISSION, {"party": name}) for name in ("alice", "bob")]


def release(**changes):
    body = dict(read_statement(read_payload(finished_receipts(TEXT)[3])).body)
    return Kind.RELEASE, body | changes


def test_the_flawed_room_holds_when_it_has_no_flaw():
    assert len(check_receipts(flawed(*SUBMITTED, release()), policy()).statements) == 4


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"scale": "3.3333333333333330"}, "its one spelling"),
        ({"scale": "3.333333333333333"}, "too narrow"),
        ({"scale": "1.0"}, "too narrow"),
        ({"scale": "inf"}, "positive number"),
        ({"scale": "nan"}, "positive number"),
        ({"scale": 4}, "positive number"),
        ({"charged": [{"epsilon": "0.3", "name": "alice"}]}, "charges others"),
        ({"charged": [{"epsilon": "0.3", "name": "alice"}] * 2}, "charges others"),
        ({"charged": [{"epsilon": "0.3", "name": "alice"}, {"epsilon": "0.2", "name": "bob"}]}, "another amount"),
        ({"charged": [{"epsilon": "0.3", "name": "alice"}, {"epsilon": "0.4", "name": "bob"}]}, "another amount"),
        ({"charged": [{"epsilon": "0.30", "name": "alice"}, {"epsilon": "0.3", "name": "bob"}]}, "its one way"),
        ({"charged": "alice"}, "does not say whom"),
        ({"charged": [7]}, "does not say"),
        ({"parties": ["alice"]}, "two or more"),
        ({"parties": ["bob", "alice"]}, "names a party twice"),
        ({"parties": ["alice", "carol"]}, "not on the roster"),
        ({"parties": [[], {}]}, "does not say"),
        ({"statistic": "everything"}, "does not allow"),
        ({"epsilon": "101"}, "does not allow"),
        ({"epsilon": 1}, "its one way"),
        ({"epsilon": None}, "does not say"),
        ({"number": 0}, "number of a release"),
        ({"number": True}, "no whole number"),
        ({"value": 1.5}, "no whole number"),
        ({"value": "16"}, "no whole number"),
        ({"accuracy": {"alpha": "0.05", "bound": 1}}, "another error bound"),
        ({"mechanism": "none"}, "does not say what a release says"),
        ({"unit": "a cell"}, "does not say what a release says"),
        ({"rows": 7}, "does not say what a release says"),
    ],
)
def test_a_release_that_is_not_what_was_agreed_is_named(changes, why):
    with pytest.raises(ReceiptInvalid, match=f"receipt 3 .*{why}"):
        check_receipts(flawed(*SUBMITTED, release(**changes)), policy())


def test_a_party_charged_past_its_limit_is_named():
    charged = [{"epsilon": "0.3", "name": name} for name in ("alice", "bob")]
    text = agreement_text({"alice": "1", "bob": "0.5"})
    union = release(statistic="union_cardinality", number=2, charged=charged)
    with pytest.raises(ReceiptInvalid, match="receipt 4 takes bob past its limit"):
        check_receipts(flawed(*SUBMITTED, release(), union, text=text), policy())


def test_the_same_question_answered_twice_is_named():
    with pytest.raises(ReceiptInvalid, match="receipt 4 gives a second answer"):
        check_receipts(flawed(*SUBMITTED, release(), release(number=2, value=9)), policy())


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        ([release()], "receipt 1 is about a release made before every party had submitted"),
        ([SUBMITTED[0], SUBMITTED[0]], "receipt 2 is about a second submission of alice"),
        ([(Kind.SUBMISSION, {"party": "carol"})], "receipt 1 is about the submission of somebody"),
        ([(Kind.SUBMISSION, {"party": "alice", "rows": 7})], "receipt 1 .* says more than that"),
        ([(Kind.SUBMISSION, {"party": []})], "receipt 1 does not say"),
        ([(Kind.CLOSING, {"by": "alice"})], "receipt 1 does not say"),
        ([(Kind.CLOSING, {"by": "alice", "destroyed": [1]})], "receipt 1 does not say"),
        ([(Kind.CLOSING, {"by": "alice", "destroyed": []}), SUBMITTED[0]], None),
    ],
)
def test_other_statements_that_no_room_makes_are_named(statements, why):
    if why is None:  # the log itself signs nothing after a closing
        with pytest.raises(Exception, match="signs nothing any more"):
            flawed(*statements)
        return
    with pytest.raises(ReceiptInvalid, match=why):
        check_receipts(flawed(*statements), policy())


def test_a_binding_to_another_agreement_is_named():
    keys = RoomKeys()
    from vesica.agreement import as_document, parse_agreement

    binding = keys.identity("0" * 64).bind(bytes(32))
    opening = {
        "agreement": as_document(parse_agreement(TEXT.encode())),
        "binding": binding.to_json(),
        "evidence": InsecureSoftwareAttester().attest(binding.report_data()).to_json(),
    }
    log = ReceiptLog(keys.receipt, agreement_digest(TEXT), opening)
    with pytest.raises(ReceiptInvalid, match="receipt 0 binds the room's keys to another agreement"):
        check_receipts(log.all(), policy())


# Fuzzing: whatever comes, a typed refusal.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | JSON.map(lambda one: json.dumps(one).encode("utf-8", "surrogatepass")))
def test_any_payload_is_a_statement_or_refused(payload):
    try:
        read_statement(payload)
    except ReceiptInvalid:
        return


FIELDS = ("agreement_digest", "body", "format", "issued_at", "kind", "number", "previous")


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)), st.sampled_from([*map(str, Kind)]), JSON)
def test_any_signed_statement_is_checked_or_refused(document, kind, body):
    """The hardest input: all of it signed with the right key."""
    whole = {"agreement_digest": "", "body": body, "format": 1, "issued_at": "", "kind": kind, "number": 0,
             "previous": "0" * 64, **document}  # fmt: skip
    key = Ed25519PrivateKey.generate()
    try:
        payload = canonical_bytes(whole)
        envelope = signed(key, payload)
        check_chain([envelope], key.public_key().public_bytes_raw())
        check_receipts([envelope], policy())
    except (ReceiptInvalid, ReceiptEvidenceRefused):
        return
    except UnicodeEncodeError:  # no canonical form, so nobody can have sent it
        return


def signed(key, payload):
    kind = b"application/vnd.vesica.receipt+json"
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind.decode(),
        "signatures": [{"sig": base64.b64encode(key.sign(message)).decode()}],
    }


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_any_envelope_is_refused(envelope):
    with pytest.raises(ReceiptInvalid):
        check_receipts([envelope], policy())


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from(sorted({"agreement", "binding", "evidence"})))
def test_any_opening_is_checked_or_refused(junk, name):
    from vesica.agreement import as_document, parse_agreement

    keys = RoomKeys()
    binding = keys.identity(agreement_digest(TEXT)).bind(bytes(32))
    opening = {
        "agreement": as_document(parse_agreement(TEXT.encode())),
        "binding": binding.to_json(),
        "evidence": InsecureSoftwareAttester().attest(binding.report_data()).to_json(),
    }
    try:
        log = ReceiptLog(keys.receipt, agreement_digest(TEXT), {**opening, name: junk})
    except UnicodeEncodeError:
        return
    with pytest.raises((ReceiptInvalid, ReceiptEvidenceRefused)):
        check_receipts(log.all(), policy())


def test_a_signature_with_something_beside_it_is_refused(receipts):
    signature = dict(receipts[1]["signatures"][0])
    beside = {**receipts[1], "signatures": [{**signature, "keyid": "alice"}]}
    with pytest.raises(ReceiptInvalid, match="receipt 1 must have one signature, and nothing beside it"):
        check_receipts([receipts[0], beside], policy())


def test_format_true_is_not_format_1():
    key = Ed25519PrivateKey.generate()
    whole = {"agreement_digest": "", "body": {}, "format": True, "issued_at": "", "kind": "opening", "number": 0,
             "previous": "0" * 64}  # fmt: skip
    with pytest.raises(ReceiptInvalid, match="the one form"):
        check_chain([signed(key, canonical_bytes(whole))], key.public_key().public_bytes_raw())


def test_a_file_that_is_no_receipt_is_named(folder):
    (folder / "notes.json").write_text("{}")
    with pytest.raises(ReceiptInvalid, match=r"notes\.json: not a receipt"):
        check(folder)
    (folder / "notes.json").write_text('{"payload": "", "payload": ""}')
    with pytest.raises(ReceiptInvalid, match=r"notes\.json is not a receipt"):
        check(folder)
