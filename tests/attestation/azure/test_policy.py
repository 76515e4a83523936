"""Reading the [azure] table of a policy."""

import pytest

from vesica_attestation._table import Table
from vesica_attestation.azure import AzurePolicy, read_policy
from vesica_attestation.errors import PolicyInvalid

SNP = {
    "launch_digests": ["aa" * 48],
    "minimum_tcb": {"milan": {"bootloader": 4, "tee": 0, "snp": 24, "microcode": 219}},
    "vmpl": [0],
}
TDX = {
    "launch_digests": ["bb" * 48],
    "tcb_statuses": ["UpToDate"],
    "minimum_tcb_evaluation_number": 20,
    "collateral_age_days_max": 30,
    "allow_unmeasured_kernel": True,
    "allow_unmeasured_acpi": True,
}
LEAST = {"pcrs": {"4": ["11" * 32]}, "sev_snp": SNP}


def read(fields: dict) -> AzurePolicy:
    return read_policy(Table("azure", fields))


def invalid(place: str, fields: dict) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        read(fields)
    assert caught.value.place == place


def test_the_least_policy_wants_a_fresh_hardware_report() -> None:
    policy = read(LEAST)
    assert policy.pcrs == {4: {b"\x11" * 32}}
    assert policy.sev_snp is not None
    assert policy.sev_snp.launch_digests == {b"\xaa" * 48}
    assert policy.tdx is None
    assert policy.allow_stale_hardware_report is False
    assert read({**LEAST, "allow_stale_hardware_report": True}).allow_stale_hardware_report is True


def test_the_hardwares_terms_are_read_by_their_own_kinds_and_named_in_full() -> None:
    assert read({"pcrs": LEAST["pcrs"], "tdx": TDX}).tdx is not None
    assert read({**LEAST, "tdx": TDX}).sev_snp is not None
    invalid("azure.sev_snp.vmpl", {**LEAST, "sev_snp": {key: value for key, value in SNP.items() if key != "vmpl"}})
    invalid("azure.tdx.tcb_statuses", {**LEAST, "tdx": {**TDX, "tcb_statuses": []}})
    invalid("azure.sev_snp.rtmr0", {**LEAST, "sev_snp": {**SNP, "rtmr0": []}})


def test_no_hardware_is_an_error() -> None:
    invalid("azure", {"pcrs": LEAST["pcrs"]})


def test_no_pcr_is_an_error_for_then_any_system_would_do() -> None:
    invalid("azure.pcrs", {**LEAST, "pcrs": {}})
    invalid("azure.pcrs", {"sev_snp": SNP})
    invalid("azure.pcrs.4", {**LEAST, "pcrs": {"4": []}})


@pytest.mark.parametrize("index", ["16", "17", "22", "23", "24", "-1", "04", "4 ", "four", "\u0664"])
def test_pcrs_that_do_not_hold_and_names_that_are_none_are_errors(index: str) -> None:
    invalid(f"azure.pcrs.{index}", {**LEAST, "pcrs": {"4": ["11" * 32], index: ["11" * 32]}})


@pytest.mark.parametrize("values", [["11" * 31], ["11" * 48], "11" * 32, [7]])
def test_pcrs_are_32_bytes(values) -> None:
    invalid("azure.pcrs.7", {**LEAST, "pcrs": {"7": values}})


@pytest.mark.parametrize("name", ["pcr", "allow_stale", "launch_digests", "allow_insecure_debug"])
def test_a_misspelt_or_misplaced_field_is_an_error(name: str) -> None:
    invalid(f"azure.{name}", {**LEAST, name: True})
