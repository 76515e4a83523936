"""Runs the plan: each measurement in processes of its own, those of a group in turns, each result saved at once."""

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench import data, door
from bench.data import Ids
from bench.noise import Calibration, Stolen, available_bytes
from bench.plan import LONG_SECONDS, REPETITIONS, REPETITIONS_OF_LONG, REPETITIONS_OF_SHORT, ROOT, Kind, Step
from bench.results import Record, Results
from bench.ways import WAYS

SECONDS_MAX: Final = 3_600.0  # of one measurement
_MEMORY_SHARE_MAX: Final = 0.9
_DISK_TESTS: Final = "tests/http/test_disk.py"


class Failed(Exception):
    """A measurement that gave no figure; the text says why."""


def run(groups: Sequence[Sequence[Step]], results: Results, path: Path, repetitions: int | None = None) -> None:
    """Measures what is not in ``results`` yet. repetitions: of everything; None: as the plan has it."""
    calibration = Calibration()
    total = sum(len(group) for group in groups)
    finished = 0
    for group in groups:
        with _inputs(group[0].rows, group[0].ids) if _needs_files(group) else _nothing() as files:
            for repetition in range(repetitions or REPETITIONS_OF_SHORT):
                for step in group:
                    if repetition < _wanted(step, results, repetitions) and not results.done(step, repetition):
                        record = _one(step, repetition, files, results, calibration)
                        results.records.append(record)
                        results.save(path)
                        _tell(record, finished, total)
        finished += len(group)


def _needs_files(group: Sequence[Step]) -> bool:
    return any(step.kind in {Kind.WAY, Kind.DOOR, Kind.STORY} for step in group)


def _wanted(step: Step, results: Results, asked: int | None) -> int:
    if step.repetitions is not None:
        return step.repetitions
    if asked is not None:
        return asked
    first = results.values(step.kind, step.name, step.rows, "wall_s", step.ids).get(0, 0.0)
    if first > LONG_SECONDS:
        return REPETITIONS_OF_LONG
    return REPETITIONS_OF_SHORT if step.short else REPETITIONS


def _one(step: Step, repetition: int, files: Sequence[int], results: Results, calibration: Calibration) -> Record:
    record: Record = {
        "kind": step.kind.value,
        "name": step.name,
        "rows": step.rows,
        "ids": step.ids.value,
        "repetition": repetition,
    }
    noise, stolen, begun = calibration.run(), Stolen.now(), time.monotonic()
    try:
        _require_memory(step, results)
        record |= {"ok": True, **_measure(step, files)}
    except (Failed, RuntimeError, OSError, subprocess.SubprocessError) as error:
        record |= {"ok": False, "error": str(error).strip().splitlines()[-1][:300] if str(error) else repr(error)}
    noise["steal"] = Stolen.now().share_since(stolen)
    return record | {"noise": noise, "took_s": time.monotonic() - begun}


def _measure(step: Step, files: Sequence[int]) -> dict[str, Any]:
    match step.kind:
        case Kind.WAY:
            return way(step.name, step.rows, files)
        case Kind.DOOR:
            return door.submission(step.name, files[0], step.rows)
        case Kind.STORY:
            return door.story(files, data.common(step.rows))
        case Kind.LOAD:
            return _load(step.rows)
        case Kind.DISK:
            return _disk()


def way(name: str, rows: int, files: Sequence[int]) -> dict[str, Any]:
    """One run of a way in a process of its own. files: descriptors of both parties' CSVs.

    Raises Failed, for a wrong count too.
    """
    command = [sys.executable, "-m", "bench.child", name, *map(str, files)]
    told = _json_of(command, files)
    wanted = data.common(rows) if WAYS[name].counts else rows * WAYS[name].files
    if told["result"] != wanted:
        raise Failed(f"a wrong result: {told['result']} and not {wanted}")
    return told


def _json_of(command: Sequence[str], descriptors: Sequence[int] = ()) -> dict[str, Any]:
    said = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=SECONDS_MAX, pass_fds=tuple(descriptors), cwd=ROOT
    )
    if said.returncode != 0:
        last = said.stderr.strip().splitlines()[-1:] or ["no message"]
        killed = " (killed: out of memory?)" if said.returncode < 0 else ""
        raise Failed(f"status {said.returncode}{killed}: {last[0]}")
    told: dict[str, Any] = json.loads(said.stdout)
    return told


def _load(rows: int) -> dict[str, Any]:
    """``bench.load``, where it is there."""
    if find_spec("bench.load") is None:
        raise Failed("bench.load is not there")
    return {"figures": _json_of([sys.executable, "-m", "bench.load", "--rows", str(rows)])}


def _disk() -> dict[str, Any]:
    """The tests that look at a room through strace: how many passed, failed and were skipped."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-k", "write or see", f"--junitxml={report}", _DISK_TESTS]
        subprocess.run(command, capture_output=True, check=False, timeout=SECONDS_MAX, cwd=ROOT)
        if not report.is_file():
            raise Failed("pytest wrote no report")
        suite = ET.parse(report).getroot().find("testsuite")
    if suite is None:
        raise Failed("pytest's report has no tests")
    tests, bad, skipped = (int(suite.attrib[name]) for name in ("tests", "failures", "skipped"))
    bad += int(suite.attrib["errors"])
    return {"passed": tests - bad - skipped, "failed": bad, "skipped": skipped}


def _require_memory(step: Step, results: Results) -> None:
    """Does not start what would not fit, as far as a size ten times smaller tells."""
    if step.kind is not Kind.WAY:
        return
    tenth = results.figure(step.kind, step.name, step.rows // 10, "extra_bytes", step.ids)
    if tenth is None:
        return
    row_bytes = 13 if step.ids is Ids.PLAIN else 27
    needed = 10 * tenth.median + 2 * row_bytes * step.rows
    if needed > _MEMORY_SHARE_MAX * available_bytes():
        raise Failed(f"not started: about {needed / 1e9:.0f} GB needed, {available_bytes() / 1e9:.0f} GB there")


@contextmanager
def _inputs(rows: int, ids: Ids) -> Iterator[list[int]]:
    """Descriptors of both parties' CSVs, in files that exist in memory only."""
    _say(f"making two lists of {rows:,} ids ({ids.value})")
    descriptors = []
    try:
        for party in range(2):
            descriptor = os.memfd_create("bench")
            descriptors.append(descriptor)
            with open(descriptor, "wb", closefd=False) as file:
                data.write(file, rows, party, ids)
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@contextmanager
def _nothing() -> Iterator[list[int]]:
    yield []


def _tell(record: Record, finished: int, total: int) -> None:
    what = f"{record['kind']} {record['name']} {record['rows']:,} {record['ids']} #{record['repetition'] + 1}"
    if not record["ok"]:
        figures = f"FAILED: {record['error']}"
    elif "wall_s" in record:
        figures = (
            f"wall {record['wall_s']:.3f} s, cpu {record['cpu_s']:.3f} s, {record['extra_bytes'] / 1e6:.0f} MB more"
        )
    else:
        figures = "done"
    _say(f"[{finished}/{total}] {what}: {figures}")


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()
