"""What evidence commits to: every field, in a form that no other fields have."""

import hashlib
import itertools
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesica_attestation.binding import Binding

FIELDS = [field.name for field in fields(Binding)]
VALUES = st.binary(min_size=32, max_size=32)
BINDINGS = st.builds(Binding, VALUES, VALUES, VALUES, VALUES, VALUES)
ONE = Binding(bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32, bytes([4]) * 32, bytes([5]) * 32)
# By sha512sum(1), not by the code that it is for.
GOLDEN = (
    "9e4fb7e4ed7dbe0713a0b9610ed8a79d18d5232d569314ad97203be00ede0303"
    "c61edb759c62aec581fc80d30dee4acd8ab5eb096ffb2ac6af59f23c6b992260"
)


def test_report_data_is_pinned_for_ever():
    """A room and a verifier of different releases must agree: whoever changes this must change the domain tag too."""
    assert ONE.report_data().hex() == GOLDEN


def test_report_data_is_sha512_over_the_tag_and_length_framed_fields_in_order():
    framed = b"\0\0\0\0\0\0\0\x11vesica-binding-v1"
    for number in range(1, 6):
        framed += b"\0\0\0\0\0\0\0\x20" + bytes([number]) * 32
    assert ONE.report_data() == hashlib.sha512(framed).digest()


def test_there_are_five_fields_and_these():
    assert FIELDS == ["nonce", "tls_spki_sha256", "hpke_public_key", "receipt_public_key", "agreement_digest"]


@given(BINDINGS)
def test_report_data_is_64_bytes_and_the_same_each_time(binding):
    assert len(binding.report_data()) == 64
    assert binding.report_data() == replace(binding).report_data()


@pytest.mark.parametrize("name", FIELDS)
@given(BINDINGS, VALUES)
def test_every_single_field_changes_the_report_data(name, binding, value):
    changed = replace(binding, **{name: value})
    assert (changed.report_data() == binding.report_data()) == (value == getattr(binding, name))


@pytest.mark.parametrize("name", FIELDS)
def test_every_single_bit_of_every_field_changes_the_report_data(name):
    seen = {ONE.report_data()}
    for bit in range(256):
        value = bytearray(getattr(ONE, name))
        value[bit // 8] ^= 1 << bit % 8
        seen.add(replace(ONE, **{name: bytes(value)}).report_data())
    assert len(seen) == 257


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(FIELDS, 2)))
def test_two_fields_cannot_change_places(first, second):
    swapped = replace(ONE, **{first: getattr(ONE, second), second: getattr(ONE, first)})
    assert swapped.report_data() != ONE.report_data()


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_field_of_another_length_is_a_bug_that_names_the_field(name, size):
    with pytest.raises(ValueError, match=f"{name} is not 32 bytes"):
        replace(ONE, **{name: bytes(size)})


@pytest.mark.parametrize("name", FIELDS)
def test_a_binding_cannot_be_changed_after_it_was_made(name):
    with pytest.raises(FrozenInstanceError):
        setattr(ONE, name, bytes(32))
