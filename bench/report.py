"""The Markdown table of one run: everything in it comes from the JSON."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from bench.claims import Claim, claims
from bench.data import Ids
from bench.plan import DOOR, MILLION, SIZES, Kind
from bench.results import Figure, Results, paired
from bench.ways import WAYS

_FORMS: Final = {
    "stock": "receive only, uvicorn as it comes",
    "discard": "receive only, the room's stack",
    "raw": "raw body",
    "multipart": "multipart",
    "sealed": "HPKE-sealed",
}
_YES: Final = {True: "yes", False: "**no**", None: "not measured"}
PSI_MEASURED: Final = (10_000, 100_000)
# Stage of ours: the limits that bound it, from below.
_STAGES: Final = (
    ("parse and key", ("limit-read", "limit-newlines", "limit-aes")),
    ("sort and check", ("limit-sort",)),
    ("link", ("limit-merge",)),
)


def markdown(results: Results) -> str:
    """The whole page."""
    parts = [
        f"# Benchmark of {results.started[:10]}",
        _about(results),
        "## Must show",
        "Ratios pair by pair, of things that took turns: median (least – most, number of pairs).",
        _claims(claims(results)),
        *_from_bytes(results),
        *_stages(results),
        *_door(results),
        *_psi(results),
        *_load(results),
        *_failures(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(results: Results) -> str:
    machine = results.machine
    noise = [one["noise"] for one in results.records]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine["versions"].items()))
    wide = "with AVX-512" if machine["avx512"] else "without AVX-512"
    lines = [
        f"{machine['processor']}, {machine['cores']} cores {wide}, {machine['memory_bytes'] / 1e9:.0f} GB.",
        f"{machine['kernel']}, Python {machine['python']}, {machine['openssl']}. Commit {machine['commit']}.",
        f"{versions}.",
    ]
    if noise:
        read, sort = (_spread([one[name] for one in noise]) for name in ("read_ms", "sort_ms"))
        stolen, load = [one["steal"] for one in noise], [one["load"] for one in noise]
        lines.append(
            f"How quiet it was: the same work before each of {len(noise)} measurements, reading 128 MiB {read}, "
            f"sorting 2 Mi keys {sort}; stolen by the hypervisor median {statistics.median(stolen):.1%}, at most "
            f"{max(stolen):.1%}; load median {statistics.median(load):.1f}, at most {max(load):.1f}."
        )
    taken = [one["taking_s_a_gb"] for one in results.records if "taking_s_a_gb" in one]
    if taken:
        lines.append(
            f"Before each measurement memory was taken and given back, {_spread([1e3 * one for one in taken])} a GB: "
            "the host of a virtual machine may have to find it first, or it would in the middle of what is measured."
        )
    lines.append(
        "MB and GB are powers of ten. CPU is user and system time of all threads. Extra memory is the peak above what "
        "was resident before, the inputs in memory. n: how many repetitions; medians of them."
    )
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    ordered = sorted(values)
    tenth, ninetieth = ordered[len(ordered) // 10], ordered[(len(ordered) * 9) // 10]
    return f"{statistics.median(ordered):.0f} ms (middle 80 %: {tenth:.0f}–{ninetieth:.0f})"


def _claims(lines: Iterable[Claim]) -> str:
    rows = []
    for claim in lines:
        bound = f"{'≤' if claim.most else '≥'} {claim.bound:g} {claim.unit}".strip()
        rows.append([claim.text, _range(claim.figure, claim.unit), bound, _YES[claim.holds]])
    return table(["what", "measured", "bound", "holds"], rows)


def _range(figure: Figure | None, unit: str = "") -> str:
    if figure is None:
        return "–"
    return f"{_short(figure.median)} {unit} ({_short(figure.low)} – {_short(figure.high)}, n={figure.count})".replace(
        "  ", " "
    )


def _from_bytes(results: Results) -> Iterator[str]:
    for ids in Ids:
        for rows in SIZES:
            lines = [
                _way_line(results, name, rows, ids)
                for name, way in WAYS.items()
                if not name.startswith("limit") and way.files == 2 and results.of(Kind.WAY, name, rows, ids)
            ]
            if lines:
                kind = "e-mail-like ids (28 bytes a row on average)" if ids is Ids.EMAIL else "ids of 12 characters"
                yield f"## From bytes in memory to the count: {rows:,} × {rows:,}, {kind}"
                yield table(["way", "n", "CPU s", "wall s", "extra MB", "CPU / Vesica's"], lines)


def _way_line(results: Results, name: str, rows: int, ids: Ids) -> list[str]:
    cpu = results.figure(Kind.WAY, name, rows, "cpu_s", ids)
    wall = results.figure(Kind.WAY, name, rows, "wall_s", ids)
    extra = results.figure(Kind.WAY, name, rows, "extra_bytes", ids)
    if cpu is None or wall is None or extra is None:
        return [WAYS[name].label, "0", "failed", "", "", ""]
    ratio = paired(
        results.values(Kind.WAY, name, rows, "cpu_s", ids), results.values(Kind.WAY, "vesica", rows, "cpu_s", ids)
    )
    relative = "" if name == "vesica" or ratio is None else f"{_short(ratio.median)}"
    return [
        WAYS[name].label,
        str(cpu.count),
        _short(cpu.median),
        _short(wall.median),
        f"{extra.median / 1e6:,.0f}",
        relative,
    ]


def _stages(results: Results) -> Iterator[str]:
    rows = 10 * MILLION
    ours = [one for one in results.of(Kind.WAY, "vesica", rows) if one["ok"]]
    if not ours:
        return
    lines = []
    for stage, limits in _STAGES:
        cpu = statistics.median(one["phases_cpu_s"].get(stage, 0.0) for one in ours)
        known = {name: results.figure(Kind.WAY, name, rows, "cpu_s") for name in limits}
        parts = [
            f"{WAYS[name].label.removeprefix('limit: ')} {_short(one.median)}" for name, one in known.items() if one
        ]
        least = sum(one.median for one in known.values() if one)
        lines.append([stage, _short(cpu), ", ".join(parts), _short(least), f"{cpu / least:.1f}" if least else ""])
    yield "## Where Vesica's own time goes, and what bounds it: 10 M × 10 M"
    yield table(["stage", "CPU s", "its limits, CPU s of one thread", "sum", "ours / sum"], lines)


def _door(results: Results) -> Iterator[str]:
    for rows in SIZES:
        lines = [line for name in DOOR if (line := _door_line(results, name, rows))]
        for name, label in (("vesica-intake", "intake"), ("vesica-key", "parse and key")):
            alone = results.figure(Kind.WAY, name, rows, "wall_s")
            if alone is not None:
                lines.insert(2, [f"{label} only, no network", str(alone.count), _short(alone.median), *[""] * 6])
        if lines:
            yield f"## Through the front door, TLS 1.3: one party's {rows:,} rows"
            heads = [
                "how",
                "n",
                "wall s",
                "MB/s",
                "server CPU s",
                "of it the event loop",
                "sender CPU s",
                "extra MB",
                "wall / raw",
            ]
            yield table(heads, lines)
        yield from _story(results, rows)


def _door_line(results: Results, name: str, rows: int) -> list[str]:
    def of(metric: str) -> Figure | None:
        return results.figure(Kind.DOOR, name, rows, metric)

    wall, size, extra = of("wall_s"), of("bytes"), of("extra_bytes")
    cpu = [_short(one.median) for what in ("cpu_s", "loop_cpu_s", "client_cpu_s") if (one := of(what))]
    if wall is None or size is None or extra is None:
        return []
    ratio = paired(results.values(Kind.DOOR, name, rows, "wall_s"), results.values(Kind.DOOR, "raw", rows, "wall_s"))
    return [
        _FORMS[name],
        str(wall.count),
        _short(wall.median),
        f"{size.median / wall.median / 1e6:,.0f}",
        *cpu,
        f"{extra.median / 1e6:,.0f}",
        "" if ratio is None or name == "raw" else _short(ratio.median),
    ]


def _story(results: Results, rows: int) -> Iterator[str]:
    def of(metric: str) -> Figure | None:
        return results.figure(Kind.STORY, "story", rows, metric)

    wall, cpu, peak, extra = (of(one) for one in ("wall_s", "cpu_s", "peak_bytes", "extra_bytes"))
    if wall is None or cpu is None or peak is None or extra is None:
        return
    receive = {one: 2 * value for one, value in results.values(Kind.DOOR, "discard", rows, "wall_s").items()}
    ratio = paired(results.values(Kind.STORY, "story", rows, "wall_s"), receive)
    beside = "" if ratio is None else f", {_short(ratio.median)} times receiving both files and no more"
    yield (
        f"Both parties one after the other, then a release (2 × {rows:,}): {_range(wall, 's')} from the first byte to "
        f"the answer{beside}; server {_short(cpu.median)} CPU s, peak memory {peak.median / 1e9:.2f} GB, "
        f"{extra.median / (2 * rows):.1f} bytes a row above what it had at start."
    )


def _psi(results: Results) -> Iterator[str]:
    known = {rows: results.figure(Kind.WAY, "openmined-psi", rows, "cpu_s") for rows in PSI_MEASURED}
    measured = {rows: figure.median for rows, figure in known.items() if figure}
    if not measured:
        return
    lines = []
    for rows in SIZES:
        ours = results.figure(Kind.WAY, "vesica", rows, "cpu_s")
        theirs, how = extrapolated(measured, rows)
        mine = "" if ours is None else _short(ours.median)
        lines.append([f"{rows:,}", _short(theirs), how, mine, "" if ours is None else f"{theirs / ours.median:,.0f}"])
    yield "## OpenMined PSI, cardinality, both parties' work"
    yield table(["rows a party", "CPU s", "how known", "Vesica, CPU s", "ratio"], lines)
    yield "It trusts no hardware, Vesica trusts a TEE: what is compared is the price, not the promise."


def extrapolated(measured: dict[int, float], rows: int) -> tuple[float, str]:
    """A cost that is linear in rows (Diffie-Hellman on each id), and whether it was measured."""
    if rows in measured:
        return measured[rows], "measured"
    largest = max(measured)
    return measured[largest] * rows / largest, f"extrapolated from {largest:,}"


def _load(results: Results) -> Iterator[str]:
    for one in results.records:
        if one["kind"] == Kind.LOAD and one["ok"]:
            yield "## Under load"
            yield table(["figure", "value"], [[name, value] for name, value in _flat("", one["figures"])])


def _flat(path: str, document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(f"{path}{name} · ", value)
        else:
            yield f"{path}{name}", f"{value:,}" if isinstance(value, int) else str(value)


def _failures(results: Results) -> Iterator[str]:
    lines = [
        [one["kind"], one["name"], f"{one['rows']:,}", one["ids"], one["error"]]
        for one in results.records
        if not one["ok"]
    ]
    if lines:
        yield "## Not measured"
        yield table(["kind", "what", "rows", "ids", "why"], lines)


def _short(value: float) -> str:
    """Three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.{1 if abs(value) >= 10 else digits}f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
