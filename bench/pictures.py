"""Two pictures of one run: CPU time and extra memory against rows, on logarithmic axes."""

from pathlib import Path
from typing import Any, Final

from bench.data import Ids
from bench.plan import SIZES, Kind
from bench.report import PSI_MEASURED, extrapolated
from bench.results import Results

# Okabe and Ito's colours, which people tell apart who see fewer colours.
_LINES: Final = {
    "openmined-psi": ("OpenMined PSI", "#CC79A7"),
    "sample": ("pandas and sets", "#D55E00"),
    "polars-join": ("polars join", "#E69F00"),
    "duckdb": ("DuckDB", "#009E73"),
    "vesica": ("Vesica", "#0072B2"),
    "polars-hash": ("polars hash, no count", "#888888"),
}
_LABEL_GAP: Final = 0.055  # of the height of the axes, between two labels


def draw(results: Results, folder: Path) -> list[Path]:
    """Writes bench-time.svg and bench-memory.svg, the same bytes for the same results, and returns their paths."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {"svg.hashsalt": "vesica", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}
    )
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _picture(results, folder / "bench-time.svg", "cpu_s", "CPU seconds, both parties", 1.0),
        _picture(results, folder / "bench-memory.svg", "extra_bytes", "memory beside the input, MB", 1e-6),
    ]


def _picture(results: Results, path: Path, metric: str, label: str, scale: float) -> Path:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    axes.set(xscale="log", yscale="log", xlabel="ids a party", ylabel=label)
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    ends = []
    for name, (text, colour) in _LINES.items():
        points = {
            rows: value.median * scale
            for rows in SIZES
            if (value := results.figure(Kind.WAY, name, rows, metric, Ids.PLAIN)) and value.median > 0
        }
        if points:
            last = _line(axes, name, points, colour, time=metric == "cpu_s")
            ends.append((*last, text, colour))
    axes.set_xlim(left=7e3, right=1.6e8)
    axes.margins(y=0.08)
    axes.set_xticks(SIZES, ["10 k", "100 k", "1 M", "10 M", "100 M"])
    axes.minorticks_off()
    _label(axes, ends)
    figure.savefig(path, metadata={"Date": None, "Creator": "bench"} if path.suffix == ".svg" else None)
    plt.close(figure)
    return path


def _line(axes: Any, name: str, points: dict[int, float], colour: str, *, time: bool) -> tuple[int, float]:  # noqa: ANN401
    width = 2.4 if name == "vesica" else 1.6
    style = ":" if name == "polars-hash" else "-"
    axes.plot(list(points), list(points.values()), style, color=colour, linewidth=width, marker="o", markersize=4)
    last = max(points)
    if time and name == "openmined-psi" and last in PSI_MEASURED:
        further = [rows for rows in SIZES if rows >= last]
        costs = [extrapolated(points, rows)[0] for rows in further]
        axes.plot(further, costs, "--", color=colour, linewidth=1.2)
        return further[-1], costs[-1]
    return last, points[last]


def _label(axes: Any, ends: list[tuple[int, float, str, str]]) -> None:  # noqa: ANN401
    """A name at the end of each line, moved apart where two would meet."""
    import math

    low, high = (math.log10(edge) for edge in axes.get_ylim())
    placed: list[tuple[float, float]] = []
    for x, y, text, colour in sorted(ends, key=lambda end: end[1]):
        at = (math.log10(y) - low) / (high - low)
        for other_x, other in placed:
            if other_x == x and at - other < _LABEL_GAP:
                at = other + _LABEL_GAP
        placed.append((x, at))
        shown = f"{text}\n(extrapolated)" if text == "OpenMined PSI" and x > max(PSI_MEASURED) else text
        axes.annotate(
            shown, (x, 10 ** (low + at * (high - low))), (7, 0), textcoords="offset points", va="center", color=colour,
            annotation_clip=False,
        )  # fmt: skip
