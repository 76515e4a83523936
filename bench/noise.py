"""How quiet the machine was, and what machine it was: a fixed piece of work before every measurement."""

import importlib.metadata
import os
import platform
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

_READ_BYTES: Final = 128 * 2**20
_SORT_KEYS: Final = 2**21
_TAKEN_BYTES_A_BYTE: Final = 25  # of a party's file: more than any way takes
_TAKEN_BYTES_MAX: Final = 4 * 10**9
_PACKAGES: Final = (
    "cryptography",
    "duckdb",
    "numpy",
    "opendp",
    "openmined-psi",
    "pandas",
    "polars",
    "pyarrow",
    "uvicorn",
    "vesica",
)


@dataclass(frozen=True)
class Stolen:
    """Processor time of the whole machine since it started, in ticks."""

    stolen: int
    total: int

    @classmethod
    def now(cls) -> "Stolen":
        """As /proc/stat has it."""
        ticks = [int(number) for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return cls(ticks[7], sum(ticks))

    def share_since(self, before: "Stolen") -> float:
        """The share of all processor time that the hypervisor gave to others."""
        return (self.stolen - before.stolen) / max(1, self.total - before.total)


class Calibration:
    """The same work every time: its spread over a run is the noise of the machine."""

    def __init__(self) -> None:
        self._memory = np.ones(_READ_BYTES // 8, np.uint64)
        self._keys = np.random.default_rng(0).integers(0, 2**64, _SORT_KEYS, np.uint64)

    def run(self) -> dict[str, float]:
        """Milliseconds to read 128 MiB, and to copy and sort 2 Mi keys; and how many processes wanted to run."""
        begun = time.perf_counter()
        self._memory.max()
        read = time.perf_counter()
        np.sort(self._keys)
        ended = time.perf_counter()
        return {"read_ms": (read - begun) * 1e3, "sort_ms": (ended - read) * 1e3, "load": os.getloadavg()[0]}


def take_memory(file_bytes: int) -> float:
    """Takes as much memory as a measurement with files of this size may need, and gives it back; seconds a GB.

    A virtual machine may have told its host of memory that nobody used for some seconds (free page reporting). To have
    it back then takes several times as long as clearing it does, and what a measurement pays of that depends on what
    ran before it. So this is done before each, whatever is measured.
    """
    size = min(_TAKEN_BYTES_A_BYTE * file_bytes, _TAKEN_BYTES_MAX, available_bytes() // 4)
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-S", "-c", f"b'1' * {size}"], check=True)
    return (time.perf_counter() - begun) / (size / 1e9)


def machine() -> dict[str, Any]:
    """What the figures depend on, without a name or a path of this machine."""
    info = Path("/proc/cpuinfo").read_text()
    models = {line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")}
    flags = next((line for line in info.splitlines() if line.startswith("flags")), "").split()
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return {
        "processor": ", ".join(sorted(models)),
        "cores": len(os.sched_getaffinity(0)),
        "avx512": "avx512f" in flags,
        "memory_bytes": int(memory.split()[1]) * 1024,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": _commit(),
    }


def available_bytes() -> int:
    """Memory that a new process could have."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()
