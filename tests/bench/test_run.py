"""Measuring: real processes, tiny sizes, and only what needs no package beside Vesica's own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import data, door, noise, plan, run
from bench.__main__ import main
from bench.data import Ids
from bench.plan import Kind, Step
from bench.results import Results
from bench.ways import WAYS

ROWS = 2_000


@pytest.fixture
def files() -> Iterator[list[int]]:
    with run._inputs(ROWS, Ids.PLAIN) as descriptors:
        yield descriptors


def empty() -> Results:
    return Results(noise.machine(), "2026-11-26T00:00:00+00:00")


@pytest.mark.parametrize("name", [name for name in WAYS if name.startswith(("vesica", "limit"))])
def test_a_way_is_measured_in_a_process_of_its_own(name: str, files: list[int]) -> None:
    told = run.way(name, ROWS, files)
    assert told["cpu_s"] > 0
    assert told["wall_s"] > 0


def test_a_wrong_count_is_a_failure(files: list[int]) -> None:
    with pytest.raises(run.Failed, match="a wrong result: 1000 and not 1500"):
        run.way("vesica", ROWS + 1_000, files)


@pytest.mark.parametrize("form", plan.DOOR)
def test_a_submission_is_measured_through_tls(form: str, files: list[int]) -> None:
    told = door.submission(form, files[0], ROWS)
    assert told["bytes"] >= 3 + 13 * ROWS
    assert told["wall_s"] > 0


def test_the_whole_story_ends_with_the_true_count_and_writes_no_file(files: list[int]) -> None:
    told: dict[str, Any] = door.story(files, data.common(ROWS))
    assert told["written_bytes"] < 2**16
    assert told["wall_s"] > sum(told["submissions_s"])


def test_a_story_whose_release_is_not_the_truth_is_a_failure(files: list[int]) -> None:
    with pytest.raises(RuntimeError, match="not the truth"):
        door.story(files, data.common(ROWS) + 5)


def test_what_fails_is_reported_stops_nothing_and_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def way(name: str, rows: int, files: list[int]) -> dict[str, Any]:
        tried.append(name)
        if name == "duckdb":
            raise run.Failed("no such module")
        return {"wall_s": 1.0, "cpu_s": 1.0, "extra_bytes": 1}

    monkeypatch.setattr(run, "way", way)
    group = [Step(Kind.WAY, name, ROWS, Ids.PLAIN) for name in ("duckdb", "vesica")]
    results, path = empty(), tmp_path / "r.json"
    run.run([group], results, path, repetitions=3)
    assert tried == ["duckdb", "vesica", "vesica", "vesica"]
    assert [one["error"] for one in results.of(Kind.WAY, "duckdb", ROWS)] == ["no such module"]
    run.run([group], Results.load(path), path, repetitions=3)  # resumed: all is done
    assert len(tried) == 4
    run.run([group], Results.load(path), path, repetitions=4)
    assert tried[4:] == ["vesica"]


def test_what_takes_long_is_repeated_three_times_what_is_short_fifteen_and_the_rest_five_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def way(name: str, rows: int, files: list[int]) -> dict[str, Any]:
        tried.append(name)
        return {"wall_s": 61.0 if name == "sample" else 1.0, "cpu_s": 1.0, "extra_bytes": 1}

    monkeypatch.setattr(run, "way", way)
    group = [Step(Kind.WAY, name, ROWS, Ids.PLAIN, short=name == "duckdb") for name in ("vesica", "sample", "duckdb")]
    run.run([group], empty(), tmp_path / "r.json")
    assert tried == ["vesica", "sample", "duckdb"] * 3 + ["vesica", "duckdb"] * 2 + ["duckdb"] * 10


def test_what_would_not_fit_into_memory_is_not_started(tmp_path: Path) -> None:
    results = empty()
    small = {"kind": "way", "name": "sample", "rows": ROWS, "ids": "plain", "repetition": 0, "ok": True}
    results.records.append({**small, "extra_bytes": 10**15})
    step = Step(Kind.WAY, "sample", 10 * ROWS, Ids.PLAIN, repetitions=1)
    run.run([[step]], results, tmp_path / "r.json")
    (refused,) = results.of(Kind.WAY, "sample", 10 * ROWS)
    assert "not started" in refused["error"]


def test_every_input_is_gone_after_its_group() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with run._inputs(10, Ids.EMAIL):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_plan_measures_both_sides_of_every_ratio_in_the_same_group() -> None:
    for group in plan.steps(plan.SIZES):
        names = {step.name for step in group}
        if names & {"raw", "multipart", "sealed"}:
            assert {"stock", "discard", "raw", "vesica-key", "vesica-intake"} <= names
        if names & {"duckdb", "polars-join", "sample", "openmined-psi", "polars-hash"}:
            assert "vesica" in names


def test_a_run_writes_json_and_table_and_a_report_writes_the_same_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.json"
    arguments = ["--output", str(path), "--pictures", str(tmp_path)]
    assert main(["--rows", "1e4", "--only", "vesica", "--repetitions", "1", *arguments]) == 0
    page = path.with_suffix(".md").read_text()
    assert "10,000 × 10,000" in page
    path.with_suffix(".md").unlink()
    capsys.readouterr()
    assert main(["report", str(path), "--pictures", str(tmp_path)]) == 0
    assert path.with_suffix(".md").read_text() == page
    assert page in capsys.readouterr().out


def test_nothing_in_a_result_names_the_machine() -> None:
    told = str(noise.machine())
    assert os.uname().nodename not in told
    assert str(Path.cwd()) not in told
