"""Documents of real enclaves: what each must verify as, or be refused for, at its own time and today."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from vesica_attestation import _pki, nitro
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.nitro import NitroPolicy, abi, authentic
from vesica_attestation.nitro.appraise import appraise

DATA = Path(__file__).parents[2] / "data" / "evidence" / "nitro"
TODAY = datetime(2026, 11, 21, tzinfo=UTC)
N384 = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973

# Name, time, start of PCR0. Source: ../shared/evidence/README.md.
PRODUCTION = {
    "prod-2022-nonce": (datetime(2022, 11, 9, 22, 52, 0, 696_000, tzinfo=UTC), "22f9e1c94920"),
    "prod-2022-pcr8": (datetime(2022, 10, 13, 8, 58, 2, 136_000, tzinfo=UTC), "f4d48b81a460"),
}
DEBUG = {
    "debug-2025": (datetime(2025, 12, 25, 8, 20, 46, 577_000, tzinfo=UTC), "000000000000"),
    "debug-2022-public-key": (datetime(2022, 10, 12, 13, 50, 6, 81_000, tzinfo=UTC), "000000000000"),
}
GENUINE = PRODUCTION | DEBUG


def document(name: str) -> bytes:
    return (DATA / name / "document.cose").read_bytes()


def claims_of(name: str) -> authentic.Claims:
    return authentic.authenticate(abi.parse(document(name)))


def policy_for(claims: authentic.Claims, **changes: object) -> NitroPolicy:
    return replace(NitroPolicy(frozenset({claims.pcrs[0]}), max_age_seconds=300), **changes)


def verify(data: bytes, report_data: bytes, policy: NitroPolicy, at: datetime) -> object:
    return nitro.verify(Evidence(Kind.NITRO, {"document": data}), report_data, policy, at)


def refusal(data: bytes, report_data: bytes, policy: NitroPolicy, at: datetime) -> str:
    with pytest.raises(Refused) as caught:
        verify(data, report_data, policy, at)
    assert caught.value.kind == Kind.NITRO
    return caught.value.check


@pytest.mark.parametrize("name", GENUINE)
def test_genuine_document_is_authentic_with_its_time_and_pcr0(name):
    made_at, pcr0 = GENUINE[name]
    claims = claims_of(name)
    assert claims.timestamp == made_at
    assert claims.pcrs[0].hex().startswith(pcr0)
    assert len(claims.pcrs) == 16


def test_production_document_verifies_with_its_user_data_and_reports_what_was_pinned():
    claims = claims_of("prod-2022-nonce")
    pcr4 = claims.pcrs[4]
    policy = policy_for(claims, pcr4=frozenset({pcr4}))
    proved = verify(document("prod-2022-nonce"), claims.user_data, policy, claims.timestamp + timedelta(seconds=300))
    assert proved.pinned == {"launch_digest", "pcr4"}
    assert proved.claims["launch_digest"] == claims.pcrs[0].hex()
    assert proved.claims["pcr4"] == pcr4.hex()
    assert proved.claims["module_id"] == "i-04fd167167daacf3b-enc01845e97d0b3eb4e"
    assert proved.claims["nonce"].startswith("c678c86135de")
    assert proved.claims["debug"] is False
    assert "warning" not in proved.claims
    assert "pcr3" not in proved.claims  # all zero: nothing was measured, so nothing is claimed


def test_document_without_user_data_is_refused_whatever_it_should_be_bound_to():
    claims = claims_of("prod-2022-pcr8")
    data = document("prod-2022-pcr8")
    for report_data in (bytes(64), b"", claims.nonce, claims.nonce[:64]):
        assert refusal(data, report_data, policy_for(claims), claims.timestamp) == "report-data"


def test_signed_image_verifies_by_the_certificate_in_pcr8_and_no_other():
    claims = replace(claims_of("prod-2022-pcr8"), user_data=bytes(64))
    signer = bytes.fromhex(claims.pcrs[8].hex())
    proved = appraise(claims, bytes(64), policy_for(claims, pcr8=frozenset({signer})), claims.timestamp)
    assert proved.claims["pcr8"].startswith("8790eb3c")
    with pytest.raises(Refused, match="pcr: PCR8"):
        appraise(claims, bytes(64), policy_for(claims, pcr8=frozenset({bytes(47) + b"\1"})), claims.timestamp)


def test_altered_signature_of_a_genuine_document_is_refused():
    claims = claims_of("prod-2022-nonce")
    data = document("prod-2022-bad-signature")
    assert refusal(data, claims.user_data, policy_for(claims), claims.timestamp) == "signature"


@pytest.mark.parametrize("name", DEBUG)
def test_debug_enclave_is_refused_even_by_a_policy_that_lists_its_zero_pcr0(name):
    claims = claims_of(name)
    assert refusal(document(name), claims.user_data, policy_for(claims), claims.timestamp) == "debug"


@pytest.mark.parametrize("name", DEBUG)
def test_debug_enclave_verifies_only_where_allowed_and_then_warns_and_pins_no_image(name):
    claims = claims_of(name)
    policy = NitroPolicy(frozenset({b"\1" * 48}), max_age_seconds=300, allow_insecure_debug=True)
    proved = verify(document(name), claims.user_data, policy, claims.timestamp)
    assert proved.claims["debug"] is True
    assert proved.claims["warning"].startswith("INSECURE")
    assert proved.pinned == frozenset()


@pytest.mark.parametrize("name", GENUINE)
def test_every_document_is_refused_today_for_its_age(name):
    claims = replace(claims_of(name), user_data=bytes(64))
    longest = policy_for(claims, max_age_seconds=24 * 3600, allow_insecure_debug=True)
    with pytest.raises(Refused) as caught:
        appraise(claims, bytes(64), longest, TODAY)
    assert caught.value.check == "age"


def test_any_other_report_data_is_refused():
    claims = claims_of("prod-2022-nonce")
    data, right = document("prod-2022-nonce"), claims.user_data
    wrong = [bytes([*right[:i], right[i] ^ 1 << bit, *right[i + 1 :]]) for i in range(len(right)) for bit in range(8)]
    wrong += [b"", right[:-1], right + b"\0", right + bytes(32), bytes(64), claims.nonce, right * 2]
    for report_data in wrong:
        assert refusal(data, report_data, policy_for(claims), claims.timestamp) == "report-data"


def test_every_bit_of_the_headers_and_of_the_signature_is_needed():
    data = document("prod-2022-nonce")
    positions = [*range(400), *range(len(data) - 260, len(data))]
    _assert_flips_refused(data, [(position, bit) for position in positions for bit in range(8)])


@pytest.mark.parametrize("name", ["prod-2022-nonce", "debug-2025"])
def test_sampled_bits_of_the_whole_document_are_needed(name):
    data = document(name)
    draw = random.Random(20261121)
    _assert_flips_refused(data, [(draw.randrange(len(data)), draw.randrange(8)) for _ in range(1500)])


def _assert_flips_refused(data: bytes, flips: list[tuple[int, int]]) -> None:
    for position, bit in flips:
        flipped = bytearray(data)
        flipped[position] ^= 1 << bit
        with pytest.raises(Refused):
            authentic.authenticate(abi.parse(bytes(flipped)))


@pytest.mark.parametrize("name", GENUINE)
def test_document_cut_off_at_any_length_is_refused(name):
    data = document(name)
    for length in range(len(data)):
        with pytest.raises(Refused):
            abi.parse(data[:length])


def test_trailing_bytes_are_refused():
    data = document("prod-2022-nonce")
    for extra in (b"\0", b"\xff", b"\xf6", data):
        with pytest.raises(Refused) as caught:
            abi.parse(data + extra)
        assert caught.value.check == "trailing-bytes"


@pytest.mark.parametrize("what", ["signature", "payload"])
def test_parts_of_two_genuine_documents_do_not_combine(what):
    one, other = abi.parse(document("prod-2022-nonce")), abi.parse(document("prod-2022-pcr8"))
    swap = {"signature": other.signature} if what == "signature" else {"signed": other.signed, "payload": other.payload}
    with pytest.raises(Refused) as caught:
        authentic.authenticate(replace(one, **swap))
    assert caught.value.check == "signature"


@pytest.mark.parametrize("swapped", ["certificate", "cabundle"])
def test_chain_swapped_with_that_of_another_genuine_document_is_refused(swapped):
    one, other = abi.parse(document("prod-2022-nonce")), abi.parse(document("prod-2022-pcr8"))
    payload = replace(one.payload, **{swapped: getattr(other.payload, swapped)}, timestamp=other.payload.timestamp)
    with pytest.raises(Refused) as caught:
        authentic.authenticate(replace(one, payload=payload))
    assert caught.value.check in {"chain", "validity"}


def test_twin_signature_says_the_same_so_bytes_are_no_identity():
    # ECDSA: (r, n - s) verifies wherever (r, s) does. It proves the same claims, and no other; see authentic.py.
    genuine = abi.parse(document("prod-2022-nonce"))
    s = int.from_bytes(genuine.signature[48:], "big")
    twin = replace(genuine, signature=genuine.signature[:48] + (N384 - s).to_bytes(48, "big"))
    assert twin.signature != genuine.signature
    assert authentic.authenticate(twin) == authentic.authenticate(genuine)


def test_root_is_the_one_that_aws_publishes():
    fingerprint = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
    assert authentic.ROOT.fingerprint(SHA256()).hex() == fingerprint
    assert authentic.ROOT.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == "aws.nitro-enclaves"


@pytest.mark.parametrize("file", ["aws_nitro_enclaves_root_g1.pem", "confidential_space_root.pem"])
def test_root_that_is_not_the_pinned_one_does_not_load(file):
    with pytest.raises(RuntimeError, match="pins"):
        _pki.pinned_root(file, "00" * 32)


def test_a_part_that_nobody_reads_is_refused():
    claims = claims_of("prod-2022-nonce")
    evidence = Evidence(Kind.NITRO, {"document": document("prod-2022-nonce"), "more": b""})
    with pytest.raises(Refused) as caught:
        nitro.verify(evidence, claims.user_data, policy_for(claims), claims.timestamp)
    assert caught.value.check == "format"
