"""Whether repeated keys are found, and told by their lines, wherever chunks and parts are cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesica import unique
from vesica.errors import DuplicateRow

WORD = st.integers(0, 2**64 - 1)
# A few first halves, so that many agree by chance, as 64 bits do in one of 37 files of a billion rows. Each has a tag
# of its own (its lower 32 bits), and they lie all over the range of keys.
FIRST = (st.sampled_from([0, 1, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)).map(lambda tag: tag << 32 | tag)
KEY = st.tuples(FIRST, st.sampled_from([0, 7]) | WORD)


def logged(keys, sizes, first_line=2):
    """A log of these keys, which came in pieces of the given sizes."""
    log = unique.KeyLog()
    words = np.array(keys, np.uint64).reshape(-1, 2)
    at = 0
    for size in [*sizes, max(len(words), 1)]:
        piece = words[at : at + size]
        log.append(piece, first_line + at)
        at += len(piece)
    return log


@pytest.fixture(params=[(2**21, 2**17, 2), (8, 4, 1), (8, 2, 2), (4, 1, 5)], autouse=True)
def cuts(request, monkeypatch):
    """As shipped, and with chunks and parts so small that everything is cut, for so many processors."""
    for name, size in zip(("_CHUNK_ROWS", "_KEYS_AT_ONCE"), request.param[:2], strict=True):
        monkeypatch.setattr(unique, name, size)
    monkeypatch.setattr(unique, "thread_count", lambda: request.param[2])


@settings(max_examples=150, deadline=None)
@given(st.lists(KEY), st.lists(st.integers(1, 20)))
def test_distinct_keys_are_the_sorted_set_of_first_halves(keys, sizes):
    assert logged(keys, sizes).distinct().tolist() == sorted({first for first, _ in keys})


@settings(max_examples=150, deadline=None)
@given(st.lists(KEY, unique=True), st.lists(st.integers(1, 20)))
def test_keys_that_agree_in_64_bits_only_are_no_duplicates(keys, sizes):
    assert logged(keys, sizes).all_different().tolist() == sorted({first for first, _ in keys})


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(FIRST, WORD), min_size=2, unique=True), st.data(), st.lists(st.integers(1, 20)))
def test_a_repeated_key_is_refused_with_the_lines_of_both_rows(keys, data, sizes):
    second = data.draw(st.integers(1, len(keys) - 1))
    first = data.draw(st.integers(0, second - 1))
    keys[second] = keys[first]
    with pytest.raises(DuplicateRow, match=f"line {first + 2} already") as raised:
        logged(keys, sizes).all_different()
    assert raised.value.line == second + 2


def test_a_first_half_that_many_rows_share_hides_no_repeated_key():
    shared = [(0, second) for second in range(1000)]
    assert logged(shared, []).all_different().tolist() == [0]
    with pytest.raises(DuplicateRow, match="line 1002 already"):
        logged([*shared, (2**63 | 5, 5), (7, 5), (2**63 | 5, 5)], []).all_different()


def test_one_key_a_thousand_times_is_one_key():
    assert logged([(5, 5)] * 1000, [1, 10, 100]).distinct().tolist() == [5]
    with pytest.raises(DuplicateRow, match="line 2 already"):
        logged([(5, 5)] * 1000, [1, 10, 100]).all_different()


def test_different_keys_are_taken_for_equal_only_where_three_rows_agree_in_160_bits():
    """Which the hash gives none of, any more than two that agree in all 128 (decision 0012)."""
    pair, third = [(0, 5), (0, 7)], (2**32, 7)  # ``third`` has the tag of both, and the second half of one
    assert logged([pair[0], third], []).all_different().size == 2
    assert logged([pair[1], third], []).all_different().size == 2
    assert logged([*pair, (2**32, 8)], []).all_different().tolist() == [0, 2**32]
    with pytest.raises(DuplicateRow, match="line 3 already"):
        logged([*pair, third], []).all_different()
