"""Whether all keys of a submission are different, decided at 128 bits, and their sorted first halves.

A sort of the first 64 bits finds every pair that could be equal; only those are compared whole. With n different ids
about n**2 / 2**65 pairs agree in 64 bits by chance (in one of 37 files of a billion rows), and n**2 / 2**129 in 128.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vesica.csvtext import Records
from vesica.errors import DuplicateRow
from vesica.keys import Words

_SUSPECTS_AT_ONCE: Final = 4096


@dataclass(frozen=True)
class _Block:
    """The keys of the rows of one block. lines: per row, added to ``first_line``; None: rows and lines go together."""

    first: NDArray[np.uint64]
    second: NDArray[np.uint64]
    first_line: int
    lines: NDArray[np.uint32] | None

    def line(self, row: int) -> int:
        return self.first_line + (row if self.lines is None else int(self.lines[row]))


class KeyLog:
    """Keys in the order of the file, until their uniqueness is decided; then it is empty."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []

    def append(self, words: Words, records: Records) -> None:
        """The keys, shape (rows, 2), of some rows."""
        lines = None if records.lines is None else (records.lines - records.first_line).astype(np.uint32)
        self._blocks.append(_Block(words[:, 0].copy(), words[:, 1].copy(), records.first_line, lines))

    def distinct(self) -> NDArray[np.uint64]:
        """First halves, ascending, each once, whatever repeats."""
        ordered = self._sorted()
        self._blocks.clear()
        return _each_once(ordered)

    def all_different(self) -> NDArray[np.uint64]:
        """First halves, ascending, each once.

        Raises DuplicateRow with the lines of two rows whose whole keys are equal.
        """
        ordered = self._sorted()
        suspects = ordered[1:][ordered[1:] == ordered[:-1]]
        for i in range(0, suspects.size, _SUSPECTS_AT_ONCE):
            self._refuse_equal(suspects[i : i + _SUSPECTS_AT_ONCE])
        self._blocks.clear()
        return _each_once(ordered) if suspects.size else ordered

    def _sorted(self) -> NDArray[np.uint64]:
        ordered = np.empty(sum(block.first.size for block in self._blocks), np.uint64)
        at = 0
        for block in self._blocks:
            ordered[at : at + block.first.size] = block.first
            at += block.first.size
        ordered.sort()
        return ordered

    def _refuse_equal(self, suspects: NDArray[np.uint64]) -> None:
        """Compares the rows whose first halves are among ``suspects`` in file order, whole."""
        seen: dict[tuple[int, int], int] = {}
        for block in self._blocks:
            for row in np.flatnonzero(np.isin(block.first, suspects)).tolist():
                key = (int(block.first[row]), int(block.second[row]))
                line = block.line(row)
                before = seen.setdefault(key, line)
                if before != line:
                    raise DuplicateRow(
                        f"the key of this row stands on line {before} already; each may stand once "
                        '(or agree on duplicates = "drop")',
                        line=line,
                    )


def _each_once(ordered: NDArray[np.uint64]) -> NDArray[np.uint64]:
    keep = np.ones(ordered.size, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=keep[1:])
    return ordered if keep.all() else ordered[keep]
