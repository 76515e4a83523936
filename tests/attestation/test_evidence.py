"""Evidence on the wire: one spelling, bounded, and nothing that was not asked for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesica_attestation import software
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import EVIDENCE_BYTES_MAX, Evidence, Kind, from_json

KINDS = st.sampled_from(list(Kind))
PARTS = st.dictionaries(
    st.text(max_size=20),
    st.binary(max_size=200) | st.lists(st.binary(max_size=50), max_size=5).map(tuple),
    max_size=5,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(KINDS, PARTS)
def test_evidence_survives_json(kind, parts):
    evidence = Evidence(kind, parts)
    assert from_json(json.loads(json.dumps(evidence.to_json()))) == evidence


@given(KINDS, PARTS)
def test_what_is_read_has_one_spelling_and_that_is_it(kind, parts):
    text = json.dumps(Evidence(kind, parts).to_json())
    assert json.dumps(from_json(json.loads(text)).to_json()) == text


@given(JSON)
def test_no_json_value_makes_reading_fail_in_another_way(document):
    check = "format"
    try:
        from_json(document)
    except Refused as refusal:
        check = refusal.check
    assert check in {"format", "kind"}


@given(KINDS.map(str) | JSON, st.dictionaries(st.text(max_size=8), JSON, max_size=4) | JSON)
def test_nothing_in_the_right_places_makes_reading_fail_in_another_way(kind, parts):
    check = "format"
    try:
        from_json({"kind": kind, "parts": parts})
    except Refused as refusal:
        check = refusal.check
    assert check in {"format", "kind"}


SHAPES = {
    "nothing": None,
    "a list": [],
    "a text": "{}",
    "no parts": {"kind": "tdx"},
    "no kind": {"parts": {}},
    "more": {"kind": "tdx", "parts": {}, "more": 1},
    "parts that are a list": {"kind": "tdx", "parts": []},
    "parts that are nothing": {"kind": "tdx", "parts": None},
}


@pytest.mark.parametrize("document", SHAPES.values(), ids=SHAPES.keys())
def test_another_shape_is_refused(document):
    with pytest.raises(Refused) as caught:
        from_json(document)
    assert (caught.value.kind, caught.value.check) == ("evidence", "format")


@pytest.mark.parametrize(
    "kind", ["", "TDX", "tdx ", "sev_snp", "Kind.TDX", "software", 0, 1, True, None, [], {}, ["tdx"]]
)
def test_a_kind_that_there_is_not_is_refused(kind):
    with pytest.raises(Refused) as caught:
        from_json({"kind": kind, "parts": {}})
    assert (caught.value.kind, caught.value.check) == ("evidence", "kind")


SPELLINGS = {
    "no padding": "QQ",
    "too much padding": "QQ===",
    "bits left over": "QR==",
    "a newline inside": "QU\nFB",
    "a newline behind": "QUFB\n",
    "a space": "QUFB ",
    "base64url": "_-8=",
    "not ASCII": "QUF\u00e4",
    "another script's letters": "\uff21\uff21\uff21\uff21",
    "half of a character": "\ud800",
    "a NUL": "QUFB\0",
    "two texts in one": "QQ==QQ==",
    "a number": 7,
    "true": True,
    "nothing": None,
    "an object": {},
    "a list in a list": [["QUFB"]],
    "a list with a number": ["QUFB", 7],
    "a list with an odd spelling": ["QUFB", "QR=="],
}


@pytest.mark.parametrize("value", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_another_spelling_of_a_part_is_refused(value):
    with pytest.raises(Refused) as caught:
        from_json({"kind": "tdx", "parts": {"quote": value}})
    assert (caught.value.kind, caught.value.check) == (Kind.TDX, "format")


def test_evidence_is_bounded_in_one_part_and_in_many():
    half = bytes(EVIDENCE_BYTES_MAX // 2)
    for parts in ({"a": half + half}, {"a": half, "b": half}, {"a": (half, half)}):
        assert from_json(Evidence(Kind.TDX, parts).to_json()).parts == parts
        larger = Evidence(Kind.TDX, {**parts, "c": b"x"}).to_json()
        with pytest.raises(Refused, match="more than"):
            from_json(larger)


def test_a_list_of_very_many_empty_items_is_refused():
    with pytest.raises(Refused):
        from_json({"kind": "tdx", "parts": {"a": [""] * 200_000}})


def test_a_name_that_is_larger_than_evidence_may_be_is_refused():
    with pytest.raises(Refused):
        from_json({"kind": "tdx", "parts": {"x" * 2 * EVIDENCE_BYTES_MAX: "QUFB"}})


def test_a_name_that_is_not_a_text_is_refused():
    with pytest.raises(Refused):
        from_json({"kind": "tdx", "parts": {1: "QUFB"}})


ONE = Evidence(Kind.NITRO, {"document": b"d", "list": (b"1", b"2"), "empty": ()})


def test_a_part_must_be_there_and_be_one_byte_string():
    assert ONE.part("document") == b"d"
    for name in ("absent", "list", "empty"):
        with pytest.raises(Refused) as caught:
            ONE.part(name)
        assert (caught.value.kind, caught.value.check) == (Kind.NITRO, "format")


def test_an_optional_part_may_be_left_out_but_not_be_a_list():
    assert ONE.optional("absent") is None
    assert ONE.optional("document") == b"d"
    with pytest.raises(Refused):
        ONE.optional("list")


def test_a_list_may_be_left_out_but_not_be_one_byte_string():
    assert ONE.many("list") == (b"1", b"2")
    assert ONE.many("empty") == ONE.many("absent") == ()
    with pytest.raises(Refused):
        ONE.many("document")


def test_parts_that_nobody_reads_are_refused():
    ONE.only("document", "list", "empty", "another")
    for names in ((), ("document", "list"), ("Document", "list", "empty")):
        with pytest.raises(Refused):
            ONE.only(*names)


def test_software_evidence_repeats_what_it_is_bound_to_and_says_that_it_proves_nothing():
    attester = software.InsecureSoftwareAttester()
    assert attester.kind is Kind.INSECURE_SOFTWARE
    evidence = from_json(attester.attest(bytes(64)).to_json())
    assert "INSECURE" in str(software.verify(evidence, bytes(64)).claims["warning"])
    with pytest.raises(Refused, match="bound to something else"):
        software.verify(evidence, b"\1" * 64)
    with pytest.raises(Refused, match="format"):
        software.verify(Evidence(Kind.INSECURE_SOFTWARE, {"report_data": bytes(64), "more": b""}), bytes(64))
