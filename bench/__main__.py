"""``python -m bench``: Vesica beside its peers, in one run. ``python -m bench report FILE`` draws from a run's JSON."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import noise, plan, report
from bench.claims import claims
from bench.results import Results
from bench.run import run
from bench.ways import WAYS

_HERE = Path(__file__).parent
_FOLDER = _HERE / "results"
_PICTURES = _HERE.parent / "docs" / "img"
_TEXT = """
Measures, each time in a process of its own and one after the other in turns: Vesica, its peers and the limits of the
machine, from bytes in memory; a real room behind TLS; and a room under load. Writes after every measurement, so that
an interrupted run loses nothing: --resume goes on. What fails is reported and stops nothing.

examples:
  python -m bench                                   everything, about half an hour on two cores
  python -m bench --rows 1e6 --repetitions 1        a quick look
  python -m bench --rows 1e7 --only vesica polars-hash
  python -m bench --full                            peers at 100 M rows too, where memory allows
  python -m bench report bench/results/2026-11-26.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs or reports; 1 where something that was measured does not hold."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["report"]:
        return _report(given[1:])
    return _run(given)


def _run(arguments: Sequence[str]) -> int:
    names = [*WAYS, *plan.DOOR, *(kind.value for kind in plan.Kind)]
    parser = argparse.ArgumentParser(
        "python -m bench", description=_TEXT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=_sizes, default=plan.SIZES, metavar="N,N", help="sizes (default: 1e4 to 1e8)")
    parser.add_argument("--only", nargs="+", default=(), choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--repetitions",
        type=int,
        help="of everything (default: 5; 3 of what takes over a minute, 15 of short submissions)",
    )
    parser.add_argument("--full", action="store_true", help="also what takes long")
    parser.add_argument("--resume", action="store_true", help="go on with the file that is there")
    parser.add_argument("--output", type=Path, help="the JSON (default: bench/results/DATE.json)")
    parser.add_argument("--pictures", type=Path, default=_PICTURES, help="folder of the two pictures")
    options = parser.parse_args(arguments)
    now = datetime.now(UTC)
    path: Path = options.output or _FOLDER / f"{now:%Y-%m-%d}.json"
    results = Results(noise.machine(), now.isoformat(timespec="seconds"))
    if options.resume and path.is_file():
        before = Results.load(path)
        if before.machine != results.machine:
            parser.error(f"{path.name} is of another commit, machine or version: run without --resume")
        results = before
    run(plan.steps(options.rows, options.only, full=options.full), results, path, options.repetitions)
    return _write(results, path, options.pictures)


def _report(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m bench report", description="Table and pictures from a run's JSON.")
    parser.add_argument("file", type=Path, help="bench/results/DATE.json")
    parser.add_argument("--pictures", type=Path, default=_PICTURES, help="folder of the two pictures")
    options = parser.parse_args(arguments)
    return _write(Results.load(options.file), options.file, options.pictures)


def _write(results: Results, path: Path, pictures: Path) -> int:
    page = report.markdown(results)
    path.with_suffix(".md").write_text(page)
    try:
        from bench.pictures import draw

        draw(results, pictures)
    except ImportError as error:
        sys.stderr.write(f"bench: no pictures: {error}\n")
    print(page)
    return 1 if any(claim.holds is False for claim in claims(results)) else 0


def _sizes(text: str) -> tuple[int, ...]:
    """``1e6,1e7`` as numbers of rows."""
    sizes = tuple(int(float(part)) for part in text.replace(" ", ",").split(",") if part)
    if not sizes or any(rows < 10 for rows in sizes):
        raise argparse.ArgumentTypeError("one or more sizes, such as 1e6,1e7")
    return sizes


if __name__ == "__main__":
    sys.exit(main())
