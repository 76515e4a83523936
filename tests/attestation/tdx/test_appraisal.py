"""Claims against a policy: what it does not name is refused."""

from dataclasses import replace
from datetime import timedelta

import pytest

from support.fake_intel import AT, SEPT_VE_DISABLE, TEE_TCB_SVN, FakeIntel
from support.tdx import evidence, policy_for, refusal, trust
from vesica_attestation import tdx
from vesica_attestation.tdx.abi import parse_quote
from vesica_attestation.tdx.appraise import appraise
from vesica_attestation.tdx.authentic import authenticate
from vesica_attestation.tdx.policy import TCB_STATUSES, TD_ATTRIBUTES

REPORT_DATA = b"\x33" * 64


@pytest.fixture
def intel(monkeypatch):
    """A fake Intel that the verifier trusts."""
    made = FakeIntel()
    trust(monkeypatch, made)
    return made


@pytest.fixture
def claims(intel):
    """Claims of an ordinary quote under it."""
    return authenticate(intel.quote(), intel.collateral(), AT)


def bits(*numbers):
    """TDATTRIBUTES with these bits."""
    return sum(1 << number for number in numbers).to_bytes(8, "little")


def test_an_ordinary_quote_is_accepted(claims):
    proved = appraise(claims, policy_for(claims.report), REPORT_DATA, AT)
    assert proved.claims["launch_digest"] == "11" * 48


@pytest.mark.parametrize(
    ("field", "check"),
    [
        ("launch_digests", "launch-digest"),
        ("rtmr0", "rtmr0"),
        ("rtmr1", "rtmr1"),
        ("rtmr2", "rtmr2"),
        ("rtmr3", "rtmr3"),
        ("mrconfigid", "mrconfigid"),
        ("mrowner", "mrowner"),
        ("mrownerconfig", "mrownerconfig"),
        ("mrseam", "mrseam"),
        ("fmspcs", "fmspc"),
        ("ppids", "ppid"),
        ("tcb_statuses", "tcb"),
    ],
)
def test_an_empty_set_and_another_value_refuse(claims, field, check):
    for wrong in (frozenset(), frozenset({b"another"})):
        policy = policy_for(claims.report, **{field: wrong})
        assert refusal(lambda policy=policy: appraise(claims, policy, REPORT_DATA, AT)) == check


@pytest.mark.parametrize("register", ["rtmr3", "mrconfigid", "mrowner", "mrownerconfig"])
def test_what_host_or_guest_put_into_a_register_that_the_policy_leaves_out_is_refused(intel, register):
    claims = authenticate(intel.quote(**{register: b"\1" + bytes(47)}), intel.collateral(), AT)
    policy = policy_for(claims.report, rtmr3=frozenset({bytes(48)}))
    assert refusal(lambda: appraise(claims, policy, REPORT_DATA, AT)) == register
    named = replace(policy, **{register: frozenset({b"\1" + bytes(47)})})
    assert register in appraise(claims, named, REPORT_DATA, AT).pinned


def test_a_register_that_the_policy_says_need_not_be_known_is_proved_but_not_pinned(claims):
    policy = policy_for(claims.report, rtmr0=None, rtmr1=None, rtmr2=None)
    proved = appraise(claims, policy, REPORT_DATA, AT)
    assert proved.claims["rtmr1"] == "21" * 48
    assert not {"rtmr0", "rtmr1", "rtmr2"} & proved.pinned


def test_machine_pins_are_compared_and_pinned(claims):
    own = {"ppids": frozenset({claims.ppid}), "fmspcs": frozenset({claims.fmspc}), "mrseam": frozenset({bytes(48)})}
    assert {"ppid", "fmspc", "mrseam"} <= appraise(claims, policy_for(claims.report, **own), REPORT_DATA, AT).pinned


@pytest.mark.parametrize("bit", range(8))
def test_a_td_under_debug_is_refused_by_authentication_and_by_appraisal(intel, claims, bit):
    quote = intel.quote(tdattributes=bits(28, bit))
    assert refusal(lambda: authenticate(quote, intel.collateral(), AT)) == "debug"
    debug = replace(claims, report=parse_quote(quote).report)
    assert refusal(lambda: appraise(debug, policy_for(debug.report), REPORT_DATA, AT)) == "debug"


def test_no_bit_of_the_attributes_is_accepted_unless_the_policy_names_it(intel, claims):
    named = {TD_ATTRIBUTES[name]: name for name in TD_ATTRIBUTES}
    for bit in set(range(64)) - {28}:
        report = parse_quote(intel.quote(tdattributes=bits(28, bit))).report
        set_one = replace(claims, report=report)
        everything = frozenset(TD_ATTRIBUTES) - {named.get(bit, "")}
        policy = policy_for(report, td_attributes=everything)
        check = refusal(lambda policy=policy, claims=set_one: appraise(claims, policy, REPORT_DATA, AT))
        assert check == ("debug" if bit < 8 else "migratable" if bit == 29 else "tdattributes")


@pytest.mark.parametrize("name", sorted(TD_ATTRIBUTES))
def test_an_attribute_that_the_policy_names_is_accepted(intel, name):
    claims = authenticate(intel.quote(tdattributes=bits(28, TD_ATTRIBUTES[name])), intel.collateral(), AT)
    policy = policy_for(claims.report, td_attributes=frozenset({name}))
    appraise(claims, policy, REPORT_DATA, AT)
    assert refusal(lambda: appraise(claims, policy_for(claims.report), REPORT_DATA, AT)) == "tdattributes"


def test_a_td_whose_host_may_inject_exceptions_is_refused(intel, claims):
    quote = intel.quote(tdattributes=bytes(8))
    assert refusal(lambda: authenticate(quote, intel.collateral(), AT)) == "tdattributes"
    without = replace(claims, report=parse_quote(quote).report)
    assert refusal(lambda: appraise(without, policy_for(without.report), REPORT_DATA, AT)) == "tdattributes"


def test_a_migratable_td_and_one_with_a_service_td_are_refused(intel, claims):
    served = intel.quote(version=5, mrservicetd=b"\1" * 48)
    assert refusal(lambda: authenticate(served, intel.collateral(), AT)) == "service-td"
    for quote in (intel.quote(tdattributes=bits(28, 29)), served):
        report = parse_quote(quote).report
        policy, changed = policy_for(report), replace(claims, report=report)
        assert refusal(lambda policy=policy, c=changed: appraise(c, policy, REPORT_DATA, AT)) == "migratable"


@pytest.mark.parametrize("field", ["mrsignerseam", "seamattributes"])
def test_a_tdx_module_that_is_not_intels_is_refused(intel, claims, field):
    quote = intel.quote(**{field: b"\1" * (48 if field == "mrsignerseam" else 8)})
    refusal(lambda: authenticate(quote, intel.collateral(), AT))
    report = parse_quote(quote).report
    other = replace(claims, report=report)
    assert refusal(lambda: appraise(other, policy_for(report), REPORT_DATA, AT)) == "seam"


@pytest.mark.parametrize("status", sorted(TCB_STATUSES))
def test_a_tcb_status_is_accepted_only_where_the_policy_lists_it(intel, status):
    claims = authenticate(intel.quote(), intel.collateral(status=status), AT)
    others = policy_for(claims.report, tcb_statuses=TCB_STATUSES - {status})
    assert refusal(lambda: appraise(claims, others, REPORT_DATA, AT)) == "tcb"
    listed = policy_for(claims.report, tcb_statuses=frozenset({status}))
    assert appraise(claims, listed, REPORT_DATA, AT).claims["tcb_status"] == status


@pytest.mark.parametrize("status", ["Revoked", "TDRelaunchAdvised", "Unknown"])
def test_a_status_outside_the_closed_set_is_refused_whatever_the_policy_says(intel, claims, status):
    refusal(lambda: authenticate(intel.quote(), intel.collateral(status=status), AT))
    policy = policy_for(claims.report, tcb_statuses=frozenset({status}))
    worse = replace(claims, tcb_status=status)
    assert refusal(lambda: appraise(worse, policy, REPORT_DATA, AT)) == "tcb"


def test_the_enclaves_own_status_counts_as_much_as_the_platforms(intel):
    level = {"tcb": {"isvsvn": 4}, "tcbDate": "2025-11-01T00:00:00Z", "tcbStatus": "OutOfDate"}
    claims = authenticate(intel.quote(), intel.collateral(qe={"tcbLevels": [level]}), AT)
    assert (claims.tcb_status, claims.platform_tcb_status, claims.qe_tcb_status) == (
        "OutOfDate",
        "UpToDate",
        "OutOfDate",
    )
    assert refusal(lambda: appraise(claims, policy_for(claims.report), REPORT_DATA, AT)) == "tcb"


@pytest.mark.parametrize("status", ["UpToDate", "SWHardeningNeeded"])
def test_an_advisory_that_the_policy_does_not_name_is_refused(intel, status):
    claims = authenticate(intel.quote(), intel.collateral(status=status, advisory_ids=("INTEL-SA-1", "INTEL-SA-2")), AT)
    policy = policy_for(claims.report, tcb_statuses=frozenset({status}), advisory_ids=frozenset({"INTEL-SA-1"}))
    assert refusal(lambda: appraise(claims, policy, REPORT_DATA, AT)) == "advisory"
    both = replace(policy, advisory_ids=frozenset({"INTEL-SA-1", "INTEL-SA-2", "INTEL-SA-3"}))
    assert appraise(claims, both, REPORT_DATA, AT).claims["advisory_ids"] == ["INTEL-SA-1", "INTEL-SA-2"]


def test_the_lower_of_two_evaluation_numbers_must_reach_the_minimum(intel):
    for collateral in (
        intel.collateral(evaluation_number=16),
        intel.collateral(tcb={"tcbEvaluationDataNumber": 16}),
        intel.collateral(qe={"tcbEvaluationDataNumber": 16}),
    ):
        claims = authenticate(intel.quote(), collateral, AT)
        policy = policy_for(claims.report, minimum_tcb_evaluation_number=17)
        assert refusal(lambda c=claims, p=policy: appraise(c, p, REPORT_DATA, AT)) == "tcb-evaluation"
        appraise(claims, replace(policy, minimum_tcb_evaluation_number=16), REPORT_DATA, AT)


def test_collateral_that_has_not_ended_is_still_refused_when_it_is_too_old_for_the_policy(intel):
    old = f"{AT - timedelta(days=8):%Y-%m-%dT%H:%M:%SZ}"
    for collateral in (intel.collateral(tcb={"issueDate": old}), intel.collateral(qe={"issueDate": old})):
        claims = authenticate(intel.quote(), collateral, AT)
        policy = policy_for(claims.report, collateral_age_days_max=7)
        assert refusal(lambda c=claims, p=policy: appraise(c, p, REPORT_DATA, AT)) == "collateral-age"
        appraise(claims, replace(policy, collateral_age_days_max=8), REPORT_DATA, AT)


@pytest.mark.parametrize("svn", [(4, 0, 2), (5, 0, 1), (3, 1, 3)])
def test_a_security_version_below_every_tcb_level_is_refused(intel, svn):
    quote = intel.quote(tee_tcb_svn=bytes(svn) + bytes(13))
    assert refusal(lambda: authenticate(quote, intel.collateral(), AT)) == "tcb"


def test_a_td_report_1_5_proves_both_security_versions(intel):
    claims = authenticate(intel.quote(version=5), intel.collateral(), AT)
    proved = appraise(claims, policy_for(claims.report), REPORT_DATA, AT)
    assert (proved.claims["quote_version"], proved.claims["tee_tcb_svn2"]) == (5, TEE_TCB_SVN.hex())


def test_the_kinds_verify_puts_all_of_it_together(intel):
    quote = intel.quote(tdattributes=SEPT_VE_DISABLE.to_bytes(8, "little"))
    policy = policy_for(parse_quote(quote).report)
    assert tdx.verify(evidence(quote, intel.collateral()), REPORT_DATA, policy, AT).claims["tcb_status"] == "UpToDate"
    assert refusal(lambda: tdx.verify(evidence(quote, intel.collateral()), bytes(64), policy, AT)) == "report-data"
