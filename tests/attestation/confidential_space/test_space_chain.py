"""Forgeries of the chain, the key and the signature: all is right but one thing. A fake Google is trusted here."""

import base64
import hmac
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support import space_tokens as make
from support.space_tokens import ISSUED_AT, REPORT_DATA
from vesica_attestation import confidential_space
from vesica_attestation.confidential_space import ConfidentialSpacePolicy, abi, authentic
from vesica_attestation.confidential_space._json import to_base64url
from vesica_attestation.confidential_space.keys import read_jwks
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind

POLICY = ConfidentialSpacePolicy(
    launch_digests=frozenset({make.IMAGE}),
    commands=frozenset({make.COMMAND}),
    audience=make.AUDIENCE,
    max_age_seconds=300,
    hardware_models=frozenset({"GCP_AMD_SEV"}),
    support_attributes=frozenset({"STABLE"}),
)


def verify(token: bytes, policy: ConfidentialSpacePolicy = POLICY, at=ISSUED_AT):
    return confidential_space.verify(Evidence(Kind.CONFIDENTIAL_SPACE, {"token": token}), REPORT_DATA, policy, at)


def refusal(token: bytes, policy: ConfidentialSpacePolicy = POLICY, at=ISSUED_AT) -> str:
    with pytest.raises(Refused) as caught:
        verify(token, policy, at)
    return caught.value.check


def trusted(monkeypatch: pytest.MonkeyPatch, **changed) -> make.FakeGoogle:
    """A fake Google with one certificate made otherwise, whose root the verifier trusts."""
    fake = make.make_google(**changed)
    monkeypatch.setattr(authentic, "ROOT", fake.root.certificate)
    return fake


def header(google: make.FakeGoogle, **changes) -> bytes:
    return make.as_json({"alg": "RS256", "kid": "leaf", "typ": "JWT", "x5c": google.chain} | changes)


def test_token_of_a_trusted_chain_is_accepted(google):
    assert verify(google.token()).claims["launch_digest"] == make.IMAGE.hex()


def test_token_in_all_right_form_is_refused_without_the_real_root():
    assert refusal(make.fake_google().token()) == "root"


def test_forged_root_with_the_same_name_is_refused(google):
    assert refusal(make.make_google(first_key=3).token()) == "root"


def test_forged_chain_that_carries_the_real_root_is_refused(google):
    forger = make.make_google(first_key=3)
    assert refusal(forger.token(x5c=[*forger.chain[:2], google.root.text])) == "chain"


def test_forged_leaf_under_the_real_intermediate_is_refused(google):
    forger = make.make_google(first_key=3)
    assert refusal(forger.token(x5c=[forger.chain[0], *google.chain[1:]])) == "chain"


def test_leaf_that_signed_itself_is_refused(google):
    key = make.rsa_key(5)
    leaf = make.issue("Confidential Space Leaf Certificate", None, key, ca=False)
    forged = replace(google, leaf=leaf)
    assert refusal(forged.token()) == "chain"


def test_chain_in_another_order_is_refused(google):
    leaf, intermediate, root = google.chain
    assert refusal(google.token(x5c=[root, intermediate, leaf])) == "root"
    assert refusal(google.token(x5c=[intermediate, leaf, root])) == "chain"
    assert refusal(google.token(x5c=[leaf, root, root])) == "chain"
    assert refusal(google.token(x5c=[leaf, intermediate, intermediate])) == "root"


def test_intermediate_that_signs_a_token_itself_is_refused(google):
    token = make.by_hand(
        header(google, x5c=[google.intermediate.text, google.root.text, google.root.text]),
        make.as_json(make.claims_of()),
        google.intermediate.key,
    )
    assert refusal(token) == "chain"


CERTIFICATES = {
    "a leaf that is an authority": {"leaf": {"ca": True, "usage": make.ISSUING}},
    "a leaf that says it does not sign": {"leaf": {"usage": make.IDLE}},
    "a leaf that does not say what it is": {"leaf": {"basic": False}},
    "a leaf with an unknown critical extension": {"leaf": {"extra": (make.UNKNOWN_CRITICAL,)}},
    "an issuer that is no authority": {"intermediate": {"ca": False}},
    "an issuer that may not issue": {"intermediate": {"usage": make.SIGNING}},
    "an issuer that does not say what it may": {"intermediate": {"usage": None}},
    "an issuer with an unknown critical extension": {"intermediate": {"extra": (make.UNKNOWN_CRITICAL,)}},
}


@pytest.mark.parametrize("what", CERTIFICATES)
def test_chain_that_breaks_a_rule_of_its_certificates_is_refused(monkeypatch, what):
    assert refusal(trusted(monkeypatch, **CERTIFICATES[what]).token()) == "chain"


def test_leaf_that_says_that_it_signs_is_accepted(monkeypatch):
    assert verify(trusted(monkeypatch, leaf={"usage": make.SIGNING}).token())


@pytest.mark.parametrize("member", ["leaf", "intermediate"])
def test_certificate_that_is_not_valid_at_the_time_is_refused(monkeypatch, member):
    second = timedelta(seconds=1)
    early = trusted(monkeypatch, **{member: {"start": ISSUED_AT + second}})
    assert refusal(early.token()) == "validity"
    late = trusted(monkeypatch, **{member: {"end": ISSUED_AT - second}})
    assert refusal(late.token()) == "validity"


def test_leaf_with_a_short_key_is_refused(monkeypatch):
    fake = trusted(monkeypatch, leaf_bits=1024)
    assert refusal(make.by_hand(header(fake), make.as_json(make.claims_of()), fake.leaf.key)) == "algorithm"


def test_signature_by_another_key_is_refused(google):
    token = make.by_hand(header(google), make.as_json(make.claims_of()), make.rsa_key(5))
    assert refusal(token) == "signature"


def test_hmac_with_the_public_key_as_secret_is_refused(google):
    secret = google.leaf.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    parts = (header(google, alg="HS256"), make.as_json(make.claims_of()))
    signed = ".".join(map(to_base64url, parts)).encode()
    forged = signed + b"." + to_base64url(hmac.digest(secret, signed, "sha256")).encode()
    assert refusal(forged) == "algorithm"


def test_pss_signature_under_an_rs256_header_is_refused(google):
    signed = ".".join(to_base64url(part) for part in (header(google), make.as_json(make.claims_of()))).encode()
    pss = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
    signature = google.leaf.key.sign(signed, pss, SHA256())
    assert refusal(signed + b"." + to_base64url(signature).encode()) == "signature"


@pytest.mark.parametrize("signature", [b"", b"\0", bytes(256), b"\xff" * 256, bytes(255), bytes(257)])
def test_degenerate_signatures_are_refused(google, signature):
    signed = google.token().rpartition(b".")[0]
    assert refusal(signed + b"." + to_base64url(signature).encode()) == "signature"


def test_signature_plus_the_modulus_is_refused(google):
    signed, _, text = google.token().rpartition(b".")
    numbers = google.leaf.key.public_key().public_numbers()
    value = int.from_bytes(abi.from_base64url(text.decode()), "big") + numbers.n
    twin = value.to_bytes(257 if value.bit_length() > 2048 else 256, "big")
    assert refusal(signed + b"." + to_base64url(twin).encode()) == "signature"


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "crit", "b64"])
def test_signed_header_that_points_elsewhere_is_refused(google, name):
    value = {"jwk": {"kty": "RSA"}, "crit": ["b64"], "b64": False}.get(
        name, "https://confidentialcomputing.googleapis.com"
    )
    token = make.by_hand(header(google, **{name: value}), make.as_json(make.claims_of()), google.leaf.key)
    assert refusal(token) == "header"


def test_signed_payload_with_a_claim_twice_is_refused(google):
    text = json.dumps(make.claims_of())
    twice = text[:-1] + ', "dbgstat": "disabled-since-boot"}'
    assert refusal(make.by_hand(header(google), twice.encode(), google.leaf.key)) == "format"


def oidc(keys: dict) -> ConfidentialSpacePolicy:
    return replace(POLICY, jwks=read_jwks(keys, "jwks"))


def test_oidc_token_is_accepted_with_a_supplied_key_of_its_id(google):
    token = google.token(x5c=None)
    assert verify(token, oidc(make.jwks_of(google.leaf.key, "leaf")))
    assert refusal(token, oidc(make.jwks_of(google.leaf.key, "other"))) == "key"
    assert refusal(token, oidc(make.jwks_of(make.rsa_key(5), "leaf"))) == "signature"
    assert refusal(token) == "key"


def test_supplied_keys_do_not_excuse_a_chain_that_is_wrong(google):
    forger = make.make_google(first_key=3)
    keys = oidc(make.jwks_of(forger.leaf.key, "leaf"))
    assert refusal(forger.token(), keys) == "root"
    assert verify(google.token(), keys)


def test_supplied_key_of_the_same_id_does_not_take_the_place_of_the_leaf(google):
    stranger = make.rsa_key(5)
    token = make.by_hand(header(google), make.as_json(make.claims_of()), stranger)
    assert refusal(token, oidc(make.jwks_of(stranger, "leaf"))) == "signature"


def test_certificate_followed_by_a_byte_is_refused(google):
    der = google.intermediate.certificate.public_bytes(Encoding.DER) + b"\0"
    longer = base64.b64encode(der).decode()
    assert refusal(google.token(x5c=[google.leaf.text, longer, google.root.text])) == "format"


def test_leaf_with_a_key_of_another_kind_is_refused(monkeypatch):
    from cryptography.hazmat.primitives.asymmetric import ec

    fake = make.fake_google()
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(fake.leaf.certificate.subject)
        .issuer_name(fake.intermediate.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(ISSUED_AT - timedelta(days=1))
        .not_valid_after(ISSUED_AT + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(fake.intermediate.key, SHA256())
    )
    monkeypatch.setattr(authentic, "ROOT", fake.root.certificate)
    leaf = make.Authority(certificate, fake.leaf.key)
    assert refusal(replace(fake, leaf=leaf).token()) == "algorithm"
