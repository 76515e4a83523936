"""Reading the [sev_snp] table of a policy: nothing has a default, and nothing is passed over."""

import pytest

from vesica_attestation._table import Table
from vesica_attestation.errors import PolicyInvalid
from vesica_attestation.sev_snp import SevSnpPolicy, read_policy
from vesica_attestation.sev_snp.abi import Product, Tcb

TCB = {"bootloader": 4, "tee": 0, "snp": 24, "microcode": 219}
LEAST = {"launch_digests": ["aa" * 48], "minimum_tcb": {"milan": TCB}, "vmpl": [0]}
FLAGS = ("allow_vlek", "allow_insecure_debug", "allow_migration_agent", "allow_smt", "require_alias_check")
PINS = {"chip_ids": 64, "host_data": 32, "id_key_digests": 48, "author_key_digests": 48}


def read(**changes) -> SevSnpPolicy:
    return read_policy(Table("sev_snp", {**LEAST, **changes}))


def invalid(place: str, fields: dict) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        read_policy(Table("sev_snp", fields))
    assert caught.value.place == place


def test_the_least_policy_allows_nothing_and_pins_nothing() -> None:
    policy = read()
    assert policy.launch_digests == {b"\xaa" * 48}
    assert policy.minimum_tcb == {Product.MILAN: Tcb(4, 0, 24, 219)}
    assert policy.vmpl == {0}
    assert not any(getattr(policy, flag) for flag in FLAGS)
    assert all(getattr(policy, name) is None for name in (*PINS, "csp_ids") if name != "host_data")
    assert policy.host_data == {bytes(32)}


@pytest.mark.parametrize("name", LEAST)
def test_what_must_be_said_must_be_said(name: str) -> None:
    invalid(f"sev_snp.{name}", {key: value for key, value in LEAST.items() if key != name})


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_sets_itself_and_no_other(flag: str) -> None:
    policy = read(**{flag: True})
    assert [name for name in FLAGS if getattr(policy, name)] == [flag]
    invalid(f"sev_snp.{flag}", {**LEAST, flag: 1})


@pytest.mark.parametrize(("name", "size"), PINS.items())
def test_each_pin_is_read_in_its_own_size(name: str, size: int) -> None:
    assert getattr(read(**{name: ["07" * size]}), name) == {b"\x07" * size}
    for wrong in ([], ["07" * (size - 1)], ["07" * (size + 1)], "07" * size, ["0x" + "07" * (size - 1)]):
        invalid(f"sev_snp.{name}", {**LEAST, name: wrong})


@pytest.mark.parametrize("name", ["chip_ids", "id_key_digests", "author_key_digests"])
def test_zeros_pin_nothing_and_are_an_error(name: str) -> None:
    invalid(f"sev_snp.{name}", {**LEAST, name: ["07" * PINS[name], "00" * PINS[name]]})


def test_host_data_may_be_pinned_to_zeros() -> None:
    assert read(host_data=["00" * 32]).host_data == {bytes(32)}


def test_providers_are_pinned_by_name() -> None:
    assert read(csp_ids=["CN=cc-us-east-2.amazonaws.com"]).csp_ids == {"CN=cc-us-east-2.amazonaws.com"}
    invalid("sev_snp.csp_ids", {**LEAST, "csp_ids": []})


@pytest.mark.parametrize("vmpl", [[], [4], [-1], [True], 0, ["0"]])
def test_privilege_levels_are_0_to_3(vmpl) -> None:
    invalid("sev_snp.vmpl", {**LEAST, "vmpl": vmpl})


@pytest.mark.parametrize("digests", [[], ["aa" * 47], ["aa" * 32], [1], "aa" * 48])
def test_launch_digests_are_48_bytes(digests) -> None:
    invalid("sev_snp.launch_digests", {**LEAST, "launch_digests": digests})


def test_a_floor_names_every_component_and_only_turin_has_an_fmc() -> None:
    for part in TCB:
        partial = {name: value for name, value in TCB.items() if name != part}
        invalid(f"sev_snp.minimum_tcb.genoa.{part}", {**LEAST, "minimum_tcb": {"genoa": partial}})
    invalid("sev_snp.minimum_tcb.turin.fmc", {**LEAST, "minimum_tcb": {"turin": TCB}})
    invalid("sev_snp.minimum_tcb.milan.fmc", {**LEAST, "minimum_tcb": {"milan": {**TCB, "fmc": 0}}})
    assert read(minimum_tcb={"turin": {**TCB, "fmc": 1}}).minimum_tcb[Product.TURIN].fmc == 1
    invalid("sev_snp.minimum_tcb.milan.snp", {**LEAST, "minimum_tcb": {"milan": {**TCB, "snp": 256}}})


def test_no_product_and_unknown_products_are_errors() -> None:
    invalid("sev_snp.minimum_tcb", {**LEAST, "minimum_tcb": {}})
    invalid("sev_snp.minimum_tcb.venice", {**LEAST, "minimum_tcb": {"venice": TCB}})
    invalid("sev_snp.minimum_tcb.Milan", {**LEAST, "minimum_tcb": {"Milan": TCB}})


@pytest.mark.parametrize("name", ["allow_debug", "launch_digest", "alow_smt", "minimum_abi"])
def test_a_misspelt_field_is_an_error(name: str) -> None:
    invalid(f"sev_snp.{name}", {**LEAST, name: True})
