"""What we would try in an attacker's place, and what the verifier does not claim."""

import json
from datetime import UTC, datetime, timedelta, timezone

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from support.fake_intel import AT, FakeIntel, raw_signature, td_report
from support.tdx import UP_TO_DATE_AT, evidence, policy_for, real, refusal, trust
from vesica_attestation import tdx
from vesica_attestation.tdx.abi import parse_quote
from vesica_attestation.tdx.authentic import authenticate, check_signatures

QUOTE = real("tdx", "v4-uptodate", "quote.bin")
COLLATERAL = real("tdx", "v4-uptodate", "collateral.json")
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def intel(monkeypatch):
    """A fake Intel that the verifier trusts, so that a forger may hold genuine evidence of their own machine."""
    made = FakeIntel()
    trust(monkeypatch, made)
    return made


def pem(*certificates: x509.Certificate) -> bytes:
    """Certificates as text."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def test_a_quote_under_a_strangers_chain_with_a_genuine_chain_in_the_collateral_is_refused(intel):
    # dcap-qvl prefers a chain in the collateral to the quote's: then it judges another certificate than we read.
    stranger = FakeIntel()
    quote = intel.quote(chain=pem(stranger.pck, stranger.ca, stranger.root))
    text = json.dumps({**json.loads(intel.collateral()), "pck_certificate_chain": pem(intel.pck, intel.ca).decode()})
    trusted = intel.root.public_bytes(Encoding.DER)
    theirs = dcap_qvl.QuoteCollateralV3.from_json(text)
    assert dcap_qvl.verify_with_root_ca(quote, theirs, trusted, int(AT.timestamp())).status == "UpToDate"
    assert refusal(lambda: authenticate(quote, text.encode(), AT)) == "root"


def test_the_forgers_own_quoting_enclave_on_a_genuine_machine_is_refused_even_without_collateral(intel):
    # The owner of a machine can have its PCK certify an enclave of theirs; it would then sign any TD report.
    own = intel.quote(qe_report=intel.qe_report(mrsigner=b"\x66" * 32), mrtd=b"\x11" * 48)
    assert refusal(lambda: check_signatures(own, AT)) == "qe-identity"


def test_a_td_report_of_one_machine_under_the_keys_of_another_is_refused(intel):
    other = FakeIntel()
    other.root_key, other.root, other.ca_key, other.ca = intel.root_key, intel.root, intel.ca_key, intel.ca
    mixed = intel.quote()[:632] + other.quote()[632:]
    assert refusal(lambda: check_signatures(mixed, AT)) in {"chain", "signature"}


def test_a_quote_that_says_version_4_of_a_version_5_body_is_refused(intel):
    quote = intel.quote(version=5)
    assert refusal(lambda: check_signatures(b"\4" + quote[1:], AT)) in {
        "format",
        "certification-type",
        "trailing-bytes",
    }
    body = td_report(version=5)
    header = quote[:48].replace(b"\5", b"\4", 1)
    signed = header + body[:584]
    resigned = signed + quote[48 + 6 + 648 :][:4] + raw_signature(intel.attestation_key, signed) + quote[-1:]
    assert refusal(lambda: check_signatures(resigned, AT)) == "format"


def test_an_attestation_key_that_signs_something_that_is_no_quote_is_refused(intel):
    signed = b"any other bytes that the enclave signs".ljust(632, b" ")
    forged = signed + intel.quote()[632:636] + raw_signature(intel.attestation_key, signed) + intel.quote()[700:]
    assert refusal(lambda: check_signatures(forged, AT)) == "tee-type"


def test_known_firmware_under_an_own_kernel_is_refused(intel):
    # The commonest wrong policy pins MRTD alone. This one cannot be written without saying so, and here it is not.
    quote = intel.quote(rtmr2=b"\x66" * 48)
    policy = policy_for(parse_quote(intel.quote()).report)
    assert refusal(lambda: tdx.verify(evidence(quote, intel.collateral()), b"\x33" * 64, policy, AT)) == "rtmr2"


def test_a_quote_of_yesterday_with_todays_nonce_put_in_is_refused():
    fresh = QUOTE[:568] + b"\x42" * 64 + QUOTE[632:]
    assert refusal(lambda: authenticate(fresh, COLLATERAL, UP_TO_DATE_AT)) == "signature"


def test_a_revoked_machine_cannot_hide_behind_the_revocation_list_of_another_authority(intel):
    intel.revoked.append(intel.pck.serial_number)
    fields = json.loads(intel.collateral())
    fields["pck_crl"] = fields["root_ca_crl"]
    assert refusal(lambda: authenticate(intel.quote(), json.dumps(fields).encode(), AT)) in {"collateral", "revoked"}


def test_a_stale_chain_does_not_pass_by_another_time_zone(intel):
    end = intel.pck.not_valid_after_utc
    ahead, behind = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
    for zone in (UTC, ahead, behind):
        check_signatures(intel.quote(), end.astimezone(zone))
        late = (end + timedelta(seconds=1)).astimezone(zone)
        assert refusal(lambda late=late: check_signatures(intel.quote(), late)) == "validity"


def test_times_that_dcap_qvl_cannot_count_are_refused():
    for at in (datetime(1, 1, 1, tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)):
        assert refusal(lambda at=at: authenticate(QUOTE, COLLATERAL, at)) == "validity"


def test_a_panic_inside_dcap_qvl_is_a_refusal_and_an_interrupt_is_not(monkeypatch):
    class PanicException(BaseException):
        pass

    def fails_with(error):
        def fail(*_):
            raise error

        return fail

    monkeypatch.setattr(dcap_qvl, "verify_with_root_ca", fails_with(PanicException()))
    assert refusal(lambda: authenticate(QUOTE, COLLATERAL, UP_TO_DATE_AT)) == "collateral"
    monkeypatch.setattr(dcap_qvl, "verify_with_root_ca", fails_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        authenticate(QUOTE, COLLATERAL, UP_TO_DATE_AT)


def test_the_bytes_of_a_quote_are_no_identity_but_its_claims_are():
    # ECDSA: with (r, s) goes (r, n - s). Nobody may tell a replay by the digest of a quote; the nonce tells it.
    s = int.from_bytes(QUOTE[668:700], "big")
    twin = QUOTE[:668] + (P256_ORDER - s).to_bytes(32, "big") + QUOTE[700:]
    assert authenticate(twin, COLLATERAL, UP_TO_DATE_AT) == authenticate(QUOTE, COLLATERAL, UP_TO_DATE_AT)


def test_a_fresh_key_of_the_forgers_machine_signs_nothing_for_another_machine(intel):
    key, intel.attestation_key = intel.attestation_key, ec.generate_private_key(ec.SECP256R1())
    quote = intel.quote()
    signed = quote[:632]
    assert refusal(
        lambda: check_signatures(signed + quote[632:636] + raw_signature(key, signed) + quote[700:], AT)
    ) == ("signature")
