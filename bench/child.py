"""One way, measured once, in a process of its own: ``python -m bench.child WAY FD FD`` prints one line of JSON.

The file descriptors are of files in memory that hold the two parties' CSVs; they are read before the clock starts.
Peak memory is what comes on top of them.
"""

import gc
import json
import sys
import time
from pathlib import Path

from bench import data
from bench.clocks import Phases, peak_bytes, reset_peak, resident_bytes
from bench.noise import take_memory
from bench.ways import WAYS, Way

WARM_UP_ROWS = 1_000


def measure(way: Way, a: bytes, b: bytes) -> dict[str, object]:
    """What one run of a way costs."""
    way.run(data.csv(WARM_UP_ROWS, 0), data.csv(WARM_UP_ROWS, 1), Phases())
    gc.collect()
    taken = take_memory(len(a))
    phases = Phases()
    before = resident_bytes()
    reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    result = way.run(a, b, phases)
    wall_seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    if way.phases_only:
        wall_seconds, cpu_seconds = sum(phases.wall_seconds.values()), sum(phases.cpu_seconds.values())
    return {
        "result": result,
        "wall_s": wall_seconds,
        "cpu_s": cpu_seconds,
        "extra_bytes": max(0, peak_bytes() - before),
        "phases_cpu_s": phases.cpu_seconds,
        "taking_s_a_gb": taken,
    }


def main() -> int:
    """Reads the files, measures, tells."""
    name, *descriptors = sys.argv[1:]
    way = WAYS[name]
    files = [Path(f"/proc/self/fd/{number}").read_bytes() for number in descriptors[: way.files]]
    print(json.dumps(measure(way, files[0], files[1] if way.files > 1 else b"")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
