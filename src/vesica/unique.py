"""Whether all keys of a submission are different, decided at 128 bits, and their sorted first halves.

A sort of the first halves finds every pair that could be equal; only those are looked at again, by what was kept in
the order of the file: second halves, and ``tags``, which are 32 of the 64 bits of the first half. Equal keys always are
found. With n rows, about n**2 / 2**65 pairs agree in the first half by chance (in one of 37 files of a billion rows),
n**2 / 2**129 in the whole key. In n**3 / 2**160 cases two rows agree in the first half, and a third has their tag and
the second half of one: it is taken for equal. For any file that a room takes, that is less likely than the case before
(docs/decisions/0012).

Sorting begins when the whole file is there: one sort on all processors takes less of their time than runs that are
sorted while it arrives, and then merged (docs/decisions/0009).

Memory, per row: 20 bytes until uniqueness is decided, 8 afterwards. First halves go from the order of the file to that
of their values chunk by chunk, so that there are never two of all of them.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vesica.errors import DuplicateRow
from vesica.keys import Words
from vesica.threads import in_threads, thread_count

Halves = NDArray[np.uint64]
Tags = NDArray[np.uint32]

_CHUNK_ROWS: Final = 2**21  # so many that the system fills a chunk in huge pages, so few that one more is no matter
_KEYS_AT_ONCE: Final = 2**17  # looked through at once: it stays in a processor's cache. A chunk is a whole number of it
_SUSPECTS_MAX: Final = 64  # different ones, of so many keys; more are not chance, and one equal pair ends the matter


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
        self._firsts: list[Halves] = []  # chunks, as are the next two
        self._seconds: list[Halves] = []
        self._tags: list[Tags] = []
        self._rows = 0
        self._lines: list[_Lines] = []

    def append(self, words: Words, first_line: int, lines: NDArray[np.int64] | None = None) -> None:
        """The keys, shape (rows, 2), of some rows. first_line, lines: as in ``csvtext.Records``."""
        offsets = None if lines is None else (lines - first_line).astype(np.uint32)
        self._lines.append(_Lines(self._rows, first_line, offsets))
        while len(words):
            at = self._rows % _CHUNK_ROWS
            if at == 0:
                self._firsts.append(np.empty(_CHUNK_ROWS, np.uint64))
                self._seconds.append(np.empty(_CHUNK_ROWS, np.uint64))
                self._tags.append(np.empty(_CHUNK_ROWS, np.uint32))
            piece, words = words[: _CHUNK_ROWS - at], words[_CHUNK_ROWS - at :]
            here = slice(at, at + len(piece))
            self._firsts[-1][here] = piece[:, 0]
            self._seconds[-1][here] = piece[:, 1]
            self._tags[-1][here] = self._firsts[-1][here]  # the lower half of it
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
            self._refuse_equal(np.sort(_tags(repeated)))
        return self._decided(ordered, repeated)

    def _ordered(self) -> Halves:
        """First halves, ascending; their chunks are gone then."""
        chunks, self._firsts = self._firsts, []
        if chunks:
            chunks[-1] = chunks[-1][: (self._rows - 1) % _CHUNK_ROWS + 1]
        return _sorted(chunks)

    def _decided(self, ordered: Halves, repeated: Halves) -> Halves:
        """The same, each once. What led to them goes first."""
        self.clear()
        return _each_once(ordered) if repeated.size else ordered

    def clear(self) -> None:
        """Lets go of everything, array by array: to free gigabytes in one go would hold up every other thread."""
        for arrays in (self._firsts, self._seconds, self._tags, self._lines):
            while arrays:
                arrays.pop()

    def _refuse_equal(self, suspected: Tags) -> None:
        """Compares the rows whose tags are ``suspected``, ascending, in file order."""
        seen: dict[tuple[int, int], int] = {}
        for start in range(0, self._rows, _KEYS_AT_ONCE):
            chunk, at = divmod(start, _CHUNK_ROWS)
            here = slice(at, at + min(_KEYS_AT_ONCE, self._rows - start))
            tags, seconds = self._tags[chunk][here], self._seconds[chunk][here]
            nearest = suspected[np.minimum(np.searchsorted(suspected, tags), suspected.size - 1)]
            for place in np.flatnonzero(nearest == tags).tolist():
                row = start + place
                before = seen.setdefault((int(tags[place]), int(seconds[place])), row)
                if before != row:
                    raise DuplicateRow(
                        f"the key of this row stands on line {self._line(before)} already; each may stand once "
                        '(or agree on duplicates = "drop")',
                        line=self._line(row),
                    )

    def _line(self, row: int) -> int:
        return self._lines[bisect_right(self._lines, row, key=lambda lines: lines.row) - 1].line(row)


def _tags(firsts: Halves) -> Tags:
    return firsts.astype(np.uint32)  # the lower half


def _sorted(chunks: list[Halves]) -> Halves:
    """All keys of some chunks, ascending. Works on all processors, and lets go of the chunks as it goes.

    Keys are uniform, so equal parts of their range hold about equally many; each processor sorts one part.
    """
    parts = thread_count()
    bounds = [np.uint64(2**64 * part // parts) for part in range(1, parts)]
    cuts = in_threads(partial(_parted, bounds=bounds), chunks)
    sizes = np.array([np.diff([0, *cut, chunk.size]) for cut, chunk in zip(cuts, chunks, strict=True)], np.int64)
    # Part after part, and in each chunk after chunk.
    places = np.append(0, np.cumsum(sizes.T)).reshape(-1)
    ordered = np.empty(int(places[-1]), np.uint64)

    def move(number: int) -> None:
        for part, keys in enumerate(np.split(chunks[number], cuts[number])):
            at = places[part * len(chunks) + number]
            ordered[at : at + keys.size] = keys
        chunks[number] = ordered[:0]

    in_threads(move, range(len(chunks)))
    in_threads(np.ndarray.sort, np.split(ordered, places[:: max(len(chunks), 1)][1:-1]))
    return ordered


def _parted(keys: Halves, bounds: Sequence[np.uint64]) -> list[int]:
    """Puts the keys below each bound before the others; where each such part ends. bounds: ascending."""
    if not bounds:
        return []
    middle = len(bounds) // 2
    at = int(np.count_nonzero(keys < bounds[middle]))
    if 0 < at < keys.size:
        keys.partition(at)
    above = _parted(keys[at:], bounds[middle + 1 :])
    return [*_parted(keys[:at], bounds[:middle]), at, *(at + cut for cut in above)]


def _repeated(ordered: Halves) -> Halves:
    """Keys that stand more than once: from each part that has such, at least one."""

    def of_part(start: int) -> Halves:
        part = ordered[start : start + _KEYS_AT_ONCE + 1]  # with the first of the next
        again = part[1:][_repeats(part)]
        return _each_once(again)[:_SUSPECTS_MAX].copy() if again.size else again  # a copy, or the others would stay

    return np.concatenate([ordered[:0], *in_threads(of_part, range(0, ordered.size, _KEYS_AT_ONCE))])


def _each_once(ordered: Halves) -> Halves:
    """The same, without what repeats. Not empty. (``np.unique`` would load a module: too late in a sealed room.)"""
    once: Halves = ordered[np.append(True, ~_repeats(ordered))]
    return once


def _repeats(ordered: Halves) -> NDArray[np.bool_]:
    """For each key but the first, whether it is the one before it."""
    repeats: NDArray[np.bool_] = ordered[1:] == ordered[:-1]
    return repeats
