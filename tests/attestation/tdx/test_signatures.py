"""Nothing of a quote can be changed: what is not signed is compared or must be zero."""

import hashlib
from collections import Counter

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from support.fake_intel import AT, QE_MRSIGNER, FakeIntel, raw_public_key, raw_signature, sgx_extension
from support.tdx import TODAY, UP_TO_DATE_AT, flipped, real, refusal, trust
from vesica_attestation.tdx import abi, pck
from vesica_attestation.tdx.authentic import authenticate, check_signatures

QUOTE = real("tdx", "v4-uptodate", "quote.bin")
COLLATERAL = real("tdx", "v4-uptodate", "collateral.json")
SIGNED_BYTES = 632
CHAIN_AT = 5006 - 70 - 3678


def checks_of_flips(quote, bits):
    """How often each check refused, over single flipped bits."""
    return Counter(refusal(lambda bit=bit: check_signatures(flipped(quote, bit), UP_TO_DATE_AT)) for bit in bits)


def test_every_bit_flip_in_header_and_body_is_refused():
    checks = checks_of_flips(QUOTE, range(SIGNED_BYTES * 8))
    assert checks["signature"] > 4800
    assert set(checks) == {"signature", "tee-type", "version", "key-type", "qe-vendor", "format", "body-type"}


def test_every_third_bit_flip_in_signatures_keys_and_the_enclaves_report_is_refused():
    checks = checks_of_flips(QUOTE, range(SIGNED_BYTES * 8, CHAIN_AT * 8, 3))
    assert {"qe-signature", "attestation-key", "signature", "certification-type", "format", "trailing-bytes"} >= set(
        checks
    )


def test_every_fifth_bit_flip_in_the_pck_chain_is_refused():
    checks = checks_of_flips(QUOTE, range(CHAIN_AT * 8, (5006 - 70) * 8, 5))
    assert {"format", "root", "chain", "validity"} >= set(checks)


def test_every_bit_flip_in_the_padding_is_refused():
    assert set(checks_of_flips(QUOTE, range((5006 - 70) * 8, 5006 * 8))) == {"trailing-bytes"}


def test_sampled_bit_flips_are_refused_by_the_whole_of_authentication():
    for bit in range(0, len(QUOTE) * 8, 101):
        refusal(lambda bit=bit: authenticate(flipped(QUOTE, bit), COLLATERAL, UP_TO_DATE_AT))


def test_a_bit_flip_in_the_collateral_is_refused_or_changes_no_claim():
    claims = authenticate(QUOTE, COLLATERAL, UP_TO_DATE_AT)
    refused = 0
    for bit in range(0, len(COLLATERAL) * 8, 149):
        altered = flipped(COLLATERAL, bit)
        try:
            assert authenticate(QUOTE, altered, UP_TO_DATE_AT) == claims
        except pck.Refused:
            refused += 1
    assert refused > 500


def test_the_embedded_root_is_the_pinned_one():
    der = pck.INTEL_SGX_ROOT.public_bytes(pck.Encoding.DER)
    assert hashlib.sha256(der).hexdigest() == pck.INTEL_SGX_ROOT_SHA256
    assert pck.INTEL_SGX_ROOT_SHA256 == "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"


def test_a_fake_intel_is_refused_by_its_root():
    intel = FakeIntel()
    assert refusal(lambda: authenticate(intel.quote(), intel.collateral(), AT)) == "root"


def test_a_chain_under_the_genuine_root_that_is_not_its_own_is_refused():
    intel = FakeIntel()
    genuine = pck.INTEL_SGX_ROOT.public_bytes(pck.Encoding.PEM)
    own = b"".join(certificate.public_bytes(pck.Encoding.PEM) for certificate in (intel.pck, intel.ca))
    assert refusal(lambda: check_signatures(intel.quote(chain=own + genuine), AT)) == "chain"


def test_swapped_chains_of_two_genuine_quotes_are_refused():
    other = real("dstack", "tdx-2026", "quote.bin")
    assert len(other) == len(QUOTE)
    assert refusal(lambda: check_signatures(QUOTE[:CHAIN_AT] + other[CHAIN_AT:], TODAY)) == "qe-signature"
    assert refusal(lambda: check_signatures(QUOTE[:636] + other[636:], TODAY)) == "signature"
    assert refusal(lambda: check_signatures(other[:SIGNED_BYTES] + QUOTE[SIGNED_BYTES:], TODAY)) == "signature"


def test_certificates_in_another_order_are_refused():
    text = QUOTE[CHAIN_AT:].rstrip(b"\0")
    leaf, ca, root = (text[at : at + size] for at, size in _places(text))
    for order in ((ca, leaf, root), (leaf, root, ca), (root, ca, leaf)):
        quote = QUOTE[:CHAIN_AT] + b"".join(order) + b"\0"
        assert refusal(lambda quote=quote: check_signatures(quote, UP_TO_DATE_AT)) in {"root", "chain"}


def _places(text):
    begin = b"-----BEGIN CERTIFICATE-----"
    starts = [at for at in range(len(text)) if text.startswith(begin, at)]
    return [(at, end - at) for at, end in zip(starts, [*starts[1:], len(text)], strict=True)]


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        ({"mrsigner": bytes(32)}, "qe-identity"),
        ({"isvprodid": b"\1\0"}, "qe-identity"),
        ({"attributes": bytes.fromhex("1700000000000000e700000000000000")}, "qe-identity"),
        ({"report_data": bytes(64)}, "attestation-key"),
    ],
)
def test_another_enclave_that_the_platform_certified_is_refused(monkeypatch, fields, check):
    intel = FakeIntel()
    trust(monkeypatch, intel)
    quote = intel.quote(qe_report=intel.qe_report(**fields))
    assert refusal(lambda: check_signatures(quote, AT)) == check


def test_the_half_of_the_enclaves_report_data_that_binds_nothing_must_be_zero(monkeypatch):
    intel = FakeIntel()
    trust(monkeypatch, intel)
    bound = intel.qe_report()[320:352]
    quote = intel.quote(qe_report=intel.qe_report(report_data=bound + b"\1" * 32))
    assert refusal(lambda: check_signatures(quote, AT)) == "attestation-key"


def test_an_attestation_key_that_is_no_point_is_refused(monkeypatch):
    intel = FakeIntel()
    trust(monkeypatch, intel)
    bound = hashlib.sha256(bytes(64) + bytes(range(32))).digest() + bytes(32)
    quote = intel.quote(qe_report=intel.qe_report(report_data=bound))
    key_at = SIGNED_BYTES + 4 + 64
    assert refusal(lambda: check_signatures(quote[:key_at] + bytes(64) + quote[key_at + 64 :], AT)) == "attestation-key"


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(31) + b"\1" + bytes(31) + b"\1"])
def test_signatures_of_special_numbers_are_refused(signature):
    assert refusal(lambda: check_signatures(QUOTE[:636] + signature + QUOTE[700:], UP_TO_DATE_AT)) == "signature"


def test_an_own_attestation_key_over_an_own_body_is_refused():
    key = ec.generate_private_key(ec.SECP256R1())
    signed = QUOTE[:568] + hashlib.sha512(b"forged").digest()
    forged = signed + QUOTE[632:636] + raw_signature(key, signed) + raw_public_key(key) + QUOTE[764:]
    assert refusal(lambda: check_signatures(forged, UP_TO_DATE_AT)) == "attestation-key"


def test_a_leaf_that_is_no_pck_is_refused(monkeypatch):
    intel = FakeIntel()
    trust(monkeypatch, intel)
    intel.pck = intel.certificate("Intel SGX TCB Signing", intel.pck_key, "Intel SGX PCK Platform CA", intel.ca_key)
    assert refusal(lambda: check_signatures(intel.quote(), AT)) == "pck"


def test_an_authority_as_leaf_is_refused(monkeypatch):
    intel = FakeIntel()
    trust(monkeypatch, intel)
    ca = "Intel SGX PCK Platform CA"
    intel.pck = intel.certificate("Intel SGX PCK Certificate", intel.pck_key, ca, intel.ca_key, path_length=0)
    assert refusal(lambda: check_signatures(intel.quote(), AT)) == "chain"


def test_the_fake_intel_is_good_enough_to_show_what_is_refused(monkeypatch):
    intel = FakeIntel()
    trust(monkeypatch, intel)
    assert intel.qe_report()[128:160] == QE_MRSIGNER
    for version in (4, 5):
        assert authenticate(intel.quote(version=version), intel.collateral(), AT).tcb_status == "UpToDate"


def test_a_quote_is_parsed_from_the_bytes_that_are_signed():
    parsed = abi.parse_quote(QUOTE)
    assert parsed.signed == QUOTE[:SIGNED_BYTES]
    assert abi.parse_td_report(parsed.signed[48:]) == parsed.report


@pytest.mark.parametrize("wrong", [{"ppid": bytes(15)}, {"fmspc": bytes(7)}, {"ppid": b""}])
def test_a_pck_with_a_name_of_another_length_is_refused(monkeypatch, wrong):
    intel = FakeIntel()
    trust(monkeypatch, intel)
    name, ca = "Intel SGX PCK Certificate", "Intel SGX PCK Platform CA"
    intel.pck = intel.certificate(name, intel.pck_key, ca, intel.ca_key, extension=sgx_extension(**wrong))
    assert refusal(lambda: check_signatures(intel.quote(), AT)) == "pck"


def test_a_pck_of_another_curve_is_refused(monkeypatch):
    intel = FakeIntel()
    trust(monkeypatch, intel)
    name, ca, key = "Intel SGX PCK Certificate", "Intel SGX PCK Platform CA", ec.generate_private_key(ec.SECP384R1())
    intel.pck = intel.certificate(name, key, ca, intel.ca_key, extension=sgx_extension())
    assert refusal(lambda: check_signatures(intel.quote(), AT)) == "pck"
