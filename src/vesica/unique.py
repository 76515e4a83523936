"""Whether all keys of a submission are different, decided at 128 bits, and their sorted first halves.

A sort of the first 64 bits finds every pair that could be equal; only those are compared whole. With n different ids
about n**2 / 2**65 pairs agree in 64 bits by chance (in one of 37 files of a billion rows), and n**2 / 2**129 in 128.

Memory, per row: 16 bytes in the order of the file and 8 sorted; once uniqueness is decided 8 and, for a moment, 8 more.
"""

from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vesica.csvtext import Records
from vesica.errors import DuplicateRow
from vesica.keys import Words
from vesica.threads import in_threads, thread_count

Halves = NDArray[np.uint64]

_CHUNK_ROWS: Final = 2**24  # arrays of 128 MiB; the system fills them with memory as they fill with keys
_SORTED_ALONE_MAX: Final = 2**18  # keys that are sorted before a second thread would have begun
_SUSPECTS_MAX: Final = 4096  # of one part; so many are not chance, and the first equal pair ends the matter
_KEYS_AT_ONCE: Final = 2**17  # what is merged at once: it stays in a processor's cache


@dataclass(frozen=True)
class _Lines:
    """Where rows stand in the file, from ``row`` on. lines: added to ``first``; None: rows and lines go together."""

    row: int
    first: int
    lines: NDArray[np.uint32] | None

    def line(self, row: int) -> int:
        return self.first + (row - self.row if self.lines is None else int(self.lines[row - self.row]))


class KeyLog:
    """Keys in the order of the file, until their uniqueness is decided; then it is empty.

    Each full chunk is also sorted, by a thread of its own while the file still arrives, so that at the end of a large
    file runs are left to merge.
    """

    def __init__(self) -> None:
        self._first: list[Halves] = []
        self._second: list[Halves] = []
        self._rows = 0
        self._lines: list[_Lines] = []
        self._sorter = ThreadPoolExecutor(1, "vesica-sorting")
        self._runs: list[Future[_Run]] = []

    def append(self, words: Words, records: Records) -> None:
        """The keys, shape (rows, 2), of some rows."""
        lines = None if records.lines is None else (records.lines - records.first_line).astype(np.uint32)
        self._lines.append(_Lines(self._rows, records.first_line, lines))
        while len(words):
            at = self._rows % _CHUNK_ROWS
            if at == 0:
                self._first.append(np.empty(_CHUNK_ROWS, np.uint64))
                self._second.append(np.empty(_CHUNK_ROWS, np.uint64))
            piece, words = words[: _CHUNK_ROWS - at], words[_CHUNK_ROWS - at :]
            self._first[-1][at : at + len(piece)] = piece[:, 0]
            self._second[-1][at : at + len(piece)] = piece[:, 1]
            self._rows += len(piece)
            if self._rows % _CHUNK_ROWS == 0:
                self._runs.append(self._sorter.submit(lambda keys: _Run.of(np.sort(keys)), self._first[-1]))

    def distinct(self) -> Halves:
        """First halves, ascending, each once, whatever repeats."""
        return self._decided(lambda _: None)

    def all_different(self) -> Halves:
        """First halves, ascending, each once.

        Raises DuplicateRow with the lines of two rows whose whole keys are equal.
        """
        return self._decided(self._refuse_equal)

    def _decided(self, decide: Callable[[Halves], None]) -> Halves:
        """First halves, ascending, each once. decide: is asked about those that stand more than once, if any."""
        last = self._first[-1][: self._rows % _CHUNK_ROWS] if self._first else np.empty(0, np.uint64)
        runs = [*(run.result() for run in self._runs), _Run.of(_sorted_by_all(last))]
        self._sorter.shutdown(wait=False)
        within = np.concatenate([run.repeated for run in runs])
        if within.size:
            decide(within)
        merging = _Merging([run.keys for run in runs])
        across = merging.merge()
        if across.size:
            decide(across)
        del runs
        self.clear()
        ordered = merging.joined()
        return _Run.of(ordered).keys if across.size else ordered

    def clear(self) -> None:
        """Lets go of everything, array by array: to free gigabytes in one go would hold up every other thread."""
        for arrays in (self._first, self._second, self._runs, self._lines):
            while arrays:
                arrays.pop()

    def _refuse_equal(self, suspects: Halves) -> None:
        """Compares the rows whose first halves are among ``suspects`` in file order, whole."""
        seen: dict[tuple[int, int], int] = {}
        for start, first, second in zip(range(0, self._rows, _CHUNK_ROWS), self._first, self._second, strict=True):
            for at in np.flatnonzero(np.isin(first[: self._rows - start], suspects)).tolist():
                row = start + at
                before = seen.setdefault((int(first[at]), int(second[at])), row)
                if before != row:
                    raise DuplicateRow(
                        f"the key of this row stands on line {self._line(before)} already; each may stand once "
                        '(or agree on duplicates = "drop")',
                        line=self._line(row),
                    )

    def _line(self, row: int) -> int:
        return self._lines[bisect_right(self._lines, row, key=lambda lines: lines.row) - 1].line(row)


def _sorted_by_all(keys: Halves) -> Halves:
    """The keys in ascending order, sorted on all processors: each sorts what belongs into its part."""
    ordered = keys.copy()
    cuts = [keys.size * part // thread_count() for part in range(1, thread_count())]
    if keys.size <= _SORTED_ALONE_MAX or not cuts:
        ordered.sort()
        return ordered
    ordered.partition(cuts)
    in_threads(np.ndarray.sort, np.split(ordered, cuts))
    return ordered


@dataclass(frozen=True)
class _Run:
    """Sorted keys, each once; and keys that stood more than once, some of them if there are many."""

    keys: Halves
    repeated: Halves

    @classmethod
    def of(cls, ordered: Halves) -> "_Run":
        windows = range(0, ordered.size, _KEYS_AT_ONCE)
        if not any(_repeats(ordered[start : start + _KEYS_AT_ONCE + 1]).any() for start in windows):
            return cls(ordered, ordered[:0])
        same = _repeats(ordered)
        return cls(ordered[np.append(True, ~same)], ordered[1:][same][:_SUSPECTS_MAX])


def _repeats(ordered: Halves) -> NDArray[np.bool_]:
    """For each key but the first, whether it is the one before it."""
    repeats: NDArray[np.bool_] = ordered[1:] == ordered[:-1]
    return repeats


class _Merging:
    """Runs on their way to one. Keys are uniform, so equal parts of their range hold about equally many (no run has a
    key twice): what all runs hold of a part is merged in a processor's cache, and written back to where it stood.
    """

    def __init__(self, runs: list[Halves]) -> None:
        self._runs = runs
        self._size = sum(run.size for run in runs)
        bits = (self._size // _KEYS_AT_ONCE).bit_length()
        cuts = np.arange(1, 2**bits, dtype=np.uint64) << np.uint64(64 - bits)
        self._parts = range(2**bits)
        self._edges = [np.concatenate(([0], np.searchsorted(run, cuts), [run.size])).tolist() for run in runs]

    def _part(self, number: int) -> list[Halves]:
        return [run[edge[number] : edge[number + 1]] for run, edge in zip(self._runs, self._edges, strict=True)]

    def merge(self) -> Halves:
        """Sorts all parts. Returns keys that stand more than once: from each part that has such, at least one."""
        if len(self._runs) == 1:
            return self._runs[0][:0]
        return np.concatenate(in_threads(self._merge_part, self._parts))

    def _merge_part(self, number: int) -> Halves:
        pieces = self._part(number)
        merged = np.concatenate(pieces)
        merged.sort()
        at = 0
        for piece in pieces:
            piece[:] = merged[at : at + piece.size]
            at += piece.size
        repeated: Halves = merged[1:][_repeats(merged)][:_SUSPECTS_MAX]
        return repeated

    def joined(self) -> Halves:
        """All keys, ascending, once they are merged."""
        if len(self._runs) == 1:
            return self._runs[0]
        joined = np.empty(self._size, np.uint64)
        starts = np.cumsum([0, *(sum(edge[n + 1] - edge[n] for edge in self._edges) for n in self._parts)]).tolist()

        def copy(number: int) -> None:
            np.concatenate(self._part(number), out=joined[starts[number] : starts[number + 1]])

        in_threads(copy, self._parts)
        return joined
