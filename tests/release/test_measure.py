"""A measurement never loses more privacy than was promised, in exact arithmetic, and its error bounds are exact."""

import math
import os
import subprocess
import sys
from decimal import Decimal, localcontext
from fractions import Fraction
from importlib.metadata import version

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opendp.accuracy import discrete_laplacian_scale_to_accuracy
from opendp.domains import atom_domain
from opendp.measurements import make_laplace
from opendp.metrics import absolute_distance

from vesica import measure
from vesica.accuracy import ALPHAS, bound, epsilon_for_bound, probability, tail
from vesica.limits import EPSILON_LIMIT_NANO_MAX, EPSILON_RELEASE_NANO_MIN, NANO
from vesica.release import Question, plan
from vesica.terms import Statistic

TENTH = NANO // 10


def spread(low: int, high: int) -> st.SearchStrategy[int]:
    """Whole numbers of every size between two bounds, not mostly the large ones."""
    logarithms = st.floats(math.log(low), math.log(high)).map(lambda x: min(high, max(low, round(math.exp(x)))))
    return st.one_of(st.integers(low, high), logarithms)


epsilons = spread(EPSILON_RELEASE_NANO_MIN, EPSILON_LIMIT_NANO_MAX)
alphas = st.one_of(st.sampled_from(ALPHAS), st.floats(1e-6, 0.999))


def opendp_loss(scale: float) -> Fraction:
    """What OpenDP itself says that a release at this scale costs, asked here, not through ``vesica``."""
    made = make_laplace(atom_domain(T="i64"), absolute_distance(T="i64"), scale)
    return Fraction(made.map(1))


@settings(max_examples=1000, deadline=None)
@given(epsilons)
@example(EPSILON_RELEASE_NANO_MIN)
@example(EPSILON_LIMIT_NANO_MAX)
@example(TENTH)
@example(NANO // 3)
def test_the_privacy_loss_that_opendp_gives_is_never_above_the_promise(epsilon):
    made = measure.counting(epsilon)
    loss = opendp_loss(made.scale)
    assert loss <= Fraction(epsilon, NANO)
    assert loss <= Fraction(made.d_out_nano, NANO), "the ledger is charged less than the release costs"


@settings(max_examples=1000, deadline=None)
@given(epsilons)
@example(EPSILON_RELEASE_NANO_MIN)
@example(EPSILON_LIMIT_NANO_MAX)
def test_a_release_is_charged_at_most_its_epsilon_and_at_least_0_999999_of_it(epsilon):
    charged = measure.counting(epsilon).d_out_nano
    assert charged <= epsilon
    assert charged * 1_000_000 >= epsilon * 999_999


@settings(max_examples=200, deadline=None)
@given(epsilons)
def test_a_plan_costs_what_the_measurement_loses(epsilon):
    planned = plan(Question(Statistic.UNION_CARDINALITY, ("alice", "bob"), epsilon))
    assert planned.cost_nano == measure.counting(epsilon).d_out_nano
    assert planned.scale == measure.counting(epsilon).scale


@pytest.mark.parametrize("scale", [0.0, -0.0, -1.0, -1e-300, math.nan])
def test_a_scale_that_would_release_the_truth_is_refused(scale):
    with pytest.raises(ValueError, match="scale of zero"):
        measure._laplace(scale)


@pytest.mark.parametrize(
    "epsilon", [0, 1, EPSILON_RELEASE_NANO_MIN - 1, EPSILON_LIMIT_NANO_MAX + 1, 10**30, -NANO], ids=str
)
def test_an_epsilon_outside_the_limits_makes_no_measurement(epsilon):
    with pytest.raises(ValueError, match="outside limits"):
        measure.counting(epsilon)


@settings(max_examples=200, deadline=None)
@given(epsilons)
def test_no_epsilon_within_the_limits_has_a_scale_of_zero(epsilon):
    scale = measure.counting(epsilon).scale
    assert scale >= 0.01
    assert scale == pytest.approx(NANO / epsilon, rel=1e-12)


@pytest.mark.parametrize("truth", [0, 1, 2**40, 12 * 2**30])
def test_a_draw_is_a_whole_number_near_any_truth_that_a_room_can_hold(truth):
    value = measure.counting(50 * NANO).draw(truth)
    assert type(value) is int
    assert abs(value - truth) <= 2  # once in 1e65


def test_two_draws_of_one_measurement_differ():
    draw = measure.counting(TENTH).draw
    assert len({draw(0) for _ in range(200)}) > 20


def test_the_installed_opendp_has_the_repaired_sampler():
    assert tuple(int(part) for part in version("opendp").split(".")[:2]) >= (0, 16)


def test_importing_measure_keeps_opendp_from_walking_the_stack_at_every_error():
    code = "import os, vesica.measure; print(os.environ['RUST_BACKTRACE'])"
    environment = {name: value for name, value in os.environ.items() if name != "RUST_BACKTRACE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


@pytest.mark.parametrize(("epsilon", "rows"), [(TENTH, 30), (5 * TENTH, 6), (NANO, 3)])
def test_the_95_percent_bounds_are_the_known_ones(epsilon, rows):
    assert bound(epsilon, 0.05) == rows


def exact_tail(epsilon: int, k: int) -> Decimal:
    """P(|noise| >= k), k >= 1, to 60 digits."""
    with localcontext() as context:
        context.prec = 60
        p = (Decimal(-epsilon) / NANO).exp()
        return 2 * p**k / (1 + p)


@settings(max_examples=500, deadline=None)
@given(epsilons, alphas)
def test_a_bound_is_the_smallest_that_the_exact_tail_allows(epsilon, alpha):
    b = bound(epsilon, alpha)
    assert exact_tail(epsilon, b + 1) <= Decimal(alpha)
    assert b == 0 or exact_tail(epsilon, b) > Decimal(alpha)


@settings(max_examples=500, deadline=None)
@given(epsilons, alphas)
def test_a_bound_is_the_one_that_opendp_gives_for_the_scale(epsilon, alpha):
    reach = discrete_laplacian_scale_to_accuracy(measure.counting(epsilon).scale, alpha)
    if abs(reach - round(reach)) > 1e-6 * max(
        1.0, reach
    ):  # nearer to a whole number OpenDP's float may be on its other side
        assert bound(epsilon, alpha) == max(0, math.ceil(reach) - 1)


@settings(max_examples=300, deadline=None)
@given(epsilons, st.integers(1, 300))
def test_tails_and_probabilities_are_exact_and_agree(epsilon, k):
    assert tail(epsilon, k) == pytest.approx(float(exact_tail(epsilon, k)), rel=1e-9, abs=1e-300)
    difference = float(exact_tail(epsilon, k) - exact_tail(epsilon, k + 1)) / 2
    assert probability(epsilon, k) == pytest.approx(difference, rel=1e-9, abs=1e-300)
    assert probability(epsilon, -k) == probability(epsilon, k)


@settings(max_examples=300, deadline=None)
@given(epsilons)
def test_all_probabilities_sum_to_one(epsilon):
    assert probability(epsilon, 0) + tail(epsilon, 1) == pytest.approx(1, rel=1e-12)
    assert tail(epsilon, 0) == tail(epsilon, -1) == 1.0


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 500), alphas, epsilons)
def test_the_epsilon_for_a_bound_is_the_smallest_that_reaches_it(rows, alpha, ceiling):
    found = epsilon_for_bound(rows, alpha, ceiling)
    if found is None:
        assert bound(ceiling, alpha) > rows
    else:
        assert bound(found, alpha) <= rows
        assert found == 1 or bound(found - 1, alpha) > rows
