"""Nothing goes to a room that was not verified: what a machine in the middle gets, byte for byte."""

import contextlib
import dataclasses
import os
import shutil
import subprocess

import pytest

import vesica
from party.fake_room import (
    AGREEMENT,
    DIGEST,
    DOCUMENT,
    POLICY,
    RELEASE,
    ROOM,
    TOKEN,
    Fake,
    Keys,
    Reply,
    asked,
    attested,
    fake,
    no_software,
    nonce_of,
    replies,
)
from vesica import errors, refusals
from vesica.agreement import as_document, document_digest, parse_agreement
from vesica.exchange import Exchange, parse_address, unverified_context
from vesica.receipt import Kind
from vesica.verified import pinned_context, read_policy, verify_room

SECRET = b"a-cell-of-alice"
OTHER = Keys()
OTHER_DOCUMENT = as_document(parse_agreement(AGREEMENT.replace("fake", "other").encode()))
OTHER_DIGEST = document_digest(OTHER_DOCUMENT)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ids.csv"
    path.write_bytes(b"id\n" + SECRET + b"\n2\n")
    return path


def assert_nothing_leaked(room: Fake) -> None:
    assert room.received, "the fake saw nothing at all"
    assert TOKEN.encode() not in room.received
    assert SECRET not in room.received
    assert not any(one.method == "POST" or one.authorization or one.body for one in room.seen)


def everything_secret(room: vesica.Room, file: os.PathLike[str]) -> list[refusals.AttestationRefused]:
    """What each call that has a secret to send is refused with."""
    caught = []
    for call in (
        lambda: room.submit(file),
        lambda: room.release("intersection_cardinality", epsilon="0.5"),
        room.released,
        lambda: room.release_number(1),
        room.budgets,
        room.receipts,
        room.close,
    ):
        with pytest.raises(refusals.AttestationRefused) as one:
            call()
        caught.append(one.value)
    return caught


YESTERDAY = attested(ROOM.identity.bind(bytes(32)))


def relayed(path: str) -> Reply:
    """Evidence, fresh, of another room: its TLS key is not the one of this channel."""
    return attested(OTHER.identity.bind(nonce_of(path)))


def of_another_agreement(path: str) -> Reply:
    identity = dataclasses.replace(ROOM.identity, agreement_digest=bytes.fromhex(OTHER_DIGEST))
    return attested(identity.bind(nonce_of(path)))


def with_another_hpke_key(path: str) -> Reply:
    """Evidence of the room; beside it a key of somebody else to encrypt to."""
    binding = ROOM.identity.bind(nonce_of(path))
    return attested(binding, dataclasses.replace(binding, hpke_public_key=OTHER.identity.hpke_public_key))


def with_another_receipt_key(path: str) -> Reply:
    binding = ROOM.identity.bind(nonce_of(path))
    return attested(binding, dataclasses.replace(binding, receipt_public_key=OTHER.identity.receipt_public_key))


HOSTILE = [
    pytest.param(relayed, "report-data", id="evidence-of-another-rooms-key"),
    pytest.param(lambda path: attested(ROOM.identity.bind(b"x" * 32)), "report-data", id="another-nonce"),
    pytest.param(YESTERDAY, "report-data", id="replayed-evidence"),
    pytest.param(of_another_agreement, "report-data", id="another-agreement"),
    pytest.param(with_another_hpke_key, "report-data", id="another-hpke-key"),
    pytest.param(with_another_receipt_key, "report-data", id="another-receipt-key"),
]


@pytest.mark.parametrize(("answer", "check"), HOSTILE)
def test_evidence_that_is_not_of_this_channel_is_refused_and_no_secret_byte_leaves(answer, check, file):
    with fake(replies(get_attestation=answer)) as room, vesica.Room(room.url, TOKEN, policy=POLICY) as visit:
        for refused in everything_secret(visit, file):
            assert (refused.members["check"], refused.members["kind"]) == (check, "insecure-software")
            assert "nothing was sent" in refused.detail
        assert_nothing_leaked(room)


def test_software_evidence_is_refused_without_the_flag_and_no_secret_byte_leaves(file):
    with fake(replies()) as room, vesica.Room(room.url, TOKEN, policy=no_software()) as visit:
        for refused in everything_secret(visit, file):
            assert refused.members["check"] == "policy"
            assert "no hardware stands behind this" in refused.detail
        assert_nothing_leaked(room)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Reply(200, {"evidence": {"kind": "sev-snp", "parts": {}}, "binding": {}}), refusals.RoomAnsweredNonsense),
        (Reply(200, {"evidence": None, "binding": None}), refusals.RoomAnsweredNonsense),
        (Reply(200, {}), refusals.RoomAnsweredNonsense),
        (Reply(200, b"<html>"), refusals.RoomAnsweredNonsense),
        (Reply(404, {}), refusals.RoomAnsweredNonsense),
        (Reply(200, b"", hang_up=True), refusals.RoomUnreachable),
        (lambda path: with_kind(path, "sev-snp"), refusals.AttestationRefused),
        (lambda path: with_kind(path, "moon"), refusals.AttestationRefused),
        (lambda path: with_kind(path, ["x"]), refusals.AttestationRefused),
    ],
    ids=["empty-binding", "null", "no-fields", "html", "404", "hang-up", "hardware", "unknown-kind", "kind-a-list"],
)
def test_what_is_no_evidence_is_refused_and_no_secret_byte_leaves(answer, error, file):
    with fake(replies(get_attestation=answer)) as room, vesica.Room(room.url, TOKEN, policy=POLICY) as visit:
        with pytest.raises(error):
            visit.submit(file)
        with pytest.raises(error):
            visit.budgets()
        assert_nothing_leaked(room)


def with_kind(path: str, kind: object) -> Reply:
    shown = attested(ROOM.identity.bind(nonce_of(path))).body
    return Reply(200, {**shown, "evidence": {**shown["evidence"], "kind": kind}})


def test_an_agreement_swapped_for_another_is_refused_by_its_digest_or_by_the_evidence(file):
    swapped = Reply(200, {"digest": OTHER_DIGEST, "agreement": OTHER_DOCUMENT})
    with fake(replies(get_agreement=swapped)) as room:
        with vesica.Room(room.url, TOKEN, policy=POLICY) as visit, pytest.raises(refusals.AttestationRefused) as caught:
            visit.submit(file)
        assert caught.value.members["check"] == "report-data"
        with (
            vesica.Room(room.url, TOKEN, policy=POLICY, agreement_digest=DIGEST) as visit,
            pytest.raises(refusals.AgreementMismatch),
        ):
            visit.submit(file)
        assert_nothing_leaked(room)


def test_a_room_that_changes_its_tls_key_after_verification_is_refused_at_the_next_connection(file):
    with fake(replies()) as room:
        # Two connections verify (the certificate, the evidence); the third is the first with a secret to send.
        room.contexts += [ROOM.context(), OTHER.context()]
        with vesica.Room(room.url, TOKEN, policy=POLICY) as visit:
            with pytest.raises(refusals.RoomUnreachable, match=r"(?i)certificate"):
                visit.submit(file)
            with pytest.raises(refusals.RoomUnreachable):
                visit.budgets()
        assert_nothing_leaked(room)


def test_a_room_that_shows_another_key_when_it_is_asked_for_evidence_gets_not_even_a_nonce(file):
    with fake(replies()) as room:
        room.contexts += [OTHER.context()]
        with vesica.Room(room.url, TOKEN, policy=POLICY) as visit, pytest.raises(refusals.RoomUnreachable):
            visit.submit(file)
        assert [one.path for one in room.seen] == ["/healthz"]
        assert_nothing_leaked(room)


def test_a_connection_made_again_later_is_pinned_as_well(file):
    closing = Reply(200, replies()["get_budgets"].body, {"Connection": "close"})
    with fake(replies(get_budgets=closing)) as room, vesica.Room(room.url, TOKEN, policy=POLICY) as visit:
        assert visit.budgets()
        assert visit.budgets()  # over a new connection
        sent = bytes(room.received)
        room.contexts[:] = [OTHER.context()]
        with pytest.raises(refusals.RoomUnreachable, match=r"(?i)certificate"):
            visit.budgets()
        assert bytes(room.received) == sent


def test_after_a_room_was_refused_nothing_is_remembered_of_it(file):
    answers = replies(get_attestation=YESTERDAY)
    with fake(answers) as room, vesica.Room(room.url, TOKEN, policy=POLICY) as visit:
        with pytest.raises(refusals.AttestationRefused):
            visit.verify()
        for call in (visit.state, visit.agreement, lambda: visit.plan("intersection_cardinality", epsilon="0.5")):
            with pytest.raises(refusals.AttestationRefused):
                call()
        assert_nothing_leaked(room)


def test_a_room_is_verified_once_and_with_a_fresh_nonce_each_time():
    with fake(replies()) as room:
        for _ in range(2):
            with vesica.Room(room.url, TOKEN, policy=POLICY) as visit:
                visit.budgets()
                visit.state()
                visit.budgets()
        nonces = [nonce_of(one.path) for one in room.seen if one.path.startswith("/attestation")]
    assert len(nonces) == len(set(nonces)) == 2


def test_without_a_policy_only_what_anybody_may_ask_is_asked(file):
    with fake(replies()) as room, vesica.Room(room.url, TOKEN) as visit:
        assert visit.state().state == "collecting"
        assert visit.agreement().digest == DIGEST
        for call in (
            lambda: visit.submit(file),
            lambda: visit.release("intersection_cardinality", epsilon="0.5"),
            visit.released,
            visit.budgets,
            visit.receipts,
            visit.close,
            visit.verify,
        ):
            with pytest.raises(refusals.PolicyMissing, match="nothing was sent"):
                call()
        assert asked(room.seen) == ["/room", "/agreement"]
        assert_nothing_leaked(room)


def test_an_exchange_that_is_not_pinned_sends_neither_token_nor_file():
    with fake(replies()) as room:
        for context in (None, unverified_context()):
            with contextlib.closing(_Disconnecting(Exchange(parse_address(room.url), TOKEN, context))) as one:
                with pytest.raises(refusals.PolicyMissing):
                    one.exchange.get("/budgets", token=True)
                with pytest.raises(refusals.PolicyMissing):
                    one.exchange.upload("/submissions", [SECRET], "text/csv", None)
        assert room.seen == []


@dataclasses.dataclass
class _Disconnecting:
    exchange: Exchange

    def close(self) -> None:
        self.exchange.disconnect()


def test_a_certificate_for_another_key_with_the_same_names_is_not_the_pinned_one():
    der = ROOM.certificate.public_bytes(_der())
    with fake(replies(), OTHER) as room:
        exchange = Exchange(parse_address(room.url), None, pinned_context(der))
        with pytest.raises(refusals.RoomUnreachable, match=r"(?i)certificate"):
            exchange.get("/room")
        exchange.disconnect()
        assert room.seen == []


def _der():
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


def test_what_was_verified_is_what_is_kept(file):
    with fake(replies()) as room:
        verified = verify_room(room.url, read_policy(POLICY), agreement_digest=DIGEST.upper())
    assert verified.identity == ROOM.identity
    assert verified.binding.report_data() == verified.result.report_data
    assert verified.result.insecure
    assert verified.result.as_ear()["submods"]["insecure-software"]["ear.status"] == "contraindicated"
    assert dict(verified.agreement.document) == DOCUMENT


def signed_wrongly(field: str, value: object) -> Reply:
    release = ROOM.signed_release(RELEASE)
    return Reply(201, {**release, field: value})


@pytest.mark.parametrize(
    "reply",
    [
        signed_wrongly("value", 101),
        signed_wrongly("number", 2),
        Reply(201, OTHER.signed_release(RELEASE)),
        Reply(201, {**RELEASE, "receipt": ROOM.sign(Kind.CLOSING, RELEASE)}),
        Reply(201, {**RELEASE, "receipt": {}}),
        Reply(201, {**RELEASE, "receipt": ROOM.sign(Kind.RELEASE, {**RELEASE, "epsilon": "0.25", "scale": "2"})}),
    ],
    ids=["value", "number", "another-rooms-key", "kind", "no-receipt", "epsilon"],
)
def test_a_release_whose_receipt_says_something_else_is_refused(reply):
    with (
        fake(replies(post_releases=reply)) as room,
        vesica.Room(room.url, TOKEN, policy=POLICY) as visit,
        pytest.raises(errors.ReceiptInvalid),
    ):
        visit.release("intersection_cardinality", epsilon="0.5")


@pytest.mark.parametrize(
    "receipt",
    [
        OTHER.sign(Kind.SUBMISSION, {"party": "alice"}),
        ROOM.sign(Kind.SUBMISSION, {"party": "bob"}),
        ROOM.sign(Kind.CLOSING, {"party": "alice"}),
        Keys.sign(OTHER, Kind.SUBMISSION, {}),
    ],
    ids=["another-rooms-key", "another-party", "kind", "empty"],
)
def test_a_submission_whose_receipt_is_not_the_verified_rooms_is_no_success(receipt, file):
    body = {"party": "alice", "rows": 2, "dropped": 0, "receipt": receipt}
    with (
        fake(replies(post_submissions=Reply(201, body))) as room,
        vesica.Room(room.url, TOKEN, policy=POLICY) as visit,
        pytest.raises(errors.ReceiptInvalid),
    ):
        visit.submit(file)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_lines_reach_the_verified_room_and_no_other(tmp_path):
    from vesica.cli.verify_command import curl_lines

    (tmp_path / "my.auth").write_text(f"Authorization: Bearer {TOKEN}\n")
    (tmp_path / "customers.csv").write_bytes(b"id\n" + SECRET + b"\n")
    with fake(replies()) as room:
        verified = verify_room(room.url, read_policy(POLICY))
        submission, release = curl_lines(verified)
        assert _pasted(submission, tmp_path) == 0
        assert SECRET in room.seen[-1].body
        assert room.seen[-1].authorization == f"Bearer {TOKEN}"
        assert _pasted(release, tmp_path) == 0
        assert room.seen[-1].path == "/releases"
        with fake(replies(), OTHER) as middle:
            for line in (submission, release):
                assert _pasted(line.replace(room.url, middle.url), tmp_path) == 90
            assert middle.received == b""


def _pasted(line: str, folder: os.PathLike[str]) -> int:
    return subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, timeout=60, check=False).returncode
