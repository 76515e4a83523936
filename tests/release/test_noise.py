"""The noise that the running release path releases is discrete Laplace at the promised epsilon, and an audit of two
neighbouring rooms finds the promised privacy loss: no less, and no more.

All tests of this module together raise a false alarm with probability at most 1e-6. 580,000 releases: about 80
seconds of processor time on a quiet machine.
"""

import pytest

from support.draws import released_noise_once
from support.statistics import Misfit, audited_epsilon, check_audit, check_fit, check_independence

# epsilon, true count, samples, samples of the neighbour (one more id in common), slack. Truths are small and 0 too:
# a value clamped at 0 would pass as noise around 16,818. At 0.1 a lower bound near it would need 400,000 samples;
# 50,000 show what matters there, that no more is lost than was claimed (OpenDP 0.14.1 lost 0.22 and more).
SETTINGS = [
    pytest.param("0.1", 16_818, 100_000, 50_000, None, id="0.1"),
    pytest.param("0.3", 0, 100_000, 80_000, 1.33, id="0.3"),
    pytest.param("0.5", 3, 50_000, 50_000, 1.33, id="0.5"),
    pytest.param("1", 2**40, 50_000, 30_000, 1.33, id="1"),
    pytest.param("2", 0, 50_000, 20_000, 1.33, id="2"),
]
FALSE_ALARM = 1e-6 / (3 * len(SETTINGS))


@pytest.mark.parametrize(("epsilon", "truth", "samples", "_neighbours", "_slack"), SETTINGS)
def test_released_noise_is_discrete_laplace_at_the_promised_scale(epsilon, truth, samples, _neighbours, _slack):
    check_fit(released_noise_once(epsilon, truth, samples), float(epsilon), FALSE_ALARM)


@pytest.mark.parametrize(("epsilon", "truth", "samples", "_neighbours", "_slack"), SETTINGS)
def test_no_release_tells_about_the_noise_of_the_next(epsilon, truth, samples, _neighbours, _slack):
    check_independence(released_noise_once(epsilon, truth, samples), float(epsilon), FALSE_ALARM)


@pytest.mark.parametrize(("epsilon", "truth", "samples", "neighbours", "slack"), SETTINGS)
def test_an_audit_finds_the_promised_epsilon_and_no_more(epsilon, truth, samples, neighbours, slack):
    without = [truth + noise for noise in released_noise_once(epsilon, truth, samples)[:neighbours]]
    with_row = [truth + 1 + noise for noise in released_noise_once(epsilon, truth + 1, neighbours)]
    check_audit(float(epsilon), audited_epsilon(without, with_row, FALSE_ALARM), slack)


def test_noise_of_one_epsilon_is_not_taken_for_another():
    for other in (0.285, 0.315):
        with pytest.raises(Misfit):
            check_fit(released_noise_once("0.3", 0, 100_000), other, FALSE_ALARM)
