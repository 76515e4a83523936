"""What the figures must show: ratios of things that took turns in one run, each with its bound."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.plan import MILLION, Kind
from bench.results import Figure, Results, paired

_TEN: Final = 10 * MILLION
_HUNDRED: Final = 100 * MILLION


@dataclass(frozen=True)
class Claim:
    """One line of the table. figure: None where it was not measured. most: the bound is an upper one."""

    text: str
    figure: Figure | None
    bound: float
    most: bool
    unit: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the median keeps the bound; None where nothing was measured."""
        if self.figure is None:
            return None
        return self.figure.median <= self.bound if self.most else self.figure.median >= self.bound


def claims(results: Results) -> list[Claim]:
    """All of them, in the order in which they were asked for."""
    return [
        *_from_bytes(results),
        *_front_door(results),
        *_whole_story(results),
        *_growth(results),
        _psi(results),
        *_disk(results),
    ]


def _cpu(results: Results, name: str, rows: int) -> dict[int, float]:
    return results.values(Kind.WAY, name, rows, "cpu_s")


def _from_bytes(results: Results) -> Iterator[Claim]:
    ours = _cpu(results, "vesica", _TEN)
    for name, label, bound in (
        ("sample", "the sample's way", 18.0),
        ("duckdb", "DuckDB", 3.0),
        ("polars-join", "polars' own join", 3.0),
    ):
        ratio = paired(_cpu(results, name, _TEN), ours)
        yield Claim(f"10 M × 10 M from bytes: CPU of {label} / Vesica", ratio, bound, most=False)
    ratio = paired(ours, _cpu(results, "polars-hash", _TEN))
    yield Claim("10 M × 10 M from bytes: CPU of Vesica / one polars hash pass", ratio, 2.0, most=True)


def _front_door(results: Results) -> Iterator[Claim]:
    for rows, size in ((_TEN, "10 M"), (_HUNDRED, "100 M")):
        raw = results.values(Kind.DOOR, "raw", rows, "wall_s")
        key = results.values(Kind.WAY, "vesica-key", rows, "wall_s")
        for form, label in (("stock", "uvicorn as it comes"), ("discard", "the room's stack")):
            receive = results.values(Kind.DOOR, form, rows, "wall_s")
            text = f"front door, {size}: wall of raw / slower of (receive only, {label}) and (parse and key only)"
            yield Claim(text, paired(raw, receive, key), 1.4, most=True)
        intake = results.values(Kind.WAY, "vesica-intake", rows, "wall_s")
        text = f"front door, {size}: wall of raw / intake without a network (parse, key, sort and check)"
        yield Claim(text, paired(raw, intake), 1.4, most=True)
        for name, bound in (("multipart", 1.3), ("sealed", 1.5)):
            ratio = paired(results.values(Kind.DOOR, name, rows, "wall_s"), raw)
            yield Claim(f"front door, {size}: wall of {name} / raw", ratio, bound, most=True)


def _whole_story(results: Results) -> Iterator[Claim]:
    wall = results.figure(Kind.STORY, "story", _HUNDRED, "wall_s")
    peak = results.values(Kind.STORY, "story", _HUNDRED, "peak_bytes")
    yield Claim("2 × 100 M: first byte to release", wall, 90.0, most=True, unit="s")
    memory = Figure.of([value / 1e9 for value in peak.values()]) if peak else None
    yield Claim("2 × 100 M: server's peak memory", memory, 5.0, most=True, unit="GB")


def _growth(results: Results) -> Iterator[Claim]:
    lines = (
        (Kind.WAY, "vesica", "wall_s", "wall from bytes", MILLION, "1 M"),
        (Kind.WAY, "vesica", "wall_s", "wall from bytes", _TEN, "10 M"),
        (Kind.WAY, "vesica", "cpu_s", "CPU from bytes", MILLION, "1 M"),
        (Kind.WAY, "vesica", "cpu_s", "CPU from bytes", _TEN, "10 M"),
        (Kind.WAY, "vesica", "extra_bytes", "memory from bytes", MILLION, "1 M"),
        (Kind.WAY, "vesica", "extra_bytes", "memory from bytes", _TEN, "10 M"),
        (Kind.DOOR, "raw", "wall_s", "wall of a raw submission", MILLION, "1 M"),
        (Kind.DOOR, "raw", "extra_bytes", "memory of a raw submission", _TEN, "10 M"),
    )
    for kind, name, metric, label, rows, size in lines:
        small = {one: value * _HUNDRED / rows for one, value in results.values(kind, name, rows, metric).items()}
        ratio = paired(results.values(kind, name, _HUNDRED, metric), small)
        yield Claim(f"growth a row, {size} to 100 M: {label}", ratio, 1.25, most=True)


def _psi(results: Results) -> Claim:
    ratio = paired(_cpu(results, "openmined-psi", 100_000), _cpu(results, "vesica", 100_000))
    return Claim("100 k × 100 k: CPU of OpenMined PSI / Vesica", ratio, 1_000.0, most=False)


def _disk(results: Results) -> Iterator[Claim]:
    """No file is made or written: tests that failed, or were skipped, of those that look with strace."""
    runs = [one for one in results.of(Kind.DISK, "disk", 0) if one["ok"]]
    bad = [float(one["failed"] + one["skipped"]) for one in runs if one["passed"]]
    text = "strace: tests that saw a file written, or were skipped"
    yield Claim(text, Figure.of(bad) if bad else None, 0.0, most=True)
    written = results.values(Kind.STORY, "story", _HUNDRED, "written_bytes")
    kilobytes = Figure.of([value / 1e3 for value in written.values()]) if written else None
    text = "2 × 100 M: bytes that the server gave to write()"
    yield Claim(text, kilobytes, 64.0, most=True, unit="kB")
