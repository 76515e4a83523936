"""Tokens of real workloads: what each must verify as, or be refused for, at its own time and today.

Their nonces are texts of their own, not report data; so these tests call ``appraise`` with the token's nonce.
"""

import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from vesica_attestation import confidential_space
from vesica_attestation.confidential_space import ConfidentialSpacePolicy, abi, authentic
from vesica_attestation.confidential_space.appraise import appraise
from vesica_attestation.confidential_space.keys import read_jwks
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind

DATA = Path(__file__).parents[2] / "data" / "evidence" / "confidential-space"
TODAY = datetime(2026, 11, 21, tzinfo=UTC)
KEYS = read_jwks((DATA / "oidc-debug-sev" / "jwks.json").read_text(), "jwks")

PRODUCTION = "pki-prod-tdx/token.jwt"
DEBUG_PKI = "pki-debug-sev/token.jwt"
DEBUG_OIDC = "oidc-debug-sev/token-nonce.jwt"
NO_NONCE = "oidc-debug-sev/token-no-nonce.jwt"
# File: time of issue, nonce. Source: ../shared/evidence/README.md.
GENUINE = {
    PRODUCTION: (1757060250, "75a91c8dbe289f190d5e70ab1cb70c93cc14d7243f0ef3ff5326a622ead220a6"),
    DEBUG_PKI: (1750688551, "a nonce between 10 and 74 characters"),
    DEBUG_OIDC: (1764708636, "sp1-test-nonce-1764708636"),
    NO_NONCE: (1764708636, ""),
}


def token(name: str) -> bytes:
    return (DATA / name).read_bytes()


def time_of(name: str, seconds: float = 60) -> datetime:
    return datetime.fromtimestamp(GENUINE[name][0] + seconds, UTC)


def claims_of(name: str, seconds: float = 60):
    return authentic.authenticate(abi.parse(token(name)), KEYS, time_of(name, seconds))


def policy_for(claims, **changes) -> ConfidentialSpacePolicy:
    """A policy that accepts these claims, and only these, as far as it can."""
    policy = ConfidentialSpacePolicy(
        launch_digests=frozenset({claims.image_digest}),
        commands=frozenset({claims.arguments}),
        audience=claims.audience,
        max_age_seconds=3600,
        hardware_models=frozenset({claims.hardware_model}),
        support_attributes=claims.support_attributes,
        tdx_tcb_statuses=frozenset({claims.tdx_tcb_status} - {None}),
        env_overrides=claims.env_override,
        project_ids=frozenset({claims.project_id}),
        zones=frozenset({claims.zone}),
        instance_ids=frozenset({claims.instance_id}),
        software_version_min=claims.software_version,
        jwks=KEYS,
    )
    return replace(policy, **changes)


def refusal(name: str, nonce: str, policy: ConfidentialSpacePolicy, at: datetime) -> str:
    with pytest.raises(Refused) as caught:
        appraise(authentic.authenticate(abi.parse(token(name)), policy.jwks, at), nonce, policy, at)
    assert caught.value.kind == Kind.CONFIDENTIAL_SPACE
    return caught.value.check


def test_production_token_verifies_with_its_nonce_and_reports_what_was_pinned():
    claims = claims_of(PRODUCTION)
    proved = appraise(claims, GENUINE[PRODUCTION][1], policy_for(claims), time_of(PRODUCTION))
    assert proved.claims["launch_digest"].startswith("e2e5e367")
    assert proved.claims["launch_digest"].endswith("0b5d")
    assert proved.claims["hardware_model"] == "GCP_INTEL_TDX"
    assert proved.claims["debug_status"] == "disabled-since-boot"
    assert proved.claims["support_attributes"] == ["LATEST", "STABLE", "USABLE"]
    assert proved.claims["tdx_tcb_status"] == "UpToDate"
    assert proved.claims["audience"] == "z08381475938604996746"
    assert proved.claims["command"] == ["/usr/local/bin/ctf_sha2"]
    assert {"launch_digest", "command", "tdx_tcb_status", "instance_id", "debug_status"} <= proved.pinned
    assert "warning" not in proved.claims


@pytest.mark.parametrize("name", [DEBUG_PKI, DEBUG_OIDC])
def test_debug_image_is_refused(name):
    claims = claims_of(name)
    assert refusal(name, GENUINE[name][1], policy_for(claims), time_of(name)) == "debug"


@pytest.mark.parametrize("name", [DEBUG_PKI, DEBUG_OIDC])
def test_debug_image_verifies_only_where_allowed_and_then_warns(name):
    claims = claims_of(name)
    policy = policy_for(claims, allow_insecure_debug=True)
    proved = appraise(claims, GENUINE[name][1], policy, time_of(name))
    assert proved.claims["warning"].startswith("INSECURE")
    assert "debug_status" not in proved.pinned
    stable = replace(policy, support_attributes=frozenset({"STABLE"}))
    assert refusal(name, GENUINE[name][1], stable, time_of(name)) == "support-attributes"


def test_token_without_a_nonce_is_refused_whatever_it_should_be_bound_to():
    claims = claims_of(NO_NONCE)
    policy = policy_for(claims, allow_insecure_debug=True)
    for nonce in ("", "sp1-test-nonce-1764708636", "None", "null"):
        assert refusal(NO_NONCE, nonce, policy, time_of(NO_NONCE)) == "report-data"


@pytest.mark.parametrize("name", [DEBUG_OIDC, NO_NONCE])
def test_oidc_token_is_refused_where_the_policy_supplies_no_keys(name):
    claims = claims_of(name)
    policy = policy_for(claims, jwks=(), allow_insecure_debug=True)
    assert refusal(name, GENUINE[name][1], policy, time_of(name)) == "key"


def test_oidc_token_is_refused_with_another_key_under_its_id():
    claims = claims_of(DEBUG_OIDC)
    one, other = KEYS
    swapped = (replace(one, modulus=other.modulus), replace(other, modulus=one.modulus))
    policy = policy_for(claims, jwks=swapped, allow_insecure_debug=True)
    assert refusal(DEBUG_OIDC, GENUINE[DEBUG_OIDC][1], policy, time_of(DEBUG_OIDC)) == "signature"


@pytest.mark.parametrize("name", GENUINE)
def test_every_token_is_refused_today(name):
    claims = claims_of(name)
    policy = policy_for(claims, allow_insecure_debug=True)
    # The leaf certificates lived for two months; the OIDC keys carry no dates, but the tokens do.
    expected = {PRODUCTION: "validity", DEBUG_PKI: "validity", DEBUG_OIDC: "expired", NO_NONCE: "report-data"}[name]
    assert refusal(name, GENUINE[name][1], policy, TODAY) == expected


@pytest.mark.parametrize("name", [PRODUCTION, DEBUG_PKI, DEBUG_OIDC])
def test_every_token_is_refused_when_its_own_hour_is_over_and_before_it_began(name):
    claims = claims_of(name)
    policy = policy_for(claims, allow_insecure_debug=True)
    nonce = GENUINE[name][1]
    assert appraise(claims_of(name, 3599), nonce, policy, time_of(name, 3599))
    assert refusal(name, nonce, policy, time_of(name, 3600)) == "expired"
    assert refusal(name, nonce, replace(policy, max_age_seconds=59), time_of(name, 60)) == "age"
    assert refusal(name, nonce, policy, time_of(name, -61)) == "not-yet"


def test_report_data_is_another_nonce_than_that_of_any_real_token():
    claims = claims_of(PRODUCTION)
    evidence = Evidence(Kind.CONFIDENTIAL_SPACE, {"token": token(PRODUCTION)})
    for report_data in (bytes(64), bytes(range(64)), GENUINE[PRODUCTION][1].encode("ascii")):
        with pytest.raises(Refused) as caught:
            confidential_space.verify(evidence, report_data, policy_for(claims), time_of(PRODUCTION))
        assert caught.value.check == "report-data"


def test_any_other_nonce_is_refused():
    claims = claims_of(PRODUCTION)
    right = GENUINE[PRODUCTION][1]
    wrong = ["", right[:-1], right + "0", right.upper(), " " + right, right + "\n", right[1:], "7"]
    for nonce in wrong:
        assert refusal(PRODUCTION, nonce, policy_for(claims), time_of(PRODUCTION)) == "report-data"


@pytest.mark.parametrize("name", GENUINE)
def test_sampled_bits_of_a_token_are_needed(name):
    data = token(name)
    draw = random.Random(20261121)
    dots = [position for position, byte in enumerate(data) if byte == ord(".")]
    places = [*range(120), *(dot + step for dot in dots for step in range(-8, 9)), *range(len(data) - 342, len(data))]
    flips = [(place, bit) for place in places for bit in range(7)]
    flips += [(draw.randrange(len(data)), draw.randrange(8)) for _ in range(1500)]
    for place, bit in flips:
        flipped = bytearray(data)
        flipped[place] ^= 1 << bit
        with pytest.raises(Refused):
            authentic.authenticate(abi.parse(bytes(flipped)), KEYS, time_of(name))


@pytest.mark.parametrize("name", GENUINE)
def test_token_cut_off_at_any_length_is_refused(name):
    data = token(name)
    signature_at = data.rindex(b".") + 1
    for length in range(len(data)):
        if length < signature_at or length > len(data) - 8 or length % 32 == 0:
            with pytest.raises(Refused):
                authentic.authenticate(abi.parse(data[:length]), KEYS, time_of(name))


@pytest.mark.parametrize("extra", [b"\n", b" ", b"=", b"A", b"AAAA", b".", b".AAAA", b"\0", "\u00e9".encode()])
def test_trailing_bytes_are_refused(extra):
    with pytest.raises(Refused):
        authentic.authenticate(abi.parse(token(PRODUCTION) + extra), KEYS, time_of(PRODUCTION))


def test_segments_of_two_genuine_tokens_do_not_combine():
    one, other = token(PRODUCTION).split(b"."), token(DEBUG_PKI).split(b".")
    at = time_of(DEBUG_PKI)
    for mixed in ([one[0], *other[1:]], [other[0], one[1], other[2]], [*other[:2], one[2]]):
        with pytest.raises(Refused):
            authentic.authenticate(abi.parse(b".".join(mixed)), KEYS, at)


def test_chain_of_another_genuine_token_does_not_verify_this_one():
    one, other = abi.parse(token(PRODUCTION)), abi.parse(token(DEBUG_PKI))
    with pytest.raises(Refused) as caught:
        authentic.authenticate(replace(one, chain=other.chain), KEYS, time_of(DEBUG_PKI))
    assert caught.value.check == "signature"


@pytest.mark.parametrize("name", [PRODUCTION, DEBUG_PKI])
def test_pki_token_carries_the_root_that_this_version_pins(name):
    chain = abi.parse(token(name)).chain
    assert chain[-1] == authentic.ROOT.public_bytes(Encoding.DER)


def test_root_is_the_one_that_google_publishes():
    fingerprint = "148b293821bb0c6a317f413c8ba475814091cb22d49b9e3c94198db8e8f86c39"
    assert authentic.ROOT.fingerprint(SHA256()).hex() == fingerprint
    assert (
        authentic.ROOT.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == "Confidential Space Root CA"
    )


@pytest.mark.parametrize("name", GENUINE)
def test_pyjwt_reads_the_claims_that_we_read(name):
    theirs = jwt.decode(token(name).decode(), options={"verify_signature": False})
    assert theirs == abi.parse(token(name)).claims


def test_a_part_that_nobody_reads_is_refused():
    evidence = Evidence(Kind.CONFIDENTIAL_SPACE, {"token": token(PRODUCTION), "jwks": b"{}"})
    with pytest.raises(Refused) as caught:
        confidential_space.verify(evidence, bytes(64), policy_for(claims_of(PRODUCTION)), time_of(PRODUCTION))
    assert caught.value.check == "format"
