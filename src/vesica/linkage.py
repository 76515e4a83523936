"""Which keys of several parties are the same: every cell of the Venn diagram, in one pass over sorted keys.

This is the one seam for a linkage engine: ``venn`` is a function of the parties' key columns and nothing else. Keys
are the first 64 bits of 128, so two different ids of two parties are taken for one with probability 2**-64:
|A|*|B|/2**64 false links are expected, one in 1,800 rooms of 100 million by 100 million.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

import numpy as np
from numpy.typing import NDArray

from vesica.limits import PARTIES_MAX
from vesica.terms import Statistic

SortedKeys = NDArray[np.uint64]
_KEYS_AT_ONCE: Final = 2**19  # of all parties together: the working set stays in a processor's cache


@dataclass(frozen=True)
class Venn:
    """How many keys lie in each cell. ``cells[mask]``: keys held by exactly the parties whose bit is set in ``mask``.

    True counts are data: they stay in here and leave through ``release`` alone. So nothing of this is printed.
    """

    parties: int
    cells: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Venn(parties={self.parties})"

    def count(self, statistic: Statistic, members: int) -> int:
        """The true value of a statistic over the parties whose bits are set in ``members``. Moves by at most 1 with a
        row.
        """
        match statistic:
            case Statistic.INTERSECTION_CARDINALITY:
                return sum(n for mask, n in enumerate(self.cells) if mask & members == members)
            case Statistic.UNION_CARDINALITY:
                return sum(n for mask, n in enumerate(self.cells) if mask & members)
            case _:
                assert_never(statistic)


def venn(columns: Sequence[SortedKeys]) -> Venn:
    """Counts every cell.

    columns: per party, its keys, uint64, ascending, none twice. Linear in their sum; memory beside the keys: about 20
    MB.
    """
    if not 1 <= len(columns) <= PARTIES_MAX:
        raise ValueError(f"{len(columns)} parties")
    cells = np.zeros(2 ** len(columns), np.int64)
    total = sum(column.size for column in columns)
    parts = max(1, -(-total // _KEYS_AT_ONCE))
    # Keys are uniform over 64 bits, so equal parts of their range hold about equally many.
    cuts = [np.uint64(i * 2**64 // parts) for i in range(1, parts)]
    edges = [np.concatenate(([0], np.searchsorted(column, cuts), [column.size])) for column in columns]
    for part in range(parts):
        pieces = [column[edge[part] : edge[part + 1]] for column, edge in zip(columns, edges, strict=True)]
        cells += _venn_of_piece(pieces, cells.size)
    return Venn(len(columns), tuple(int(n) for n in cells))


def _venn_of_piece(pieces: Sequence[SortedKeys], cells: int) -> NDArray[np.int64]:
    merged = np.concatenate(pieces)
    merged.sort(kind="stable")  # a merge of runs that are sorted already: linear
    first = np.ones(merged.size, np.bool_)
    np.not_equal(merged[1:], merged[:-1], out=first[1:])
    distinct = merged[first]
    masks = np.zeros(distinct.size, np.intp)
    for bit, piece in enumerate(pieces):
        masks[np.searchsorted(distinct, piece)] |= 1 << bit
    counts: NDArray[np.int64] = np.bincount(masks, minlength=cells)
    return counts
