"""Exact binomial tests, and what they say about noise that ought to be discrete Laplace. Nothing here reads ``vesica``:
a reference that shared code with what it judges would share its mistakes.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

_TINY: Final = 1e-300
_STEPS_MAX: Final = 100_000


class Misfit(AssertionError):
    """Noise, or an audited privacy loss, that is not what was claimed."""


def beta_regularised(a: float, b: float, x: float) -> float:
    """I_x(a, b), the regularised incomplete beta function, by its continued fraction. a, b > 0; x in [0, 1].

    Relative error about 1e-9 where a + b is a million (that of ``math.lgamma``), and less below.
    Source: Press et al., Numerical Recipes, section 6.4 (Lentz's method).
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_regularised(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _STEPS_MAX):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _off_zero(1 + term * d)
            c = _off_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            return value
    raise ArithmeticError("the continued fraction did not settle")


def _off_zero(x: float) -> float:
    return x if abs(x) > _TINY else _TINY


def binomial_at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) of X ~ Binomial(n, p)."""
    if k <= 0 or k > n:
        return 1.0 if k <= 0 else 0.0
    return beta_regularised(k, n - k + 1, p)


def binomial_at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) of X ~ Binomial(n, p)."""
    if k < 0 or k >= n:
        return 0.0 if k < 0 else 1.0
    return beta_regularised(n - k, k + 1, 1 - p)


def binomial_p_value(k: int, n: int, p: float) -> float:
    """Exact two-sided p-value of k successes in n: twice the smaller tail. At most alpha with probability alpha."""
    return min(1.0, 2 * min(binomial_at_least(k, n, p), binomial_at_most(k, n, p)))


def clopper_pearson_lower(k: int, n: int, alpha: float) -> float:
    """The bound below the true p except with probability alpha (one-sided), after k successes in n."""
    return 0.0 if k == 0 else _bisect(lambda p: binomial_at_least(k, n, p) < alpha)


def clopper_pearson_upper(k: int, n: int, alpha: float) -> float:
    """The bound above the true p except with probability alpha (one-sided), after k successes in n."""
    return 1.0 if k == n else _bisect(lambda p: binomial_at_most(k, n, p) >= alpha)


def _bisect(below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


class DiscreteLaplace:
    """The distribution that a release promises: P(X = k) = (1 - p) / (1 + p) * p**abs(k), with p = exp(-epsilon)."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon
        self.p = math.exp(-epsilon)

    def cell(self, k: int) -> float:
        """P(X = k)."""
        return math.tanh(self.epsilon / 2) * math.exp(-self.epsilon * abs(k))

    def at_least(self, k: int) -> float:
        """P(X >= k)."""
        return math.exp(-self.epsilon * k) / (1 + self.p) if k > 0 else 1 - self.at_least(1 - k)

    def farther(self, k: int) -> float:
        """P(|X| >= k), k >= 1."""
        return 2 * self.at_least(k)

    def reach(self, n: int) -> int:
        """How far n samples go: beyond it, on one side, fewer than one is expected."""
        return max(1, math.ceil(math.log(n) / self.epsilon))


def check_fit(noise: Sequence[int], epsilon: float, alpha: float) -> None:
    """Raises Misfit unless the noise is discrete Laplace of scale 1 / epsilon.

    Exact binomial tests of every cell, of every cumulative and of every P(|X| >= k), as far as the samples reach, with
    Bonferroni: genuine noise fails with probability alpha at most.
    """
    n, law = len(noise), DiscreteLaplace(epsilon)
    reach = law.reach(n)
    counts = Counter(noise)
    tests = [(f"P(X = {k})", counts[k], law.cell(k)) for k in range(-reach, reach + 1)]
    above = sum(number for k, number in counts.items() if k > reach)
    for k in range(reach, -reach - 1, -1):
        above += counts[k]
        tests.append((f"P(X >= {k})", above, law.at_least(k)))
    tests += [
        (f"P(|X| >= {k})", sum(number for v, number in counts.items() if abs(v) >= k), law.farther(k))
        for k in range(1, reach + 2)
    ]
    worst, what = min((binomial_p_value(seen, n, p), name) for name, seen, p in tests)
    if worst <= alpha / len(tests):
        raise Misfit(f"{what}: p-value {worst:.1e}, of {len(tests)} tests at {alpha:.0e} together")


def check_independence(noise: Sequence[int], epsilon: float, alpha: float) -> None:
    """Raises Misfit unless neighbours in the sequence look independent: signs, and equality, of pairs of samples."""
    law, pairs = DiscreteLaplace(epsilon), list(zip(noise[::2], noise[1::2], strict=False))
    above = law.at_least(1)
    equal = math.tanh(epsilon / 2) ** 2 * (1 + 2 * law.p**2 / (1 - law.p**2))
    tests = [("both above 0", sum(a > 0 and b > 0 for a, b in pairs), above**2)]
    tests.append(("above, then below 0", sum(a > 0 > b for a, b in pairs), above**2))
    tests.append(("equal", sum(a == b for a, b in pairs), equal))
    for what, seen, p in tests:
        value = binomial_p_value(seen, len(pairs), p)
        if value <= alpha / len(tests):
            raise Misfit(f"neighbours {what}: p-value {value:.1e}")


def audited_epsilon(without: Sequence[int], with_row: Sequence[int], alpha: float) -> float:
    """A lower bound of the privacy loss between two neighbours' answers; above the true loss with probability alpha at
    most.

    The event ``answer >= threshold`` is chosen on the first tenth of the samples and judged on the rest.
    """
    tenth = min(len(without), len(with_row)) // 10
    # By its bound, not its estimate: the rarest event would win by luck, and then show little on the rest.
    threshold = max(
        sorted(set(without[:tenth]) | set(with_row[:tenth])),
        key=lambda t: _loss_bound(without[:tenth], with_row[:tenth], t, alpha),
    )
    return _loss_bound(without[tenth:], with_row[tenth:], threshold, alpha)


def _loss_bound(without: Sequence[int], with_row: Sequence[int], threshold: int, alpha: float) -> float:
    hits, false_hits = (sum(v >= threshold for v in sample) for sample in (with_row, without))
    low = clopper_pearson_lower(hits, len(with_row), alpha / 2)
    return math.log(low / clopper_pearson_upper(false_hits, len(without), alpha / 2)) if low > 0 else -math.inf


def check_audit(claimed: float, lower: float, slack: float | None) -> None:
    """Raises Misfit unless ``claimed / slack <= lower <= claimed``. slack None: only the second, where the samples are
    too few to show the first.
    """
    if lower > claimed or (slack is not None and lower < claimed / slack):
        raise Misfit(f"claimed {claimed}, audited {lower:.4f}")
