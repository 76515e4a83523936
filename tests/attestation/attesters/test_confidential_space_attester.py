"""The Confidential Space attester, against a real unix socket server, and a fake Google behind it."""

import pytest

from support.attesters import EVIDENCE
from support.platform import chunked, dripping, raw, serving, silent, whole
from support.space_tokens import AUDIENCE, COMMAND, IMAGE, ISSUED_AT, NONCE, REPORT_DATA, claims_of, fake_google
from vesica_attestation import confidential_space
from vesica_attestation._table import Table
from vesica_attestation.confidential_space import authentic
from vesica_attestation.confidential_space.attester import ConfidentialSpaceAttester
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Kind, from_json


def token(**changes) -> bytes:
    return fake_google().token(claims_of(**changes))


def attest(path, reply, data=REPORT_DATA, seconds_max=5.0):
    with serving(path / "teeserver.sock", reply) as seen:
        return ConfidentialSpaceAttester(AUDIENCE, seen.address, seconds_max).attest(data), seen


@pytest.mark.parametrize("way", [lambda body: whole(200, body), chunked], ids=["whole", "chunked"])
@pytest.mark.parametrize("nonce", [NONCE, [NONCE]], ids=["text", "list"])
def test_a_token_from_the_launcher_is_accepted_by_the_verifier(tmp_path, monkeypatch, way, nonce):
    monkeypatch.setattr(authentic, "ROOT", fake_google().root.certificate)
    evidence, seen = attest(tmp_path, way(token(eat_nonce=nonce) + b"\n"))
    (asked,) = seen.requests
    assert (asked.method, asked.target) == ("POST", "/v1/token")
    assert asked.document == {"audience": AUDIENCE, "nonces": [NONCE], "token_type": "PKI"}
    assert evidence.kind is Kind.CONFIDENTIAL_SPACE
    assert from_json(evidence.to_json()) == evidence
    policy = confidential_space.read_policy(
        Table(
            "confidential_space",
            {
                "launch_digests": [IMAGE.hex()],
                "commands": [list(COMMAND)],
                "audience": AUDIENCE,
                "max_age_seconds": 60,
                "hwmodels": ["GCP_AMD_SEV"],
                "support_attributes": ["STABLE"],
            },
        )
    )
    assert confidential_space.verify(evidence, REPORT_DATA, policy, ISSUED_AT).claims
    with pytest.raises(Refused, match="report-data"):
        confidential_space.verify(evidence, bytes(64), policy, ISSUED_AT)


def test_the_nonce_is_base64url_of_all_64_bytes_without_padding():
    assert confidential_space.nonce_text(b"\xff" * 64) == "_" * 85 + "w"
    assert len(NONCE) == 86


@pytest.mark.parametrize(("status", "why"), [(400, "refused"), (429, "ten tokens a minute"), (500, "HTTP 500")])
def test_the_launchers_errors_are_errors_and_are_not_quoted(tmp_path, status, why):
    with pytest.raises(AttesterUnavailable, match=why) as caught:
        attest(tmp_path, whole(status, b"failed to retrieve: rpc error: code = Unavailable"))
    assert "rpc" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"a.b.c", token()[:-200] + b"=", b"\xff\xfe"])
def test_an_answer_that_is_no_token_is_not_handed_out(tmp_path, body):
    with pytest.raises(AttesterUnavailable, match="no verifier reads"):
        attest(tmp_path, whole(200, body))


@pytest.mark.parametrize("nonce", ["x" * 86, [NONCE, NONCE], [NONCE, "another"], [], NONCE + "A", None])
def test_a_token_about_something_else_is_not_handed_out(tmp_path, nonce):
    with pytest.raises(AttesterUnavailable, match="about something else"):
        attest(tmp_path, whole(200, token(eat_nonce=nonce)))


@pytest.mark.parametrize("name", ["pki-prod-tdx", "pki-debug-sev"])
def test_a_real_token_that_was_made_for_others_is_not_handed_out(tmp_path, name):
    real = (EVIDENCE / "confidential-space" / name / "token.jwt").read_bytes()
    with pytest.raises(AttesterUnavailable, match="about something else"):
        attest(tmp_path, chunked(real))


def test_an_oversized_a_truncated_and_a_slow_answer_are_errors(tmp_path):
    for number, (reply, why) in enumerate(
        (
            (whole(200, b"x" * 65537), "more than 65536"),
            (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + token()), "cut off"),
            (silent(2), "no whole answer"),
            (dripping(token(), 0.1), "no whole answer"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(AttesterUnavailable, match=why):
            attest(folder, reply, seconds_max=0.3)


def test_outside_confidential_space_there_is_no_evidence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(AttesterUnavailable, match="no socket"):
            ConfidentialSpaceAttester(socket=path).probe()
    with pytest.raises(AttesterUnavailable, match="no socket"):
        ConfidentialSpaceAttester(socket=tmp_path / "none").attest(REPORT_DATA)
    with pytest.raises(ValueError, match="64 bytes"):
        ConfidentialSpaceAttester(socket=tmp_path / "none").attest(bytes(63))
