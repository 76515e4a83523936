"""Collateral comes from whoever wants to be believed: what it may and may not decide."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from support.fake_intel import AT, FakeIntel
from support.tdx import refusal, trust
from vesica_attestation.errors import Refused
from vesica_attestation.tdx import authentic, collateral
from vesica_attestation.tdx.authentic import authenticate


@pytest.fixture
def intel(monkeypatch):
    """A fake Intel that the verifier trusts."""
    made = FakeIntel()
    trust(monkeypatch, made)
    return made


def changed(text, **fields):
    """Collateral with some of its nine texts replaced."""
    return json.dumps({**json.loads(text), **fields}).encode()


def test_a_revoked_pck_is_refused(intel):
    assert authenticate(intel.quote(), intel.collateral(), AT)
    intel.revoked.append(intel.pck.serial_number)
    assert refusal(lambda: authenticate(intel.quote(), intel.collateral(), AT)) == "revoked"


@pytest.mark.parametrize("which", ["ca", "signing", "root"])
def test_a_revoked_authority_or_signer_is_refused(intel, which):
    revoked = (getattr(intel, which).serial_number,)
    assert refusal(lambda: authenticate(intel.quote(), intel.collateral(root_revoked=revoked), AT)) == "revoked"


def test_a_revocation_list_that_another_signed_is_refused(intel):
    intel.revoked.append(intel.pck.serial_number)
    ours, theirs = json.loads(intel.collateral()), json.loads(FakeIntel().collateral())
    for name in ("pck_crl", "root_ca_crl"):
        text = changed(json.dumps(ours), **{name: theirs[name]})
        with pytest.raises(Refused):
            authenticate(intel.quote(), text, AT)


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_texts_that_are_not_signed_are_refused(intel, name):
    genuine = json.loads(intel.collateral(status="OutOfDate"))
    better = json.loads(intel.collateral(status="UpToDate", evaluation_number=19))
    text = changed(json.dumps(genuine), **{name: better[name]})
    with pytest.raises(Refused):
        authenticate(intel.quote(), text, AT)


def test_texts_that_a_stranger_signed_are_refused(intel):
    stranger = FakeIntel()
    with pytest.raises(Refused):
        authenticate(intel.quote(), stranger.collateral(), AT)
    mixed = changed(intel.collateral(), **{
        name: text for name, text in json.loads(stranger.collateral()).items() if "tcb_info" in name
    })  # fmt: skip
    with pytest.raises(Refused):
        authenticate(intel.quote(), mixed, AT)


def test_the_pcks_own_key_cannot_sign_collateral(intel):
    intel.signing, intel.signing_key = intel.pck, intel.pck_key
    with pytest.raises(Refused):
        authenticate(intel.quote(), intel.collateral(), AT)


@pytest.mark.parametrize("days", [-2, 21])
def test_collateral_before_and_after_its_time_is_refused(intel, days):
    text = intel.collateral()
    assert refusal(lambda: authenticate(intel.quote(), text, AT + timedelta(days=days))) == "validity"


@pytest.mark.parametrize("name", ["tcb", "qe"])
def test_each_of_the_two_texts_has_its_own_end(intel, name):
    ended = {"nextUpdate": f"{AT - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"}
    assert refusal(lambda: authenticate(intel.quote(), intel.collateral(**{name: ended}), AT)) == "validity"


def test_collateral_of_another_model_is_refused(intel):
    text = intel.collateral(tcb={"fmspc": "50806F000000"})
    assert refusal(lambda: authenticate(intel.quote(), text, AT)) == "fmspc"


@pytest.mark.parametrize(
    "fields", [{"tcb": {"id": "SGX"}}, {"qe": {"id": "QE"}}, {"qe": {"mrsigner": "00" * 32}}, {"qe": {"isvprodid": 1}}]
)
def test_collateral_of_another_technology_or_enclave_is_refused(intel, fields):
    with pytest.raises(Refused):
        authenticate(intel.quote(), intel.collateral(**fields), AT)


def test_a_pck_chain_in_the_collateral_is_refused_though_dcap_qvl_would_take_it(intel):
    chain = "".join(c.public_bytes(Encoding.PEM).decode() for c in (intel.pck, intel.ca, intel.root))
    text = changed(intel.collateral(), pck_certificate_chain=chain)
    assert refusal(lambda: authenticate(intel.quote(), text, AT)) == "format"


@pytest.mark.parametrize("field", ["status", "ppid", "fmspc", "tee_type", "quote_version", "report"])
def test_a_disagreement_of_the_two_verifiers_is_refused(intel, monkeypatch, field):
    judge = collateral.judge

    def other(*arguments):
        found = judge(*arguments)
        wrong = {"status": "UpToDate", "ppid": bytes(16), "fmspc": bytes(6), "tee_type": 0, "quote_version": 5}
        report = {**found.report, "rt_mr1": "00" * 48}
        return replace(found, **{field: {**wrong, "report": report}[field]})

    monkeypatch.setattr(authentic, "judge", other)
    if field == "status":  # the one field that only dcap-qvl knows
        assert authenticate(intel.quote(), intel.collateral(), AT)
    else:
        assert refusal(lambda: authenticate(intel.quote(), intel.collateral(), AT)) == "disagreement"


@pytest.mark.parametrize("missing", ["tdattributes", "rtmr3", "report_data"])
def test_a_field_that_dcap_qvl_does_not_report_is_a_disagreement(intel, monkeypatch, missing):
    names = {"tdattributes": "td_attributes", "rtmr3": "rt_mr3", "report_data": "report_data"}
    judge = collateral.judge

    def other(*arguments):
        found = judge(*arguments)
        report = {name: value for name, value in found.report.items() if name != names[missing]}
        return replace(found, report=report)

    monkeypatch.setattr(authentic, "judge", other)
    assert refusal(lambda: authenticate(intel.quote(), intel.collateral(), AT)) == "disagreement"


def test_a_refusal_never_repeats_what_dcap_qvl_quotes_of_the_evidence(intel):
    text = intel.collateral(qe={"id": "<script>\x1b[2J"})
    with pytest.raises(Refused) as refused:
        authenticate(intel.quote(), text, AT)
    assert "script" not in str(refused.value)
    assert refused.value.__suppress_context__
    assert "\x1b" not in str(refused.value)


def test_issue_dates_without_a_zone_or_nonsense_are_refused(intel):
    for date in ("2026-05-31T00:00:00", "yesterday", 5, None):
        with pytest.raises(Refused):
            authenticate(intel.quote(), intel.collateral(tcb={"issueDate": date}), AT)


@pytest.mark.parametrize("claims", ["[]", "{}", "nonsense", '{"report": {"TD10": {}}}', '{"report": 5}'])
def test_a_result_of_dcap_qvl_that_we_do_not_know_is_refused(intel, monkeypatch, claims):
    class Verifier:
        def __init__(self, _root):
            pass

        def verify_with_policy(self, *_):
            return self

        def to_json(self):
            return claims

    monkeypatch.setattr(collateral.dcap_qvl, "QuoteVerifier", Verifier)
    assert refusal(lambda: authenticate(intel.quote(), intel.collateral(), AT)) == "collateral"


def test_two_statuses_of_one_quote_are_refused(intel, monkeypatch):
    genuine = collateral.dcap_qvl.verify_with_root_ca(
        intel.quote(),
        collateral.read_collateral(intel.collateral(status="OutOfDate")),
        intel.root.public_bytes(Encoding.DER),
        int(AT.timestamp()),
    )
    monkeypatch.setattr(collateral.dcap_qvl, "verify_with_root_ca", lambda *_: genuine)
    assert refusal(lambda: authenticate(intel.quote(), intel.collateral(), AT)) == "collateral"
