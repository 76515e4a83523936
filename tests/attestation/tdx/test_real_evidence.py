"""Every TDX file of the evidence collection, at the time at which it must verify or be refused, and today."""

import json
from datetime import UTC, datetime

import pytest

from support.tdx import TODAY, UP_TO_DATE_AT, evidence, policy_for, real, refusal
from vesica_attestation import tdx
from vesica_attestation.tdx.appraise import appraise
from vesica_attestation.tdx.authentic import authenticate, check_signatures

AT_2023 = datetime(2023, 7, 1, 1, tzinfo=UTC)
AT_2026 = datetime(2026, 3, 1, tzinfo=UTC)
QUOTE = real("tdx", "v4-uptodate", "quote.bin")
COLLATERAL = real("tdx", "v4-uptodate", "collateral.json")
REPORT_DATA = bytes.fromhex(
    "9a9d48e7f6799642d3d1b34e1e5e1742d4bb02dd6ddd551862c1211d35c304f9"
    "eca3efdbb481601c163cf52493d6e44aed55d51ec39b7e518fadb92c2b523f20"
)


def verify(quote, collateral, at, report_data=REPORT_DATA, **changes):
    """The kind's verify, with a policy that accepts the up-to-date file."""
    policy = policy_for(check_signatures(QUOTE, UP_TO_DATE_AT).quote.report, **changes)
    return tdx.verify(evidence(quote, collateral), report_data, policy, at)


def test_an_up_to_date_quote_verifies_with_every_claim_that_it_makes():
    proved = verify(QUOTE, COLLATERAL, UP_TO_DATE_AT)
    assert proved.claims["launch_digest"].startswith("91eb2b44")
    assert proved.claims["launch_digest"].endswith("3118b7")
    assert proved.claims["report_data"] == REPORT_DATA.hex()
    assert proved.claims["tdattributes"] == "0000001000000000"
    assert proved.claims["tee_tcb_svn"].startswith("060103")
    assert proved.claims["fmspc"] == "b0c06f000000"
    assert proved.claims["ppid"] == "811dca2a26b952e85bb6448b097ba4fd"
    assert proved.claims["rtmr3"] == "00" * 48
    assert (proved.claims["tcb_status"], proved.claims["advisory_ids"]) == ("UpToDate", [])
    assert proved.claims["tcb_evaluation_number"] == 17
    assert proved.claims["collateral_issued_at"] == "2025-06-19T10:16:03+00:00"
    assert proved.claims["quote_version"] == 4
    json.dumps(dict(proved.claims))


def test_what_the_policy_compared_is_pinned_and_the_rest_is_not():
    proved = verify(QUOTE, COLLATERAL, UP_TO_DATE_AT)
    assert proved.pinned == {
        "launch_digest", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig", "report_data",
        "tdattributes", "tcb_status", "advisory_ids", "tcb_evaluation_number", "collateral_issued_at",
    }  # fmt: skip
    assert proved.pinned < set(proved.claims)


@pytest.mark.parametrize(
    ("quote", "collateral", "at", "check"),
    [
        ("tdx/v4-uptodate", "tdx/v4-uptodate", TODAY, "validity"),
        ("tdx/v4-uptodate", "tdx/v4-uptodate", datetime(2025, 7, 20, tzinfo=UTC), "validity"),
        ("tdx/v4-uptodate", "tdx/v4-uptodate", datetime(2025, 6, 18, tzinfo=UTC), "validity"),
        ("tdx/v5-no-tcb-level", "tdx/v5-no-tcb-level", AT_2026, "tcb"),
        ("tdx/v5-no-tcb-level", "tdx/v5-no-tcb-level", TODAY, "validity"),
        ("tdx/v4-debug-td", "tdx/v4-debug-td", AT_2023, "debug"),
        ("tdx/v4-debug-td", "tdx/v4-debug-td", TODAY, "debug"),
        ("tdx/v4-trailing-bytes", "tdx/v4-debug-td", AT_2023, "trailing-bytes"),
        ("tdx/sgx-not-tdx", "tdx/sgx-not-tdx", UP_TO_DATE_AT, "tee-type"),
        ("tdx/forged/own-root.bin", "tdx/v4-uptodate", UP_TO_DATE_AT, "root"),
        ("tdx/forged/ak-substitution.bin", "tdx/v4-uptodate", UP_TO_DATE_AT, "attestation-key"),
        ("tdx/v4-gcp-padded-8000", "tdx/v4-uptodate", UP_TO_DATE_AT, "fmspc"),
        ("dstack/tdx-2026", "tdx/v5-no-tcb-level", datetime(2026, 3, 5, tzinfo=UTC), "validity"),
    ],
)
def test_every_other_file_is_refused_for_its_reason(quote, collateral, at, check):
    name = quote if quote.endswith(".bin") else f"{quote}/quote.bin"
    assert refusal(lambda: verify(real(name), real(collateral, "collateral.json"), at)) == check


@pytest.mark.parametrize(
    ("path", "at", "mrtd", "report_data"),
    [
        ("tdx/v4-uptodate", UP_TO_DATE_AT, "91eb2b44", "9a9d48e7"),
        ("tdx/v4-uptodate", TODAY, "91eb2b44", "9a9d48e7"),
        ("tdx/v5-no-tcb-level", AT_2026, "273828c4", "d2142b64"),
        ("tdx/v4-debug-td", AT_2023, "705ee938", ""),
        ("tdx/v4-gcp-padded-8000", TODAY, "", "00" * 64),
        ("dstack/tdx-2026", TODAY, "", b"dip1::secp256k1c-pk:".hex()),
    ],
)
def test_the_signatures_of_every_genuine_quote_hold_up_to_the_intel_root(path, at, mrtd, report_data):
    report = check_signatures(real(path, "quote.bin"), at).quote.report
    assert report.mrtd.hex().startswith(mrtd)
    assert report.report_data.hex().startswith(report_data)


def test_the_signatures_of_the_quote_with_trailing_bytes_hold_without_them():
    check_signatures(real("tdx", "v4-trailing-bytes", "quote.bin")[:-39], AT_2023)


def test_version_5_is_read_with_both_security_versions_and_no_service_td():
    signed = check_signatures(real("tdx", "v5-no-tcb-level", "quote.bin"), AT_2026)
    assert signed.quote.version == 5
    assert signed.quote.report.tee_tcb_svn2 is not None
    assert signed.quote.report.tee_tcb_svn2.hex().startswith("0d0103")
    assert signed.quote.report.mrservicetd == bytes(48)


@pytest.mark.parametrize("at", [datetime(2033, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)])
def test_signatures_are_refused_outside_the_life_of_the_chain(at):
    assert refusal(lambda: check_signatures(QUOTE, at)) == "validity"


@pytest.mark.parametrize("other", [bytes(64), REPORT_DATA[:-1] + b"!", REPORT_DATA[:32], b""])
def test_any_other_report_data_is_refused(other):
    assert refusal(lambda: verify(QUOTE, COLLATERAL, UP_TO_DATE_AT, other)) == "report-data"


def test_every_single_bit_of_the_report_data_counts():
    policy = policy_for(check_signatures(QUOTE, UP_TO_DATE_AT).quote.report)
    claims = authenticate(QUOTE, COLLATERAL, UP_TO_DATE_AT)
    for bit in range(512):
        other = (int.from_bytes(REPORT_DATA) ^ 1 << bit).to_bytes(64)
        assert refusal(lambda other=other: appraise(claims, policy, other, UP_TO_DATE_AT)) == "report-data"


def test_evidence_without_collateral_is_refused():
    assert refusal(lambda: verify(QUOTE, None, UP_TO_DATE_AT)) == "format"


def test_a_part_that_is_not_of_this_kind_is_refused():
    policy = policy_for(check_signatures(QUOTE, UP_TO_DATE_AT).quote.report)
    more = evidence(QUOTE, COLLATERAL)
    more = type(more)(more.kind, {**more.parts, "note": b"trust me"})
    assert refusal(lambda: tdx.verify(more, REPORT_DATA, policy, UP_TO_DATE_AT)) == "format"


def test_a_time_without_a_zone_is_a_bug():
    with pytest.raises(ValueError, match="zone"):
        check_signatures(QUOTE, datetime(2025, 6, 25))  # noqa: DTZ001 (that is the point)
