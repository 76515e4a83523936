"""Whoever is in the middle, or at the other end, gets no byte of a file or a token unless evidence vouches for its
keys.
"""

import dataclasses
import re
import secrets
import subprocess
import sys

import httpx
import pytest

from support.attested import POLICY, Attested, agreement_digest, attested_room, policy
from support.mallory import Answer, Mallory, listening, passing_on
from support.server import agreement_text, bearer, party_token
from vesica.agreement import as_document, digest, parse_agreement
from vesica.client import Room
from vesica.connect import Bridge
from vesica.refusals import AgreementMismatch, AttestationRefused, RoomAnsweredNonsense, RoomUnreachable
from vesica.sealed import MEDIA_TYPE, seal
from vesica.verified import verify_room
from vesica_attestation.software import InsecureSoftwareAttester
from vesica_enclave.identity import RoomKeys

CANARY = b"canary-of-the-csv-5c1f"
CSV = b"id\n" + CANARY + b"\n"
TEXT = agreement_text({"alice": "1", "bob": "1"})


@pytest.fixture(scope="module")
def room():
    with attested_room(TEXT) as running:
        yield running


def assert_nothing_told(mallory: Mallory) -> None:
    """It was talked to, and learned nothing; the spellings are those that HTTP could carry."""
    heard = bytes(mallory.heard)
    assert b"GET /attestation?nonce=" in heard
    assert b"POST" not in heard
    assert CANARY not in heard
    assert b"authorization" not in heard.lower()
    assert party_token("alice").encode() not in heard


def submit(mallory: Mallory, tmp_path, **terms: object) -> None:
    (tmp_path / "list.csv").write_bytes(CSV)
    with Room(mallory.url, party_token("alice"), policy=POLICY, **terms) as seen:
        seen.submit(tmp_path / "list.csv")


def dishonest(keys: RoomKeys, change) -> Mallory:
    """At the other end: keys of its own and genuine evidence of them, but for one thing. change: of the answers."""
    identity = keys.identity(agreement_digest(TEXT))

    def answer(path: str) -> Answer:
        document = as_document(parse_agreement(TEXT.encode()))
        if not path.startswith("/attestation"):
            return 200, change("agreement", {"digest": agreement_digest(TEXT), "agreement": document})
        binding = identity.bind(bytes.fromhex(path[-64:]))
        evidence = InsecureSoftwareAttester().attest(binding.report_data())
        return 200, change("attestation", {"evidence": evidence.to_json(), "binding": binding.to_json()})

    return Mallory(answer, keys)


def test_the_dishonest_room_is_accepted_when_it_changes_nothing():
    """So that each refusal below is for the one thing that was changed."""
    with listening(dishonest(RoomKeys(), lambda _, document: document)) as mallory:
        assert verify_room(mallory.url, policy()).result.insecure


def test_a_proxy_that_ends_tls_with_its_own_key_gets_nothing(room, tmp_path):
    with listening(Mallory(passing_on(room.url))) as mallory:
        with pytest.raises(AttestationRefused) as refused:
            submit(mallory, tmp_path)
        assert refused.value.members["check"] == "report-data"
        assert_nothing_told(mallory)


def test_the_command_submits_nothing_through_such_a_proxy_and_exits_with_8(room, tmp_path):
    (tmp_path / "list.csv").write_bytes(CSV)
    with listening(Mallory(passing_on(room.url))) as mallory:
        command = [sys.executable, "-m", "vesica", "submit", mallory.url, str(tmp_path / "list.csv")]
        done = subprocess.run(
            [*command, "--policy", str(room.folder / "policy.toml"), "--journal", str(tmp_path / "journal")],
            env={**__import__("os").environ, "VESICA_TOKEN": party_token("alice")},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 8, done.stderr
        assert_nothing_told(mallory)


def test_connect_does_not_listen_for_a_room_behind_such_a_proxy(room):
    with listening(Mallory(passing_on(room.url))) as mallory:
        with pytest.raises(AttestationRefused):
            Bridge(lambda: verify_room(mallory.url, policy()))
        assert_nothing_told(mallory)


def test_a_relay_of_another_rooms_evidence_gets_nothing(room, tmp_path):
    with attested_room(TEXT) as other:
        honest, borrowed = passing_on(room.url), passing_on(other.url)
        relay = Mallory(lambda path: (borrowed if path.startswith("/attestation") else honest)(path))
        with listening(relay):
            with pytest.raises(AttestationRefused) as refused:
                submit(relay, tmp_path)
            assert refused.value.members["check"] == "report-data"
            assert_nothing_told(relay)


def test_yesterdays_evidence_gets_nothing_even_with_the_keys_that_it_is_of(tmp_path):
    keys = RoomKeys()
    old = keys.identity(agreement_digest(TEXT)).bind(secrets.token_bytes(32))
    evidence = InsecureSoftwareAttester().attest(old.report_data())
    recorded = {"evidence": evidence.to_json(), "binding": old.to_json()}
    replaying = dishonest(keys, lambda what, document: recorded if what == "attestation" else document)
    with listening(replaying):
        with pytest.raises(AttestationRefused) as refused:
            submit(replaying, tmp_path)
        assert refused.value.members["check"] == "report-data"
        assert_nothing_told(replaying)


def test_old_evidence_with_a_binding_that_names_the_fresh_nonce_gets_nothing(tmp_path):
    keys = RoomKeys()
    old = keys.identity(agreement_digest(TEXT)).bind(bytes(32))
    evidence = InsecureSoftwareAttester().attest(old.report_data()).to_json()
    replaying = dishonest(keys, lambda what, d: {**d, "evidence": evidence} if what == "attestation" else d)
    with listening(replaying):
        with pytest.raises(AttestationRefused):
            submit(replaying, tmp_path)
        assert_nothing_told(replaying)


@pytest.mark.parametrize("name", ["hpke_public_key", "receipt_public_key"])
def test_another_key_in_the_binding_gets_nothing(tmp_path, name):
    def swapped(what: str, document):
        if what == "agreement":
            return document
        return {**document, "binding": {**document["binding"], name: secrets.token_hex(32)}}

    with listening(dishonest(RoomKeys(), swapped)) as mallory:
        with pytest.raises(AttestationRefused) as refused:
            submit(mallory, tmp_path)
        assert refused.value.members["check"] == "report-data"
        assert_nothing_told(mallory)


def test_a_binding_without_an_hpke_key_is_no_reason_to_send_the_file_unsealed(tmp_path):
    def stripped(what: str, document):
        if what == "attestation":
            document["binding"].pop("hpke_public_key")
        return document

    with listening(dishonest(RoomKeys(), stripped)) as mallory:
        with pytest.raises(RoomAnsweredNonsense):
            submit(mallory, tmp_path)
        assert_nothing_told(mallory)


def test_another_agreement_than_the_one_that_the_evidence_is_bound_to_gets_nothing(tmp_path):
    other = parse_agreement(agreement_text({"alice": "100", "bob": "1"}).encode())

    def changed(what: str, document):
        return {"digest": digest(other), "agreement": as_document(other)} if what == "agreement" else document

    with listening(dishonest(RoomKeys(), changed)) as mallory:
        with pytest.raises(AttestationRefused):
            submit(mallory, tmp_path)
        assert_nothing_told(mallory)


def test_a_room_of_another_agreement_than_the_partys_gets_nothing(tmp_path):
    with listening(dishonest(RoomKeys(), lambda _, document: document)) as mallory:
        with pytest.raises(AgreementMismatch):
            submit(mallory, tmp_path, agreement_digest="0" * 64)
        assert_nothing_told(mallory)


def test_a_proxy_that_takes_over_after_the_room_was_verified_gets_nothing(tmp_path):
    """The address is the same, the key is not: the pinned connection is not made."""
    with (
        listening(dishonest(RoomKeys(), lambda _, document: document)) as honest,
        listening(dishonest(RoomKeys(), lambda _, document: document)) as later,
    ):
        verified = verify_room(honest.url, policy())
        moved = dataclasses.replace(verified.address, base=later.url)
        client = httpx.Client(verify=verified.context())
        with pytest.raises(httpx.ConnectError):
            client.post(moved.base + "/submissions", content=CSV, headers=bearer("alice"))
        assert not later.heard


def curl(url: str, pin: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["curl", "-sS", "-k", "--pinnedpubkey", pin, *words, url], capture_output=True, check=False)


def test_the_pasted_curl_line_works_with_the_room_and_exits_with_90_at_the_proxy(room):
    pin = verify_room(room.url, policy()).pin
    assert curl(room.url + "/room", pin).returncode == 0
    with listening(Mallory(passing_on(room.url))) as mallory:
        done = curl(mallory.url + "/submissions", pin, "-H", f"Authorization: Bearer {party_token('alice')}", "-d", "x")
        assert done.returncode == 90, done.stderr
        assert not mallory.heard


def test_the_line_that_the_command_prints_is_that_one(room):
    done = subprocess.run(
        [sys.executable, "-m", "vesica", "verify", room.url, "--policy", str(room.folder / "policy.toml")],
        capture_output=True,
        check=True,
    )
    assert (
        re.search(rb"--pinnedpubkey\s+'?(sha256//[A-Za-z0-9+/=]+)", done.stdout)[1].decode()
        == verify_room(room.url, policy()).pin
    )


def captured(room: Attested, party: str) -> bytes:
    verified = verify_room(room.url, policy())
    return b"".join(seal([CSV], verified.identity.hpke_public_key, verified.agreement.digest, party))


def replay(room: Attested, party: str, sealed: bytes) -> httpx.Response:
    headers = {**bearer(party), "Content-Type": MEDIA_TYPE}
    return httpx.post(room.url + "/submissions", content=sealed, headers=headers, verify=False)


def refused_and_free(room: Attested, party: str, sealed: bytes) -> None:
    answer = replay(room, party, sealed)
    assert (answer.status_code, answer.json()["code"]) == (422, "seal-broken")
    state = httpx.get(room.url + "/room", verify=False).json()
    assert {entry["name"]: entry["submitted"] for entry in state["parties"]}[party] is False


def test_a_captured_submission_fits_neither_another_party_nor_a_restarted_room(room):
    sealed = captured(room, "alice")
    refused_and_free(room, "bob", sealed)
    with attested_room(TEXT) as restarted:
        refused_and_free(restarted, "alice", sealed)
        assert replay(restarted, "alice", captured(restarted, "alice")).status_code == 201
    assert replay(room, "alice", sealed).status_code == 201
    assert replay(room, "alice", sealed).status_code == 409


@pytest.mark.parametrize("cut", [1, 17, 80, 100])
def test_a_captured_submission_that_was_cut_off_is_refused_and_leaves_the_place_free(room, cut):
    refused_and_free(room, "bob", captured(room, "bob")[:-cut])


def test_nobody_listens_is_no_reason_for_anything():
    with pytest.raises(RoomUnreachable):
        verify_room("https://127.0.0.1:9", policy())
