"""What a process costs, as Linux counts it: CPU time of all its threads, and memory that is resident."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROCESS_CPU_CLOCK = 2  # CPUCLOCK_SCHED in the kernel's posix-timers.h: user and system time of all threads


class Phases:
    """CPU and wall seconds of the parts of a measurement, by name, summed up."""

    def __init__(self) -> None:
        self.cpu_seconds: dict[str, float] = {}
        self.wall_seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Counts what is done inside to ``name``."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + time.process_time() - cpu
        self.wall_seconds[name] = self.wall_seconds.get(name, 0.0) + time.perf_counter() - wall


def cpu_seconds(pid: int) -> float:
    """CPU time of another process since it began. Its threads that have ended are counted too."""
    return time.clock_gettime((~pid << 3) | _PROCESS_CPU_CLOCK)


def main_thread_seconds(pid: int) -> float:
    """CPU time of another process's first thread, which in a server is the event loop's."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def resident_bytes(pid: int | str = "self") -> int:
    """Memory of a process that is resident now."""
    return _status(pid, "VmRSS")


def peak_bytes(pid: int | str = "self") -> int:
    """The most memory that a process had resident since it began, or since ``reset_peak``."""
    return _status(pid, "VmHWM")


def reset_peak() -> None:
    """Lets this process's peak begin at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def written_bytes(pid: int) -> int | None:
    """Bytes that a process has given to write() and its kin. What is sent over sockets is not counted.

    None where the process does not let us know: one that may not be traced tells root alone.
    """
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except PermissionError:
        return None
    return int(dict(line.split(": ") for line in lines)["wchar"])


def _status(pid: int | str, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"no {name} in /proc")
