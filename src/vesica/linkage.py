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
from vesica.threads import in_threads, thread_count

SortedKeys = NDArray[np.uint64]
_KEYS_AT_ONCE: Final = 2**17  # of all parties together: the working set stays in a processor's cache
_TAG_BITS: Final = 4  # in place of which bits of a key the number of its party stands


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

    columns: per party, its keys, uint64, ascending, none twice. Linear in their sum; memory beside the keys: about 10
    MB a thread.
    """
    if not 1 <= len(columns) <= PARTIES_MAX:
        raise ValueError(f"{len(columns)} parties")
    # The range of keys is cut in 2**bits equal parts. Keys are uniform, so the parts hold about equally many; and all
    # keys of a part begin with the same bits, which can then be replaced.
    total = sum(column.size for column in columns)
    bits = max(_TAG_BITS, (total // _KEYS_AT_ONCE).bit_length())
    cuts = np.arange(1, 2**bits, dtype=np.uint64) << np.uint64(64 - bits)
    edges = [np.concatenate(([0], np.searchsorted(column, cuts), [column.size])) for column in columns]

    def within(parts: range) -> NDArray[np.int64]:
        cells = np.zeros(2 ** len(columns), np.int64)
        for part in parts:
            pieces = [column[edge[part] : edge[part + 1]] for column, edge in zip(columns, edges, strict=True)]
            cells += _venn_of_piece(pieces, cells.size)
        return cells

    threads = thread_count() if bits > _TAG_BITS else 1
    shares = [range(first, 2**bits, threads) for first in range(threads)]
    cells = np.sum(in_threads(within, shares), axis=0)
    return Venn(len(columns), tuple(int(n) for n in cells))


def _venn_of_piece(pieces: Sequence[SortedKeys], cells: int) -> NDArray[np.int64]:
    """Counts the cells of keys that all begin with the same ``_TAG_BITS`` bits."""
    if len(pieces) == 2:  # noqa: PLR2004 (most rooms: who holds a key needs no telling apart)
        merged = np.concatenate(pieces)
        merged.sort(kind="stable")  # a merge of runs that are sorted already: linear
        both = np.count_nonzero(merged[1:] == merged[:-1])
        return np.array([0, pieces[0].size - both, pieces[1].size - both, both], np.int64)
    tagged = np.concatenate([(piece << np.uint64(_TAG_BITS)) | np.uint64(bit) for bit, piece in enumerate(pieces)])
    if not tagged.size:
        return np.zeros(cells, np.int64)
    tagged.sort(kind="stable")
    keys = tagged >> np.uint64(_TAG_BITS)
    first = np.append(0, np.flatnonzero(keys[1:] != keys[:-1]) + 1)  # of each run of the same key
    masks = np.bitwise_or.reduceat(np.uint64(1) << (tagged & np.uint64(2**_TAG_BITS - 1)), first)
    counts: NDArray[np.int64] = np.bincount(masks.view(np.int64), minlength=cells)
    return counts
