"""Medians, ratios pair by pair, what is extrapolated, and what is said to hold."""

from typing import Any

import pytest

from bench.claims import Claim, claims
from bench.plan import MILLION, Kind
from bench.report import extrapolated, markdown
from bench.results import Figure, Results, paired

MACHINE = {
    "processor": "a processor",
    "cores": 2,
    "avx512": True,
    "memory_bytes": 8e9,
    "kernel": "Linux",
    "python": "3",
    "openssl": "3",
    "versions": {"polars": "2"},
    "commit": "c0ffee",
}


def record(name: str, rows: int, repetition: int, **metrics: Any) -> dict[str, Any]:
    return {
        "kind": "way",
        "name": name,
        "rows": rows,
        "ids": "plain",
        "repetition": repetition,
        "noise": {"read_ms": 9.0, "sort_ms": 30.0, "load": 0.5, "steal": 0.01},
        "ok": True,
        "wall_s": 1.0,
        "cpu_s": 1.0,
        "extra_bytes": 1e6,
        "phases_cpu_s": {},
        **metrics,
    }


def results(*records: dict[str, Any]) -> Results:
    return Results(MACHINE, "2026-11-26T00:00:00+00:00", list(records))


def claim_of(shown: Results, start: str) -> Claim:
    (found,) = [claim for claim in claims(shown) if claim.text.startswith(start)]
    return found


def test_a_figure_is_the_median_with_its_range() -> None:
    assert Figure.of([3.0, 1.0, 10.0]) == Figure(3.0, 1.0, 10.0, 3)
    with pytest.raises(ValueError, match="no values"):
        Figure.of([])


def test_ratios_are_taken_pair_by_pair_and_not_of_medians() -> None:
    # The machine was half as fast in the second round: no ratio shows it.
    assert paired({0: 10.0, 1: 20.0}, {0: 5.0, 1: 10.0}) == Figure(2.0, 2.0, 2.0, 2)


def test_a_repetition_that_only_one_has_makes_no_pair() -> None:
    assert paired({0: 4.0, 2: 9.0}, {0: 2.0, 1: 1.0}) == Figure(2.0, 2.0, 2.0, 1)
    assert paired({0: 4.0}, {1: 2.0}) is None


def test_of_two_things_below_the_larger_counts_in_each_repetition() -> None:
    assert paired({0: 12.0, 1: 12.0}, {0: 3.0, 1: 6.0}, {0: 4.0, 1: 2.0}) == Figure(2.5, 2.0, 3.0, 2)


def test_a_bound_that_is_kept_holds_and_one_that_is_not_does_not() -> None:
    ten = 10 * MILLION
    start = "10 M × 10 M from bytes: CPU of DuckDB"
    kept = results(record("vesica", ten, 0, cpu_s=2.0), record("duckdb", ten, 0, cpu_s=6.0))
    broken = results(record("vesica", ten, 0, cpu_s=2.0), record("duckdb", ten, 0, cpu_s=5.9))
    assert claim_of(kept, start).holds is True
    assert claim_of(broken, start).holds is False
    assert "**no**" in markdown(broken)


def test_what_was_not_measured_is_not_said_to_hold() -> None:
    assert {claim.holds for claim in claims(results())} == {None}
    failed = results({**record("duckdb", 10 * MILLION, 0), "ok": False, "error": "no such thing"})
    assert claim_of(failed, "10 M × 10 M from bytes: CPU of DuckDB").holds is None
    assert "no such thing" in markdown(failed)


def test_growth_is_per_row() -> None:
    linear = results(record("vesica", MILLION, 0, cpu_s=1.0), record("vesica", 100 * MILLION, 0, cpu_s=124.0))
    steep = results(record("vesica", MILLION, 0, cpu_s=1.0), record("vesica", 100 * MILLION, 0, cpu_s=126.0))
    start = "growth a row, 1 M to 100 M: CPU"
    assert claim_of(linear, start).holds is True
    assert claim_of(steep, start).holds is False


def test_skipped_disk_tests_prove_nothing() -> None:
    disk = {**record("disk", 0, 0), "kind": "disk", "passed": 5, "failed": 0, "skipped": 1}
    assert claim_of(results(disk), "strace").holds is False
    assert claim_of(results({**disk, "skipped": 0}), "strace").holds is True
    assert claim_of(results({**disk, "passed": 0, "skipped": 0}), "strace").holds is None


def test_an_extrapolated_cost_is_marked() -> None:
    measured = {10_000: 4.0, 100_000: 43.0}
    assert extrapolated(measured, 100_000) == (43.0, "measured")
    assert extrapolated(measured, MILLION) == (430.0, "extrapolated from 100,000")
    shown = markdown(results(record("openmined-psi", 100_000, 0, cpu_s=43.0)))
    assert "| 1,000,000 | 430 | extrapolated from 100,000 |" in shown
    assert "| 100,000 | 43.0 | measured |" in shown


def test_results_survive_a_file(tmp_path: Any) -> None:
    path = tmp_path / "deep" / "r.json"
    before = results(record("vesica", MILLION, 0))
    before.save(path)
    after = Results.load(path)
    assert (after.machine, after.started, after.records) == (before.machine, before.started, before.records)
    assert after.values(Kind.WAY, "vesica", MILLION, "cpu_s") == {0: 1.0}
