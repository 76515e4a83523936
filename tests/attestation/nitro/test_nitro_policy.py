"""The policy decides: what it does not name is refused, what it misspells is an error."""

from dataclasses import replace
from datetime import timedelta

import pytest

from support import nitro_documents as make
from support.nitro_documents import MADE_AT
from vesica_attestation import nitro
from vesica_attestation._table import Table
from vesica_attestation.errors import PolicyInvalid, Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.nitro import NitroPolicy, read_policy
from vesica_attestation.nitro.policy import AGE_SECONDS_MAX

REPORT_DATA = bytes(range(64))
POLICY = NitroPolicy(frozenset({make.PCR0}), max_age_seconds=300)
ZERO = bytes(48)
TABLE = {"launch_digests": ["a0" * 48], "max_age_seconds": 300}


def appraise(aws, policy=POLICY, at=MADE_AT, report_data=REPORT_DATA, **changes):
    return nitro.verify(Evidence(Kind.NITRO, {"document": aws.document(**changes)}), report_data, policy, at)


def refusal(*arguments, **changes) -> str:
    with pytest.raises(Refused) as caught:
        appraise(*arguments, **changes)
    return caught.value.check


def pcrs(**changes) -> dict[int, bytes]:
    return {0: make.PCR0, 1: b"\1" * 48, 2: b"\2" * 48, 3: b"\3" * 48, 4: b"\4" * 48, 8: b"\x08" * 48} | {
        int(name[3:]): value for name, value in changes.items()
    }


def test_user_data_of_64_bytes_that_is_report_data_is_accepted(aws):
    assert appraise(aws).claims["launch_digest"] == make.PCR0.hex()


@pytest.mark.parametrize("where", ["nonce", "public_key"])
def test_report_data_in_another_field_is_refused(aws, where):
    assert refusal(aws, user_data=None, **{where: REPORT_DATA}) == "report-data"
    assert refusal(aws, user_data=b"", **{where: REPORT_DATA}) == "report-data"
    assert refusal(aws, user_data=bytes(64), **{where: REPORT_DATA}) == "report-data"


def test_absent_user_data_is_refused_even_where_nothing_is_expected(aws):
    assert refusal(aws, user_data=None, report_data=b"") == "report-data"


def test_user_data_that_only_starts_with_report_data_is_refused(aws):
    assert refusal(aws, user_data=REPORT_DATA + b"\0") == "report-data"
    assert refusal(aws, user_data=REPORT_DATA[:63]) == "report-data"


def test_nonce_and_public_key_may_be_anything(aws):
    proved = appraise(aws, nonce=b"n", public_key=b"k")
    assert (proved.claims["nonce"], proved.claims["public_key"]) == ("6e", "6b")
    assert "nonce" not in proved.pinned


def test_an_empty_set_of_launch_digests_refuses(aws):
    assert refusal(aws, replace(POLICY, launch_digests=frozenset())) == "launch-digest"


def test_another_image_is_refused(aws):
    assert refusal(aws, replace(POLICY, launch_digests=frozenset({b"\1" * 48}))) == "launch-digest"


@pytest.mark.parametrize("index", [1, 2, 3, 4, 8])
def test_pcr_that_the_policy_pins_must_be_listed(aws, index):
    right = {f"pcr{index}": frozenset({bytes([index]) * 48, b"\x77" * 48})}
    assert appraise(aws, replace(POLICY, **right), pcrs=pcrs()).pinned == {"launch_digest", f"pcr{index}"}
    for wrong in (frozenset({make.PCR0}), frozenset(), frozenset({ZERO})):
        assert refusal(aws, replace(POLICY, **{f"pcr{index}": wrong}), pcrs=pcrs()) == "pcr"


@pytest.mark.parametrize("index", [3, 4, 8])
def test_pinned_pcr_that_was_not_measured_is_refused_even_if_zero_is_listed(aws, index):
    policy = replace(POLICY, **{f"pcr{index}": frozenset({ZERO})})
    assert refusal(aws, policy, pcrs=pcrs(**{f"pcr{index}": ZERO})) == "pcr"
    absent = {name: value for name, value in pcrs().items() if name != index}
    assert refusal(aws, policy, pcrs=absent) == "pcr"


@pytest.mark.parametrize("zero", [("pcr0",), ("pcr1",), ("pcr2",), ("pcr0", "pcr1"), ("pcr0", "pcr1", "pcr2")])
def test_any_zero_among_the_image_pcrs_is_debug_and_refused(aws, zero):
    policy = replace(POLICY, launch_digests=frozenset({make.PCR0, ZERO}))
    assert refusal(aws, policy, pcrs=pcrs(**dict.fromkeys(zero, ZERO))) == "debug"


def test_allowed_debug_still_compares_what_is_measured(aws):
    zero = dict.fromkeys(("pcr0", "pcr1", "pcr2"), ZERO)
    policy = replace(POLICY, allow_insecure_debug=True, pcr4=frozenset({b"\4" * 48}))
    proved = appraise(aws, policy, pcrs=pcrs(**zero))
    assert proved.pinned == {"pcr4"}
    assert proved.claims["warning"].startswith("INSECURE")
    assert refusal(aws, policy, pcrs=pcrs(**zero, pcr4=b"\5" * 48)) == "pcr"


def test_allowing_debug_does_not_open_the_door_to_other_images(aws):
    policy = replace(POLICY, allow_insecure_debug=True, launch_digests=frozenset({b"\1" * 48}))
    assert refusal(aws, policy) == "launch-digest"


def test_document_is_accepted_up_to_its_age_limit_and_refused_after(aws):
    limit = MADE_AT + timedelta(seconds=300)
    assert appraise(aws, at=limit)
    assert refusal(aws, at=limit + timedelta(milliseconds=1)) == "age"


def test_document_from_the_future_is_refused_but_a_minute_of_skew_is_forgiven(aws):
    assert appraise(aws, at=MADE_AT - timedelta(seconds=60))
    assert refusal(aws, at=MADE_AT - timedelta(seconds=60, milliseconds=1)) == "timestamp"


def test_policy_is_read():
    policy = read_policy(Table("nitro", TABLE | {"pcr8": ["b1" * 48, "B2" * 48], "allow_insecure_debug": True}))
    assert policy == NitroPolicy(
        frozenset({bytes([0xA0]) * 48}),
        300,
        pcr8=frozenset({bytes([0xB1]) * 48, bytes([0xB2]) * 48}),
        allow_insecure_debug=True,
    )


@pytest.mark.parametrize("name", TABLE)
def test_policy_without_a_required_field_is_invalid(name):
    with pytest.raises(PolicyInvalid, match=name):
        read_policy(Table("nitro", {other: value for other, value in TABLE.items() if other != name}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("launch_digests", []),
        ("launch_digests", ["00" * 48]),
        ("launch_digests", ["a0" * 48, "00" * 48]),
        ("launch_digests", ["a0" * 32]),
        ("launch_digests", "a0" * 48),
        ("pcr4", []),
        ("pcr4", ["00" * 48]),
        ("pcr0", ["a0" * 48]),
        ("pcr7", ["a0" * 48]),
        ("max_age_seconds", 0),
        ("max_age_seconds", True),
        ("max_age_seconds", AGE_SECONDS_MAX + 1),
        ("allow_insecure_debug", "false"),
        ("allow_debug", True),
    ],
)
def test_policy_that_says_something_else_is_invalid(name, value):
    with pytest.raises(PolicyInvalid, match=f"nitro.{name}"):
        read_policy(Table("nitro", TABLE | {name: value}))
