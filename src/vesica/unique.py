"""Whether all keys of a submission are different, decided at 128 bits, and their sorted first halves.

A sort of the first 64 bits finds every pair that could be equal; only those are compared whole. With n different ids
about n**2 / 2**65 pairs agree in 64 bits by chance (in one of 37 files of a billion rows), and n**2 / 2**129 in 128.

Sorting begins when the whole file is there: one sort on all processors takes less of their time than runs that are
sorted while it arrives, and then merged (docs/decisions/0009).

Memory, per row: 16 bytes in the order of the file; while uniqueness is decided, 8 more, which are what stays.
"""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vesica.errors import DuplicateRow
from vesica.keys import Words
from vesica.threads import in_threads, thread_count

Halves = NDArray[np.uint64]

_CHUNK_ROWS: Final = 2**24  # an array of 256 MiB; the system fills it with memory as it fills with keys
_PIECE_ROWS: Final = 2**20  # worked on at once; so many that two threads seldom share a new huge page of 2 MiB
_KEYS_AT_ONCE: Final = 2**17  # what is looked through at once: it stays in a processor's cache
_SUSPECTS_MAX: Final = 4096  # of one part; so many are not chance, and the first equal pair ends the matter


@dataclass(frozen=True)
class _Lines:
    """Where rows stand in the file, from ``row`` on. lines: added to ``first``; None: rows and lines go together."""

    row: int
    first: int
    lines: NDArray[np.uint32] | None

    def line(self, row: int) -> int:
        return self.first + (row - self.row if self.lines is None else int(self.lines[row - self.row]))


class KeyLog:
    """Keys in the order of the file, until their uniqueness is decided; then it is empty."""

    def __init__(self) -> None:
        self._words: list[Words] = []
        self._rows = 0
        self._lines: list[_Lines] = []

    def append(self, words: Words, first_line: int, lines: NDArray[np.int64] | None = None) -> None:
        """The keys, shape (rows, 2), of some rows. first_line, lines: as in ``csvtext.Records``."""
        offsets = None if lines is None else (lines - first_line).astype(np.uint32)
        self._lines.append(_Lines(self._rows, first_line, offsets))
        while len(words):
            at = self._rows % _CHUNK_ROWS
            if at == 0:
                self._words.append(np.empty((_CHUNK_ROWS, 2), np.uint64))
            piece, words = words[: _CHUNK_ROWS - at], words[_CHUNK_ROWS - at :]
            self._words[-1][at : at + len(piece)] = piece
            self._rows += len(piece)

    def distinct(self) -> Halves:
        """First halves, ascending, each once, whatever repeats."""
        ordered = self._ordered()
        repeated = _repeated(ordered)
        return self._decided(ordered, repeated)

    def all_different(self) -> Halves:
        """First halves, ascending, each once.

        Raises DuplicateRow with the lines of two rows whose whole keys are equal.
        """
        ordered = self._ordered()
        repeated = _repeated(ordered)
        if repeated.size:
            self._refuse_equal(repeated)
        return self._decided(ordered, repeated)

    def _ordered(self) -> Halves:
        """First halves, ascending."""
        ordered = np.empty(self._rows, np.uint64)

        def copy(start: int) -> None:
            words = self._piece(start)
            ordered[start : start + len(words)] = words[:, 0]

        in_threads(copy, self._pieces())
        _sort(ordered)
        return ordered

    def _pieces(self) -> range:
        """The row that each piece begins with."""
        return range(0, self._rows, _PIECE_ROWS)

    def _piece(self, start: int) -> Words:
        """The keys of one piece; a chunk is a whole number of them."""
        chunk, at = divmod(start, _CHUNK_ROWS)
        return self._words[chunk][at : at + min(_PIECE_ROWS, self._rows - start)]

    def _decided(self, ordered: Halves, repeated: Halves) -> Halves:
        """The same, each once. What led to them goes first."""
        self.clear()
        return ordered[np.append(True, ~_repeats(ordered))] if repeated.size else ordered

    def clear(self) -> None:
        """Lets go of everything, array by array: to free gigabytes in one go would hold up every other thread."""
        for arrays in (self._words, self._lines):
            while arrays:
                arrays.pop()

    def _refuse_equal(self, suspects: Halves) -> None:
        """Compares the rows whose first halves are among ``suspects`` in file order, whole."""
        seen: dict[tuple[int, int], int] = {}
        for start in self._pieces():
            words = self._piece(start)
            for at in np.flatnonzero(np.isin(words[:, 0], suspects)).tolist():
                row = start + at
                first, second = words[at].tolist()
                before = seen.setdefault((first, second), row)
                if before != row:
                    raise DuplicateRow(
                        f"the key of this row stands on line {self._line(before)} already; each may stand once "
                        '(or agree on duplicates = "drop")',
                        line=self._line(row),
                    )

    def _line(self, row: int) -> int:
        return self._lines[bisect_right(self._lines, row, key=lambda lines: lines.row) - 1].line(row)


def _sort(keys: Halves) -> None:
    """Sorts in place, on all processors: they part the keys into lower and higher ones until there is one part each."""
    parts = [keys]
    while len(parts) < thread_count() and parts[0].size > _KEYS_AT_ONCE:
        in_threads(_part, parts)
        parts = [half for part in parts for half in np.split(part, [part.size // 2])]
    in_threads(np.ndarray.sort, parts)


def _part(keys: Halves) -> None:
    """Puts the lower half of some keys before the higher one."""
    keys.partition(keys.size // 2)


def _repeated(ordered: Halves) -> Halves:
    """Keys that stand more than once: from each part that has such, at least one."""

    def of_part(start: int) -> Halves:
        part = ordered[start : start + _KEYS_AT_ONCE + 1]  # with the first of the next
        return part[1:][_repeats(part)][:_SUSPECTS_MAX].copy()  # or the others would stay, too

    return np.concatenate([ordered[:0], *in_threads(of_part, range(0, ordered.size, _KEYS_AT_ONCE))])


def _repeats(ordered: Halves) -> NDArray[np.bool_]:
    """For each key but the first, whether it is the one before it."""
    repeats: NDArray[np.bool_] = ordered[1:] == ordered[:-1]
    return repeats
