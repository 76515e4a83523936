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
from vesica.threads import in_threads

Halves = NDArray[np.uint64]

_CHUNK_ROWS: Final = 2**24  # arrays of 128 and 256 MiB; the system fills them with memory as they fill with keys
_RUN_ROWS: Final = 2**20  # what is sorted at once: some milliseconds of a thread, beside the others
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

    They are also sorted, a run at a time, by a thread of its own while the file still arrives, so that at its end runs
    are left to merge.
    """

    def __init__(self) -> None:
        self._words: list[Words] = []
        self._sorted: list[Halves] = []
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
                self._words.append(np.empty((_CHUNK_ROWS, 2), np.uint64))
                self._sorted.append(np.empty(_CHUNK_ROWS, np.uint64))
            room = _RUN_ROWS - at % _RUN_ROWS
            piece, words = words[:room], words[room:]
            self._words[-1][at : at + len(piece)] = piece
            self._rows += len(piece)
            if len(piece) == room:
                self._sort(slice(at + room - _RUN_ROWS, at + room))

    def _sort(self, run: slice) -> None:
        """Has some rows of the newest chunk sorted."""
        self._runs.append(self._sorter.submit(_sorted_run, self._words[-1][run, 0], self._sorted[-1][run]))

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
        if not self._rows:
            return np.empty(0, np.uint64)
        left = self._rows % _RUN_ROWS
        if left:
            end = self._rows % _CHUNK_ROWS
            self._sort(slice(end - left, end))
        runs = [run.result() for run in self._runs]
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
        for arrays in (self._words, self._sorted, self._runs, self._lines):
            while arrays:
                arrays.pop()

    def _refuse_equal(self, suspects: Halves) -> None:
        """Compares the rows whose first halves are among ``suspects`` in file order, whole."""
        seen: dict[tuple[int, int], int] = {}
        for start, words in zip(range(0, self._rows, _CHUNK_ROWS), self._words, strict=True):
            for at in np.flatnonzero(np.isin(words[: self._rows - start, 0], suspects)).tolist():
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


def _sorted_run(keys: Halves, place: Halves) -> _Run:
    """The keys, sorted in that place."""
    place[:] = keys
    place.sort()
    run = _Run.of(place)
    if run.keys.size == place.size:
        return run
    place[: run.keys.size] = run.keys
    return _Run(place[: run.keys.size], run.repeated)


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
        bits = (sum(run.size for run in runs) // _KEYS_AT_ONCE).bit_length()
        cuts = np.arange(1, 2**bits, dtype=np.uint64) << np.uint64(64 - bits)
        self._parts = range(2**bits)
        # Row n: where part n begins in each run; the last row: where the runs end.
        self._edges = np.zeros((2**bits + 1, len(runs)), np.int64)
        for number, run in enumerate(runs):
            self._edges[1:-1, number] = np.searchsorted(run, cuts)
            self._edges[-1, number] = run.size

    def _part(self, number: int) -> list[Halves]:
        begins, ends = self._edges[number : number + 2].tolist()
        return [run[begin:end] for run, begin, end in zip(self._runs, begins, ends, strict=True)]

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
        starts = self._edges.sum(axis=1).tolist()
        joined = np.empty(starts[-1], np.uint64)

        def copy(number: int) -> None:
            np.concatenate(self._part(number), out=joined[starts[number] : starts[number + 1]])

        in_threads(copy, self._parts)
        return joined
