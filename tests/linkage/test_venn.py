"""Linkage against Python's sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesica import linkage
from vesica.linkage import venn
from vesica.terms import Statistic

KEY = st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 12), st.integers(2**64 - 5, 2**64 - 1))
SETS = st.lists(st.sets(KEY, max_size=40), min_size=2, max_size=5)


def columns_of(sets):
    return [np.array(sorted(keys), dtype=np.uint64) for keys in sets]


def expected(sets, statistic, members):
    chosen = [keys for i, keys in enumerate(sets) if members >> i & 1]
    return len(set.intersection(*chosen) if statistic is Statistic.INTERSECTION_CARDINALITY else set.union(*chosen))


@settings(max_examples=300, deadline=None)
@given(SETS, st.sampled_from([1, 2, 3, 7, 2**19]))
def test_every_count_of_every_subset_is_that_of_sets(sets, keys_at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linkage, "_KEYS_AT_ONCE", keys_at_once)
        linked = venn(columns_of(sets))
    assert sum(linked.cells) == len(set.union(*sets))
    assert linked.cells[0] == 0
    for members in range(1, 2 ** len(sets)):
        for statistic in Statistic:
            assert linked.count(statistic, members) == expected(sets, statistic, members)


def test_a_large_linkage_in_many_pieces_is_exact():
    random = np.random.default_rng(7)
    pool = np.unique(random.integers(0, 2**64, 1_500_000, dtype=np.uint64))
    columns = [np.sort(random.choice(pool, 700_000, replace=False)) for _ in range(3)]
    linked = venn(columns)
    common = np.intersect1d(np.intersect1d(columns[0], columns[1], assume_unique=True), columns[2], assume_unique=True)
    assert linked.count(Statistic.INTERSECTION_CARDINALITY, 7) == common.size
    assert linked.count(Statistic.UNION_CARDINALITY, 7) == np.unique(np.concatenate(columns)).size


def test_one_row_moves_every_count_by_at_most_one():
    """d_in of the measurement: adding one id to one party, in every small universe."""
    universe = range(4)
    subsets = [{i for i in universe if mask >> i & 1} for mask in range(2**4)]
    for one in subsets:
        for two in subsets:
            before = venn(columns_of([one, two, {0, 3}]))
            for row in universe:
                after = venn(columns_of([one | {row}, two, {0, 3}]))
                for members in (3, 5, 6, 7):
                    for statistic in Statistic:
                        assert abs(after.count(statistic, members) - before.count(statistic, members)) <= 1


def test_empty_columns_have_nothing_in_common():
    assert venn(columns_of([set(), set()])).cells == (0, 0, 0, 0)
    assert venn(columns_of([set(), {1, 2}])).cells == (0, 0, 2, 0)


def test_true_counts_are_not_printed():
    linked = venn(columns_of([set(range(4321)), set(range(1234, 9999))]))
    assert "4321" not in repr(linked)
    assert not any(str(cell) in repr(linked) for cell in linked.cells if cell > 9)
