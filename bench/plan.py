"""What is measured at which size, how often, and in which order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import Final

from bench.data import Ids

ROOT: Final = Path(__file__).parent.parent  # where processes run, so that they find this package
SIZES: Final = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
REPETITIONS: Final = 5
REPETITIONS_OF_SHORT: Final = 15  # in half a second chance is as large as what is looked for
REPETITIONS_OF_LONG: Final = 3
LONG_SECONDS: Final = 60.0
MILLION: Final = 10**6


@unique
class Kind(StrEnum):
    """What a measurement is about."""

    WAY = "way"  # from bytes in memory, in a process of its own (bench.ways)
    DOOR = "door"  # one submission over TLS (bench.door)
    STORY = "story"  # two submissions and a release over TLS
    LOAD = "load"  # bench.load
    DISK = "disk"  # tests/http/test_disk.py under strace


@dataclass(frozen=True)
class Step:
    """One thing that is measured, some times over."""

    kind: Kind
    name: str
    rows: int
    ids: Ids
    repetitions: int | None = None  # None: five, or three where one takes long
    short: bool = False  # fifteen in place of five


Sizes = tuple[int, int]  # the smallest and the largest at which it is measured, in rows a party
_BESIDE_DOOR: Final = ("vesica-key", "vesica-intake")  # what the front door is compared with
_SHORT_ROWS: Final = 10**7
_SMALL: Final = (10**4, 10**5)
_PLAIN: Final[dict[str, Sizes]] = {
    "vesica": (10**4, 10**8),
    "polars-hash": (MILLION, 10**8),
    "duckdb": (MILLION, 10**7),
    "polars-join": (MILLION, 10**7),
    "sample": (MILLION, 10**7),
    "openmined-psi": _SMALL,
    "limit-read": (10**7, 10**7),
    "limit-newlines": (10**7, 10**7),
    "limit-aes": (10**7, 10**7),
    "limit-sort": (10**7, 10**7),
    "limit-merge": (10**7, 10**7),
    "vesica-intake": (MILLION, 10**8),
    "vesica-key": (MILLION, 10**8),
}
_EMAIL: Final[dict[str, Sizes]] = {
    "vesica": (MILLION, 10**7),
    "polars-hash": (MILLION, 10**7),
    "duckdb": (MILLION, 10**7),
    "polars-join": (MILLION, 10**7),
    "sample": (MILLION, MILLION),
}
_ONCE_WHEN_FULL: Final = ("duckdb", "polars-join", "sample")  # at 100 M rows too, where memory allows
DOOR: Final = ("stock", "discard", "raw", "multipart", "sealed")


def steps(sizes: Sequence[int], only: Sequence[str] = (), *, full: bool = False) -> list[list[Step]]:
    """Groups of steps, one a size and kind of ids; those of a group take turns.

    only: names of steps or kinds; empty: all. full: what takes long, too.
    """
    groups = [list(_group(rows, ids, full=full)) for rows in sorted(sizes) for ids in Ids]
    groups.append(list(_extras(max(sizes))))
    wanted = [[step for step in group if not only or step.name in only or step.kind.value in only] for group in groups]
    return [group for group in wanted if group]


def _group(rows: int, ids: Ids, *, full: bool) -> Iterator[Step]:
    for name, (least, most) in (_PLAIN if ids is Ids.PLAIN else _EMAIL).items():
        if least <= rows <= most:
            yield Step(Kind.WAY, name, rows, ids, short=name in _BESIDE_DOOR and rows <= _SHORT_ROWS)
        elif full and name in _ONCE_WHEN_FULL and ids is Ids.PLAIN and rows > most:
            yield Step(Kind.WAY, name, rows, ids, repetitions=1)
    if ids is Ids.PLAIN and rows >= MILLION:
        for name in DOOR:
            yield Step(Kind.DOOR, name, rows, ids, short=rows <= _SHORT_ROWS)
        yield Step(Kind.STORY, "story", rows, ids)


def _extras(rows: int) -> Iterator[Step]:
    yield Step(Kind.DISK, "disk", 0, Ids.PLAIN, repetitions=1)
    yield Step(Kind.LOAD, "load", rows, Ids.PLAIN, repetitions=1)
