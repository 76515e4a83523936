"""Normalisers: what each must and must not join, and that doing a block at once is doing its values one by one."""

import csv
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesica.normalise import normalise
from vesica.terms import Normaliser

NEAR_MISSES = Path(__file__).parents[1] / "data" / "ids_exact" / "near_misses.csv"
N = Normaliser


def one(value, *words):
    return normalise(value + "\0", words).removesuffix("\0")


VALUE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)
EDGES = st.text(st.sampled_from(list(" \u00a0\t\x1fa\u0301\ufb02Aß1٣mailto:")), max_size=12)


@settings(max_examples=400)
@given(st.lists(st.one_of(VALUE, EDGES), min_size=1, max_size=8), st.lists(st.sampled_from([*N]), max_size=3))
def test_a_block_at_once_is_its_values_one_by_one(values, words):
    at_once = normalise("".join(value + "\0" for value in values), words).split("\0")[:-1]
    assert at_once == [one(value, *words) for value in values]


@given(VALUE)
def test_each_step_is_what_python_calls_it(value):
    assert one(value, N.TRIM) == value.strip()
    assert one(value, N.NFC) == unicodedata.normalize("NFC", value)
    assert one(value, N.NFKC) == unicodedata.normalize("NFKC", value)
    assert one(value, N.CASEFOLD) == value.casefold()
    assert one(value, N.DIGITS) == "".join(str(unicodedata.decimal(c)) for c in value if c.isdecimal())


@pytest.mark.parametrize(
    ("word", "left", "right"),
    [
        (N.TRIM, " ana@example.org\u00a0", "ana@example.org"),
        (N.NFC, "Jose\u0301", "Jos\u00e9"),
        (N.NFKC, "\ufb02ow", "flow"),
        (N.CASEFOLD, "Ana@Example.ORG", "ana@example.org"),
        (N.CASEFOLD, "STRASSE", "straße"),
        (N.EMAIL, "mailto:Ana@b.org ", "ana@b.org"),
        (N.DIGITS, "+31 (0)20-555", "31020555"),
        (N.DIGITS, "\u0663\u0664", "34"),
    ],
)
def test_the_documented_examples_are_joined(word, left, right):
    assert one(left, word) == one(right, word)
    assert left != right


APART = [("007", "7"), ("1e5", "100000"), ("j.doe@x.org", "jdoe@x.org"), ("a+b@x.org", "a@x.org"), ("tan", "t\u0430n")]


@pytest.mark.parametrize(
    ("word", "left", "right"),
    [(word, *pair) for word in N for pair in APART if word is not N.DIGITS or pair[0][0].isdecimal()],
)
def test_what_nothing_may_join_stays_apart(word, left, right):
    assert one(left, word) != one(right, word)


# kind of near miss -> the words that join all of its pairs; every other word joins none of them (or only some: None)
JOINS = {
    "case": {N.CASEFOLD, N.EMAIL},
    "white-space": {N.TRIM, N.EMAIL},
    "nfc-nfd": {N.NFC, N.NFKC, N.EMAIL},
    "leading-zeros": set(),
    "float64-collapse": set(),
    "homoglyph-or-zero-width": set(),
    "number-looking": set(),
    "quoting": set(),
}


@pytest.mark.parametrize("kind", [*JOINS])
@pytest.mark.parametrize("word", [word for word in N if word is not N.DIGITS])
def test_near_misses_are_joined_by_the_words_meant_for_them_and_by_no_other(kind, word):
    with NEAR_MISSES.open(encoding="utf-8", newline="") as file:
        pairs = [(row["in_a"], row["in_b"]) for row in csv.DictReader(file) if row["kind"] == kind]
    assert pairs
    joined = {one(left, word) == one(right, word) for left, right in pairs}
    assert joined == {word in JOINS[kind]}
