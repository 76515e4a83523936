"""Epsilon, exactly: integers of nano-epsilon inside, decimals outside, floating point nowhere.

Ten releases of 0.1 fit in a limit of 1.0; with floats the tenth would not.
"""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from vesica.errors import EpsilonInvalid
from vesica.limits import EPSILON_TEXT_CHARACTERS_MAX, NANO

_DECIMAL: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?", re.ASCII)
_WANTED: Final = 'write it as a decimal such as "0.5", above 0, with at most 9 digits after the point'


def parse_epsilon(value: object) -> int:
    """Nano-epsilon of a decimal string, an int or a Decimal (a JSON number read with ``parse_float=Decimal``).

    A float is refused: what it was before it was rounded is not known any more.

    Raises EpsilonInvalid when the value is not an exact positive multiple of 1e-9.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise EpsilonInvalid(f"epsilon is not a decimal: {_WANTED}")
    if isinstance(value, int) and abs(value) > NANO:
        raise EpsilonInvalid(f"epsilon is far too large: {_WANTED}")
    text = str(value)
    if len(text) > EPSILON_TEXT_CHARACTERS_MAX or _DECIMAL.fullmatch(text) is None:
        raise EpsilonInvalid(f"epsilon is not a positive decimal: {_WANTED}")
    nano = Fraction(text) * NANO  # exact at any length; Decimal arithmetic would round to 28 digits
    if nano.denominator != 1:
        raise EpsilonInvalid(f"epsilon is finer than 0.000000001: {_WANTED}")
    if nano <= 0:
        raise EpsilonInvalid(f"epsilon is zero: {_WANTED}")
    return int(nano)


def format_epsilon(nano: int) -> str:
    """The shortest decimal of an amount of nano-epsilon: ``500_000_000`` is ``"0.5"``, ``NANO`` is ``"1"``."""
    whole, rest = divmod(nano, NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
