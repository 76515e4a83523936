"""Rows of one width are the rows that the reader of CSV finds, and are keyed as it keys them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesica import intake
from vesica.csvtext import split_records
from vesica.errors import SubmissionRejected
from vesica.evenrows import EvenRows, even_rows
from vesica.intake import Intake
from vesica.keys import PADDING, KeyedHash, KeySecret
from vesica.terms import Duplicates, KeyColumn, KeyTerms

SECRET = KeySecret(bytes(range(16)), bytes(range(16, 32)))
LONGEST = 40
PLAIN = st.characters(min_codepoint=45, max_codepoint=127)
EVEN = st.integers(1, LONGEST).flatmap(
    lambda length: st.lists(st.text(PLAIN, min_size=length, max_size=length), min_size=1, max_size=12)
)
# What may make a row another than its neighbours, or refused.
ODD = st.sampled_from([b"\n", b"\r", b"\r\n", b",", b'"', b"\0", b" ", b"\xff", "\u00e9".encode(), b"x"])


def text_of(block):
    return np.frombuffer(block, np.uint8)


@settings(max_examples=300)
@given(EVEN, st.integers(0, 60))
def test_rows_of_one_width_are_found_whatever_is_cut_off_behind_them(ids, cut):
    block = "".join(f"{one}\n" for one in ids).encode()
    block = block[: max(len(block) - cut, len(ids[0]) + 1)]
    assert even_rows(text_of(block), LONGEST) == EvenRows(len(block) // (len(ids[0]) + 1), len(ids[0]))


@settings(max_examples=600)
@given(EVEN, st.lists(st.tuples(st.integers(0, 500), ODD, st.booleans()), max_size=2))
def test_where_rows_are_even_the_reader_finds_the_same_and_refuses_none(ids, edits):
    block = "".join(f"{one}\n" for one in ids).encode()
    for at, odd, instead in edits:
        place = at % len(block)
        block = block[:place] + odd + block[place + (len(odd) if instead else 0) :]
    found = even_rows(text_of(block), LONGEST)
    if found is not None:
        records, used = split_records(block, columns=1, first_line=1, final=False)
        step = found.length + 1
        assert records.starts[:, 0].tolist() == list(range(0, found.count * step, step))
        assert records.ends[:, 0].tolist() == list(range(found.length, found.count * step, step))
        assert (used, records.lines, found.length <= LONGEST) == (found.used, None, True)


@pytest.mark.parametrize(
    "block",
    [
        *[b"", b"\n", b"\n\n", b"abc", b"ab\ncde\n", b"ab\nc\nd\n", b"ab\ncd\ne\n", b"x" * (LONGEST + 1) + b"\n"],
        *[b"a,\nb,\n", b'a"\nb"\n', b"ab\r\ncd\r\n", b"a\0\nb\0\n", b"a\xff\nb\xff\n"],
    ],
)
def test_anything_else_is_left_to_the_reader(block):
    assert even_rows(text_of(block), LONGEST) is None


def test_many_rows_are_counted_right_and_one_line_end_too_many_is_seen():
    block = b"abcdefgh\n" * 100_000
    assert even_rows(text_of(block), LONGEST) == EvenRows(100_000, 8)
    for at in (9 * 50_000 + 3, 9 * 99_999 + 2):
        assert even_rows(text_of(block[:at] + b"\n" + block[at + 1 :]), LONGEST) is None


@given(EVEN)
def test_even_rows_are_hashed_as_values_are(ids):
    block = "".join(f"{one}\n" for one in ids).encode()
    starts = np.arange(len(ids)) * (len(ids[0]) + 1)
    hasher, rows = KeyedHash(SECRET), EvenRows(len(ids), len(ids[0]))
    hashed = hasher.even(text_of(block + b"\xff" * PADDING), rows)
    assert hashed.tolist() == hasher.values(block, starts, starts + len(ids[0])).tolist()


def outcome(data, sizes, *, even):
    """What becomes of a file: its keys, or the refusal and where it points; with and without looking for even rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "BLOCK_BYTES", 64)
        if not even:
            patch.setattr(intake, "even_rows", lambda *_: None)
        reader = Intake(KeyTerms((KeyColumn(None, ()),), Duplicates.REFUSE), SECRET)
        try:
            for size in [*sizes, len(data)]:
                reader.feed(data[:size])
                data = data[size:]
            keys = reader.finish()
        except SubmissionRejected as error:
            return error.code, error.detail, error.line
        return keys.sorted_keys.tolist(), keys.rows


@settings(max_examples=300)
@given(EVEN, st.lists(st.tuples(st.integers(0, 500), ODD), max_size=1), st.lists(st.integers(0, 80), max_size=12))
def test_a_file_becomes_the_same_keys_or_refusal_with_and_without_looking_for_even_rows(ids, edits, sizes):
    data = "".join(f"{one}\n" for one in ["id", *ids]).encode()
    for at, odd in edits:
        data = data[: 3 + at % len(data)] + odd + data[3 + at % len(data) :]
    assert outcome(data, sizes, even=True) == outcome(data, sizes, even=False)
