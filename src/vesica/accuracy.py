"""How far a release may be from the truth: exact bounds of discrete Laplace noise. Plain arithmetic, no data, no
OpenDP.

With scale 1/epsilon and p = exp(-epsilon), P(|X| >= k) = 2 p**k / (1 + p) for k >= 1.
Source: Ghosh, Roughgarden, Sundararajan, "Universally utility-maximizing privacy mechanisms", SIAM J. Comput. 2012.
"""

import math
from typing import Final

from vesica.limits import NANO

ALPHAS: Final = (0.5, 0.05, 0.01)  # 50 %, 95 % and 99 % bounds
ALPHA: Final = 0.05  # the one bound that a release carries


def tail(epsilon_nano: int, k: int) -> float:
    """P(|noise| >= k) of a release at this epsilon. k: whole number, in rows."""
    if k <= 0:
        return 1.0
    epsilon = epsilon_nano / NANO
    return 2 * math.exp(-epsilon * k) / (1 + math.exp(-epsilon))


def probability(epsilon_nano: int, k: int) -> float:
    """P(noise = k) of a release at this epsilon. k: whole number, in rows."""
    epsilon = epsilon_nano / NANO
    return math.tanh(epsilon / 2) * math.exp(-epsilon * abs(k))


def bound(epsilon_nano: int, alpha: float) -> int:
    """Smallest whole b with P(|noise| > b) <= alpha. alpha: in (0, 1). In rows."""
    epsilon = epsilon_nano / NANO
    guess = math.log(2 / (alpha * (1 + math.exp(-epsilon)))) / epsilon - 1
    b = max(0, math.ceil(guess))
    while b > 0 and tail(epsilon_nano, b) <= alpha:  # the logarithm may round to either side
        b -= 1
    while tail(epsilon_nano, b + 1) > alpha:
        b += 1
    return b


def epsilon_for_bound(b: int, alpha: float, ceiling_nano: int) -> int | None:
    """Smallest nano-epsilon whose bound at alpha is at most b rows; None if not even ``ceiling_nano`` reaches it."""
    if bound(ceiling_nano, alpha) > b:
        return None
    low, high = 0, ceiling_nano
    while high - low > 1:
        middle = (low + high) // 2
        if bound(middle, alpha) <= b:
            high = middle
        else:
            low = middle
    return high
