"""The text picture of the noise, from the smallest epsilon to the largest, on any terminal."""

import itertools
import math

import pytest

from vesica.accuracy import probability
from vesica.cli.picture import bars, mass, picture
from vesica.limits import NANO

EPSILONS = [1_000, 10_000, 10**6, 10**7, NANO // 10, NANO // 2, NANO, 3 * NANO, 10 * NANO, 100 * NANO]
WIDTHS = [1, 10, 23, 24, 25, 40, 64, 80, 200, 10_000]


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal_and_there_are_few(epsilon, width):
    for value, unicode in itertools.product([-(10**7), -3, 0, 5, 16_820, 2**63], [True, False]):
        lines = picture(value, epsilon, width, unicode=unicode)
        assert all(len(line) <= width for line in lines)
        assert len(lines) <= 6
        assert bool(lines) is (width >= 24)
        assert unicode or all(line.isascii() for line in lines)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("columns", [20, 61])
def test_bars_are_contiguous_symmetric_and_hold_99_percent(epsilon, columns):
    found = bars(epsilon, columns)
    assert len(found) <= columns
    assert len(found) % 2 == 1
    assert all(left.high + 1 == right.low for left, right in itertools.pairwise(found))
    assert [bar.low for bar in found] == [-bar.high for bar in reversed(found)]
    assert 0.98 < sum(bar.mass for bar in found) <= 1 + 1e-9


@pytest.mark.parametrize("epsilon", [10**6, NANO // 2, 3 * NANO])
@pytest.mark.parametrize(("low", "high"), [(-3, 3), (0, 0), (0, 7), (2, 9), (-9, -2), (-1, 40)])
def test_mass_is_the_sum_of_probabilities(epsilon, low, high):
    assert math.isclose(mass(epsilon, low, high), sum(probability(epsilon, k) for k in range(low, high + 1)))


def test_the_axis_marks_the_95_percent_interval():
    lines = picture(16_820, NANO // 2, 80)
    axis, labels = lines[-2], lines[-1]
    assert [axis.count(mark) for mark in "├┼┤"] == [1, 1, 1]
    assert labels.split() == ["16,814", "16,820", "16,826"]
    for mark, label in zip("├┼┤", labels.split(), strict=True):
        assert labels.index(label) <= axis.index(mark) < labels.index(label) + len(label)


def test_a_noiseless_release_is_one_spike():
    lines = picture(42, 100 * NANO, 80)
    assert [line.strip() for line in lines[:4]] == ["██"] * 4
    assert lines[-1].strip() == "42"


def test_counts_below_zero_are_dotted():
    lines = picture(0, NANO // 2, 80)
    assert lines[3].strip().startswith("·· ··")
    assert not picture(1_000, NANO // 2, 80)[3].count("·")
