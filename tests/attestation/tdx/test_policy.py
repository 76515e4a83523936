"""The table [tdx] of a policy: forgetting refuses, and a hazard has a name."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

import vesica_attestation.tdx
from support.tdx import UP_TO_DATE_AT, real
from vesica_attestation._table import Table
from vesica_attestation.errors import PolicyInvalid
from vesica_attestation.tdx import TdxPolicy, read_policy
from vesica_attestation.tdx.appraise import appraise
from vesica_attestation.tdx.authentic import authenticate

DIGEST = "ab" * 48
LEAST = {
    "launch_digests": [DIGEST],
    "rtmr0": [DIGEST],
    "rtmr1": [DIGEST],
    "rtmr2": [DIGEST],
    "tcb_statuses": ["UpToDate"],
    "minimum_tcb_evaluation_number": 17,
    "collateral_age_days_max": 30,
}
ZERO = frozenset({bytes(48)})


def read(*without, **fields):
    """A policy from the least table, without some fields and with others."""
    left = {name: value for name, value in LEAST.items() if name not in without}
    return read_policy(Table("tdx", {**left, **fields}))


def refused_at(*without, **fields):
    """The place at which a policy is refused."""
    with pytest.raises(PolicyInvalid) as invalid:
        read(*without, **fields)
    return invalid.value.place


@pytest.mark.parametrize("name", sorted(LEAST))
def test_each_of_the_least_fields_is_needed(name):
    assert refused_at(name) == f"tdx.{name}"


def test_what_is_left_out_of_the_registers_must_be_zero():
    policy = read()
    assert policy.rtmr3 == policy.mrconfigid == policy.mrowner == policy.mrownerconfig == ZERO
    assert (policy.mrseam, policy.fmspcs, policy.ppids, policy.dstack_compose_hashes) == (None, None, None, None)
    assert policy.advisory_ids == policy.td_attributes == frozenset()


def test_a_kernel_that_need_not_be_known_needs_a_flag_that_says_so():
    assert refused_at("rtmr1", "rtmr2") == "tdx.rtmr1"
    assert refused_at("rtmr1", "rtmr2", rtmr3=[DIGEST], mrconfigid=[DIGEST]) == "tdx.rtmr1"
    policy = read("rtmr1", "rtmr2", allow_unmeasured_kernel=True)
    assert (policy.rtmr1, policy.rtmr2) == (None, None)
    assert refused_at("rtmr0", "rtmr1", "rtmr2", allow_unmeasured_kernel=True) == "tdx.rtmr0"


def test_tables_of_the_host_that_need_not_be_known_need_another():
    assert read("rtmr0", allow_unmeasured_acpi=True).rtmr0 is None
    assert refused_at("rtmr0", "rtmr1", allow_unmeasured_acpi=True) == "tdx.rtmr1"


def test_a_register_that_is_given_counts_in_spite_of_the_flag():
    policy = read(allow_unmeasured_kernel=True, allow_unmeasured_acpi=True)
    assert policy.rtmr0 == policy.rtmr1 == policy.rtmr2 == frozenset({bytes.fromhex(DIGEST)})


@pytest.mark.parametrize("status", ["Revoked", "TDRelaunchAdvised", "uptodate", "OK", ""])
def test_a_status_outside_the_closed_set_is_refused(status):
    assert refused_at("tcb_statuses", tcb_statuses=["UpToDate", status]) == "tdx.tcb_statuses"


@pytest.mark.parametrize("name", ["DEBUG", "MIGRATABLE", "SEPT_VE_DISABLE", "pks", "TPA"])
def test_an_attribute_that_nobody_may_allow_is_refused(name):
    assert refused_at(td_attributes=[name]) == "tdx.td_attributes"


@pytest.mark.parametrize(
    "field",
    ["launch_digests", "rtmr0", "rtmr3", "mrconfigid", "mrowner", "mrownerconfig", "mrseam", "fmspcs", "ppids",
     "dstack_compose_hashes", "advisory_ids", "td_attributes", "tcb_statuses"],
)  # fmt: skip
def test_an_empty_list_and_a_value_of_another_length_are_refused(field):
    assert refused_at(field, **{field: []}) == f"tdx.{field}"
    if field != "advisory_ids":
        assert refused_at(field, **{field: ["abcd"]}) == f"tdx.{field}"


@pytest.mark.parametrize("days", [0, 367, "30", True, 1.5])
def test_an_age_outside_a_year_is_refused(days):
    assert refused_at("collateral_age_days_max", collateral_age_days_max=days) == "tdx.collateral_age_days_max"


@pytest.mark.parametrize("field", ["allow_insecure_debug", "rtmr4", "launch_digest", "allow_unmeasured_kernal"])
def test_a_field_that_is_not_of_a_policy_is_refused(field):
    assert refused_at(**{field: True}) == f"tdx.{field}"


def test_dstack_takes_the_place_of_rtmr3_and_needs_the_kernel():
    policy = read(dstack_compose_hashes=["cd" * 32])
    assert policy.dstack_compose_hashes == frozenset({bytes.fromhex("cd" * 32)})
    assert policy.mrconfigid is None
    assert refused_at(dstack_compose_hashes=["cd" * 32], rtmr3=[DIGEST]) == "tdx.rtmr3"
    place = refused_at("rtmr1", dstack_compose_hashes=["cd" * 32], allow_unmeasured_kernel=True)
    assert place == "tdx.allow_unmeasured_kernel"


def test_the_policy_in_the_readme_is_one_that_accepts_the_real_quote():
    readme = Path(vesica_attestation.tdx.__file__).with_name("README.md").read_text("utf-8")
    example = re.search(r"```toml\n(.*?)```", readme, re.DOTALL)
    policy = read_policy(Table("tdx", tomllib.loads(example[1])["tdx"]))
    claims = authenticate(
        real("tdx", "v4-uptodate", "quote.bin"), real("tdx", "v4-uptodate", "collateral.json"), UP_TO_DATE_AT
    )
    assert appraise(claims, policy, claims.report.report_data, UP_TO_DATE_AT).claims["tcb_status"] == "UpToDate"


def test_the_readme_names_every_field_of_a_policy():
    readme = Path(vesica_attestation.tdx.__file__).with_name("README.md").read_text("utf-8")
    for field in fields(TdxPolicy):
        assert f"{field.name}" in readme
