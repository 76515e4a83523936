"""What ``test_noise`` must not let pass: each mutant of the measurement is put into the running release path, and the
same checks, at the same false alarm, refuse it. About 45 seconds of processor time.

Every mutant is seeded or so far off that it would be missed less than once in 100,000 runs.
"""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from support.draws import released_noise
from support.statistics import Misfit, audited_epsilon, check_audit, check_fit, check_independence
from vesica import measure

FALSE_ALARM = 1e-6 / 15  # of test_noise
Draw = Callable[[int], int]


def scaled(factor: float) -> Callable[[float], Draw]:
    return lambda scale: measure._laplace(scale * factor)


def rounded_float_laplace(scale: float) -> Draw:
    rng = random.Random(1)
    return lambda truth: truth + round(rng.expovariate(1 / scale) * rng.choice((-1, 1)))


def clamped_at_zero(scale: float) -> Draw:
    genuine = measure._laplace(scale)
    return lambda truth: max(0, genuine(truth))


def half_the_noise(scale: float) -> Draw:
    genuine = measure._laplace(scale)
    return lambda truth: truth + math.trunc((genuine(truth) - truth) / 2)


def zero_twice(scale: float) -> Draw:
    """A sampler that draws a sign and a size, and forgets that there is one zero, not two."""
    rng = random.Random(2)
    return lambda truth: truth + math.floor(rng.expovariate(1 / scale)) * rng.choice((-1, 1))


def no_noise(scale: float) -> Draw:
    return lambda truth: truth


def noise_told_twice(scale: float) -> Draw:
    genuine, kept = measure._laplace(scale), []

    def draw(truth: int) -> int:
        if kept:
            return truth + kept.pop()
        kept.append(genuine(0))
        return truth + kept[0]

    return draw


@pytest.fixture
def mutate(monkeypatch):
    """Puts another draw into every measurement that the release path makes; its promises stay as they were."""

    def put(mutant: Callable[[float], Draw]) -> None:
        genuine = measure.counting

        @cache
        def counting(epsilon_nano: int) -> measure.Measurement:
            made = genuine(epsilon_nano)
            return replace(made, draw=mutant(made.scale))

        monkeypatch.setattr(measure, "counting", counting)

    return put


@pytest.mark.parametrize(
    ("mutant", "epsilon", "samples"),
    [
        pytest.param(scaled(0.95), "0.3", 100_000, id="5 % less noise"),
        pytest.param(scaled(1.05), "0.3", 100_000, id="5 % more noise"),
        pytest.param(scaled(0.5), "0.1", 5_000, id="half the scale"),
        pytest.param(half_the_noise, "0.3", 5_000, id="half the noise"),
        pytest.param(rounded_float_laplace, "0.5", 100_000, id="rounded floating-point noise"),
        pytest.param(clamped_at_zero, "0.3", 5_000, id="clamped at 0"),
        pytest.param(zero_twice, "0.3", 20_000, id="zero twice as often"),
        pytest.param(no_noise, "0.3", 100, id="no noise"),
    ],
)
def test_a_mutant_fails_the_goodness_of_fit(mutate, mutant, epsilon, samples):
    mutate(mutant)
    noise = released_noise(epsilon, 0, samples)
    with pytest.raises(Misfit):
        check_fit(noise, float(epsilon), FALSE_ALARM)


def test_noise_that_is_told_twice_fails_the_independence(mutate):
    mutate(noise_told_twice)
    noise = released_noise("0.3", 0, 5_000)
    with pytest.raises(Misfit):
        check_independence(noise, 0.3, FALSE_ALARM)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_an_audit_refuses_half_and_double_the_noise(mutate, factor):
    mutate(scaled(factor))
    without = released_noise("0.5", 0, 10_000)
    with_row = [noise + 1 for noise in released_noise("0.5", 1, 10_000)]
    with pytest.raises(Misfit):
        check_audit(0.5, audited_epsilon(without, with_row, FALSE_ALARM), 1.33)


def test_the_wrapper_that_puts_a_mutant_in_passes_genuine_noise(mutate):
    mutate(scaled(1.0))
    check_fit(released_noise("0.3", 0, 20_000), 0.3, FALSE_ALARM)
