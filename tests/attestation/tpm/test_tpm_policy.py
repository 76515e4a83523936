"""Reading the [tpm] table of a policy: it must say that the host is trusted, and pin all of what booted."""

import itertools

import pytest

from vesica_attestation._table import Table
from vesica_attestation.errors import PolicyInvalid
from vesica_attestation.tpm import TpmPolicy, read_policy

ONE, ZERO = "11" * 32, "00" * 32
UNIFIED = {"4": [ONE], "11": [ONE], "12": [ZERO], "13": [ZERO]}
LOADED = {"4": [ONE], "8": [ZERO], "9": [ONE]}
LEAST = {"allow_trusted_hypervisor": True, "ca_certificate_digests": ["aa" * 32], "pcrs": UNIFIED}


def read(**changes) -> TpmPolicy:
    return read_policy(Table("tpm", {name: value for name, value in {**LEAST, **changes}.items() if value is not None}))


def invalid(place: str, **changes) -> str:
    with pytest.raises(PolicyInvalid) as caught:
        read(**changes)
    assert caught.value.place == place
    return caught.value.detail


def test_the_least_policy():
    policy = read()
    assert policy.ca_certificate_digests == {b"\xaa" * 32}
    assert policy.pcrs == {4: {b"\x11" * 32}, 11: {b"\x11" * 32}, 12: {bytes(32)}, 13: {bytes(32)}}
    assert policy.attestation_keys is None


@pytest.mark.parametrize("value", [None, False])
def test_a_policy_that_does_not_say_that_it_trusts_the_host_is_an_error_that_tells_what_that_means(value):
    told = invalid("tpm.allow_trusted_hypervisor", allow_trusted_hypervisor=value)
    assert "read its memory" in told
    assert "forge its evidence" in told


@pytest.mark.parametrize("value", ["true", 1, [True]])
def test_it_is_said_by_true_and_nothing_else(value):
    invalid("tpm.allow_trusted_hypervisor", allow_trusted_hypervisor=value)


@pytest.mark.parametrize("value", [None, [], ["aa" * 31], ["aa" * 20], "aa" * 32, [7], ["-----BEGIN CERTIFICATE-----"]])
def test_no_ca_is_an_error(value):
    invalid("tpm.ca_certificate_digests", ca_certificate_digests=value)


def test_whichever_pcrs_are_named_only_those_that_pin_all_of_what_booted_are_a_policy():
    every = {str(index): [ONE] for index in range(16)}
    whole = 0
    for names in itertools.chain.from_iterable(
        itertools.combinations(["4", "7", "8", "9", "11", "12", "13"], n) for n in range(8)
    ):
        pcrs = {name: every[name] for name in names}
        if set(names) >= set(UNIFIED) or set(names) >= set(LOADED):
            read(pcrs=pcrs)
            whole += 1
        else:
            invalid("tpm.pcrs", pcrs=pcrs)
    assert whole == 22


@pytest.mark.parametrize("pcrs", [UNIFIED, LOADED])
def test_without_pcr_4_nothing_is_pinned_and_the_error_says_why(pcrs):
    rest = {name: value for name, value in pcrs.items() if name != "4"}
    assert "any system can bring" in invalid("tpm.pcrs", pcrs=rest)


@pytest.mark.parametrize(("base", "name"), [(UNIFIED, "4"), (UNIFIED, "11"), (LOADED, "4"), (LOADED, "9")])
def test_all_zero_means_not_measured_where_something_always_is(base, name):
    assert "not measured" in invalid("tpm.pcrs", pcrs={**base, name: [ONE, ZERO]})


@pytest.mark.parametrize("index", ["16", "17", "22", "23", "24", "-1", "04", "4 ", "four", "\u0664"])
def test_pcrs_that_do_not_hold_and_names_that_are_none_are_errors(index):
    invalid(f"tpm.pcrs.{index}", pcrs={**UNIFIED, index: [ONE]})


@pytest.mark.parametrize("values", [["11" * 31], ["11" * 20], "11" * 32, [7], []])
def test_pcrs_are_32_bytes(values):
    invalid("tpm.pcrs.7", pcrs={**UNIFIED, "7": values})


def test_attestation_keys_are_names_of_sha256():
    assert read(attestation_keys=["000b" + ONE]).attestation_keys == {b"\0\x0b" + b"\x11" * 32}
    for wrong in ([], [ONE], ["000c" + ONE], ["000b" + ONE[2:]], "000b" + ONE):
        invalid("tpm.attestation_keys", attestation_keys=wrong)


@pytest.mark.parametrize(
    "name", ["allow_trusted_hypervisors", "ca_certificates", "pcr4", "attestation_key", "allow_insecure_debug"]
)
def test_a_misspelt_or_misplaced_field_is_an_error(name):
    invalid(f"tpm.{name}", **{name: True})
