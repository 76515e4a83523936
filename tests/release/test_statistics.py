"""The judge is judged: the exact tests of ``support.statistics`` against known values and integer arithmetic."""

import math
import random
from fractions import Fraction

import pytest

from support.statistics import (
    DiscreteLaplace,
    Misfit,
    audited_epsilon,
    beta_regularised,
    binomial_at_least,
    binomial_at_most,
    binomial_p_value,
    check_audit,
    check_fit,
    check_independence,
    clopper_pearson_lower,
    clopper_pearson_upper,
)


def exact_at_least(k: int, n: int, p: Fraction) -> Fraction:
    a, b = p.numerator, p.denominator - p.numerator
    total = sum(math.comb(n, i) * a**i * b ** (n - i) for i in range(max(k, 0), n + 1))
    return Fraction(total, p.denominator**n)


@pytest.mark.parametrize("n", [1, 2, 10, 137])
@pytest.mark.parametrize("p", [Fraction(1, 2), Fraction(1, 1000), Fraction(7, 9), Fraction(999, 1000)])
def test_binomial_tails_agree_with_integer_arithmetic(n, p):
    for k in range(-1, n + 2):
        assert binomial_at_least(k, n, float(p)) == pytest.approx(float(exact_at_least(k, n, p)), rel=1e-9, abs=1e-290)
        below = float(1 - exact_at_least(k + 1, n, p))
        assert binomial_at_most(k, n, float(p)) == pytest.approx(below, rel=1e-9, abs=1e-290)


@pytest.mark.parametrize("k", [0, 900, 1000, 1040, 1150, 1300, 2000])
def test_tails_of_thousands_agree_with_integer_arithmetic_far_out(k):
    exact = float(exact_at_least(k, 2000, Fraction(1, 2)))
    assert binomial_at_least(k, 2000, 0.5) == pytest.approx(exact, rel=1e-9)
    assert binomial_at_most(2000 - k, 2000, 0.5) == pytest.approx(exact, rel=1e-9)


def test_tails_of_100_000_samples_agree_with_a_sum_of_logarithms():
    n, p, k = 100_000, 0.0123, 1400
    log_term = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k, k + 2000)
    ]
    assert binomial_at_least(k, n, p) == pytest.approx(math.fsum(map(math.exp, log_term)), rel=1e-7)


def test_the_incomplete_beta_function_has_its_known_values():
    assert beta_regularised(1, 1, 0.3) == pytest.approx(0.3, rel=1e-14)
    assert beta_regularised(2, 3, 0.5) == pytest.approx(11 / 16, rel=1e-14)
    assert beta_regularised(0.5, 0.5, 0.25) == pytest.approx(1 / 3, rel=1e-13)  # the arcsine law
    assert (beta_regularised(3, 4, 0), beta_regularised(3, 4, 1)) == (0.0, 1.0)


def test_clopper_pearson_has_the_values_of_the_tables():
    assert clopper_pearson_upper(0, 10, 0.025) == pytest.approx(1 - 0.025**0.1, rel=1e-12)
    assert clopper_pearson_lower(10, 10, 0.025) == pytest.approx(0.025**0.1, rel=1e-12)
    assert clopper_pearson_lower(5, 10, 0.025) == pytest.approx(0.187086, abs=1e-6)
    assert clopper_pearson_upper(5, 10, 0.025) == pytest.approx(0.812914, abs=1e-6)
    assert (clopper_pearson_lower(0, 10, 0.025), clopper_pearson_upper(10, 10, 0.025)) == (0.0, 1.0)


@pytest.mark.parametrize(("n", "p"), [(50, 0.5), (80, 0.03), (200, 0.9)])
def test_a_p_value_is_below_alpha_no_more_often_than_alpha(n, p):
    cell = [binomial_at_least(k, n, p) - binomial_at_least(k + 1, n, p) for k in range(n + 1)]
    for alpha in (0.5, 0.1, 0.01, 1e-6):
        assert sum(cell[k] for k in range(n + 1) if binomial_p_value(k, n, p) <= alpha) <= alpha * (1 + 1e-9)


@pytest.mark.parametrize("epsilon", [0.1, 0.3, 1.0, 5.0])
def test_the_reference_law_sums_to_one_and_its_tails_are_the_sums_of_its_cells(epsilon):
    law = DiscreteLaplace(epsilon)
    reach = math.ceil(40 / epsilon)
    assert math.fsum(law.cell(k) for k in range(-reach, reach + 1)) == pytest.approx(1, rel=1e-12)
    for k in (-3, -1, 0, 1, 2, 7):
        assert law.at_least(k) == pytest.approx(math.fsum(law.cell(i) for i in range(k, reach)), rel=1e-10)
    assert law.farther(2) == pytest.approx(1 - law.cell(0) - 2 * law.cell(1), rel=1e-10)


def geometric_difference(rng: random.Random, epsilon: float) -> int:
    return math.floor(rng.expovariate(epsilon)) - math.floor(rng.expovariate(epsilon))


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 3.0])
def test_the_difference_of_two_geometric_numbers_fits_and_is_independent(epsilon):
    rng = random.Random(7)
    noise = [geometric_difference(rng, epsilon) for _ in range(20_000)]
    check_fit(noise, epsilon, 1e-6)
    check_independence(noise, epsilon, 1e-6)


def test_one_draw_told_again_and_again_is_not_noise():
    rng = random.Random(7)
    noise = [geometric_difference(rng, 0.3) for _ in range(5_000)]
    with pytest.raises(Misfit):
        check_independence([v for v in noise for _ in (1, 2)], 0.3, 1e-6)
    with pytest.raises(Misfit):
        check_fit([noise[0]] * 5_000, 0.3, 1e-6)


def test_the_audit_finds_the_loss_of_a_mechanism_whose_loss_is_known():
    rng = random.Random(7)
    without = [int(rng.random() < 0.25) for _ in range(50_000)]  # randomised response: the loss is log 3
    with_row = [int(rng.random() < 0.75) for _ in range(50_000)]
    lower = audited_epsilon(without, with_row, 1e-6)
    assert math.log(3) / 1.15 < lower < math.log(3)
    check_audit(math.log(3), lower, 1.33)
    for claimed in (1.0, 1.5):
        with pytest.raises(Misfit):
            check_audit(claimed, lower, 1.33)
