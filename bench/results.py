"""Results: a list of measurements in a JSON file, written after each one, and figures taken from them."""

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data import Ids
from bench.plan import Kind, Step

Record = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """Median, least and most of some repetitions."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: list[float]) -> "Figure":
        """Raises ValueError where there are none."""
        if not values:
            raise ValueError("no values")
        return cls(statistics.median(values), min(values), max(values), len(values))


class Results:
    """Measurements, and what they were made on."""

    def __init__(self, machine: Mapping[str, Any], started: str, records: list[Record] | None = None) -> None:
        self.machine = dict(machine)
        self.started = started
        self.records = records if records is not None else []

    @classmethod
    def load(cls, path: Path) -> "Results":
        """From a file that ``save`` wrote."""
        document = json.loads(path.read_text())
        return cls(document["machine"], document["started"], document["measurements"])

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        document = {"started": self.started, "machine": self.machine, "measurements": self.records}
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps(document, indent=1) + "\n")
        beside.replace(path)

    def of(self, kind: Kind, name: str, rows: int, ids: Ids = Ids.PLAIN) -> list[Record]:
        """Every record of a step, failures too, in the order of repetitions."""
        wanted = (kind.value, name, rows, ids.value)
        return [one for one in self.records if (one["kind"], one["name"], one["rows"], one["ids"]) == wanted]

    def done(self, step: Step, repetition: int) -> bool:
        """Whether this was measured, or has failed before and is not tried again."""
        mine = self.of(step.kind, step.name, step.rows, step.ids)
        return any(one["repetition"] == repetition or not one["ok"] for one in mine)

    def values(self, kind: Kind, name: str, rows: int, metric: str, ids: Ids = Ids.PLAIN) -> dict[int, float]:
        """A metric by repetition, of those that went well."""
        good = [one for one in self.of(kind, name, rows, ids) if one["ok"] and one.get(metric) is not None]
        return {one["repetition"]: float(one[metric]) for one in good}

    def figure(self, kind: Kind, name: str, rows: int, metric: str, ids: Ids = Ids.PLAIN) -> Figure | None:
        """Its median and range, or None where it was not measured."""
        values = self.values(kind, name, rows, metric, ids)
        return Figure.of(list(values.values())) if values else None


def paired(
    above: Mapping[int, float], *below: Mapping[int, float], joined: Callable[..., float] = max
) -> Figure | None:
    """The ratio of two things that took turns, pair by pair.

    joined: how several things below become one, repetition by repetition. None where no repetition has all.
    """
    common = sorted(set(above).intersection(*below))
    ratios = [above[one] / joined([values[one] for values in below]) for one in common]
    return Figure.of(ratios) if ratios else None
