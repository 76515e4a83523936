"""A statistic becomes an OpenDP measurement, with its privacy loss. The only module that imports ``opendp``.

The measurement is discrete Laplace on an integer, from OpenDP's exact rational sampler: no floating-point noise.
OpenDP before 0.16 had a biased sampler (its issue 2638); ``pyproject.toml`` keeps it out.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, cast

from vesica.limits import EPSILON_LIMIT_NANO_MAX, EPSILON_RELEASE_NANO_MIN, NANO

# OpenDP sets this to 1 when it is imported, and then every error it raises costs 180 ms of stack walking.
os.environ.setdefault("RUST_BACKTRACE", "0")

from opendp.domains import atom_domain
from opendp.measurements import make_laplace
from opendp.metrics import absolute_distance
from opendp.mod import enable_features

enable_features("contrib")

MECHANISM: Final = "discrete_laplace"
UNIT: Final = "one row of one party's submission"
D_IN: Final = 1  # most that one row, added or removed, moves a cardinality (unique ids)


@dataclass(frozen=True)
class Measurement:
    """A counting measurement.

    scale: of the noise, in rows. d_out_nano: privacy loss for ``d_in = 1``, nano-epsilon, rounded up. draw: adds noise.
    """

    scale: float
    d_out_nano: int
    draw: Callable[[int], int]


@lru_cache(maxsize=64)
def counting(epsilon_nano: int) -> Measurement:
    """The measurement of a count at this epsilon: noise of scale 1/epsilon, and never a privacy loss above epsilon.

    ValueError outside ``limits``: the caller has checked before.
    """
    if not EPSILON_RELEASE_NANO_MIN <= epsilon_nano <= EPSILON_LIMIT_NANO_MAX:
        raise ValueError("epsilon outside limits")
    promised = Fraction(epsilon_nano, NANO)
    scale = float(1 / promised)
    while _loss(scale) > promised:  # floats round: nudge until the promise holds in exact arithmetic
        scale = math.nextafter(scale, math.inf)
    draw = cast("Callable[[int], int]", _laplace(scale))
    return Measurement(scale, math.ceil(_loss(scale) * NANO), draw)


def _laplace(scale: float) -> Any:  # noqa: ANN401 (OpenDP's own types are not annotated)
    if not scale > 0:
        raise ValueError("OpenDP would release the truth with a scale of zero")
    return make_laplace(atom_domain(T="i64"), absolute_distance(T="i64"), scale)


def _loss(scale: float) -> Fraction:
    """The privacy loss that OpenDP's ``map`` gives for one row, exactly as the float that it is."""
    return Fraction(_laplace(scale).map(D_IN))
