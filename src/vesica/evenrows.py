"""Blocks of rows of one width, as a list of ids of one kind is: there is little to look for in them.

All rows of such a block have one value without quotes, and equally many bytes. Whatever is not so, or not as it should
be, is left to ``csvtext``, which knows what to say about it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LF = 10
_PLAIN = 45  # "-": from here on ASCII has no control character, no quote and no comma
_COUNTED = 255  # what a byte counts to


@dataclass(frozen=True)
class EvenRows:
    """``count`` rows, each of ``length`` bytes and a line feed, from the first byte on."""

    count: int
    length: int

    @property
    def used(self) -> int:
        """How many bytes of the block they take."""
        return self.count * (self.length + 1)


def even_rows(text: NDArray[np.uint8], longest: int) -> EvenRows | None:
    """The complete rows of a block that begins with a row, if they are even and made of plain characters; else None.

    longest: of a value, in bytes. What the rows leave of the block is less than a row. Where this is not None,
    ``csvtext.split_records`` with one column and ``final=False`` finds the same rows, and nothing to refuse.
    """
    first = np.flatnonzero(text[: longest + 1] == _LF)[:1]
    if not first.any():  # no row is complete, or the first is empty
        return None
    length = int(first[0])
    step = length + 1
    count = text.size // step
    if not (text[length::step] == _LF).all() or _count(text.view(np.int8) < _PLAIN) != count:
        return None
    return EvenRows(count, length)


def _count(mask: NDArray[np.bool_]) -> int:
    """``np.count_nonzero``, several times faster: 255 are added in bytes at once, and the sums then."""
    lanes = mask.size // _COUNTED
    ones = mask.view(np.uint8)
    sums = np.add.reduce(ones[: lanes * _COUNTED].reshape(_COUNTED, lanes), axis=0, dtype=np.uint8)
    return int(sums.sum(dtype=np.int64)) + int(np.count_nonzero(ones[lanes * _COUNTED :]))
