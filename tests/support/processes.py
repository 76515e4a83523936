"""What a process holds, as Linux tells it: memory and file descriptors."""

import contextlib
from pathlib import Path

import pytest


def resident_bytes(pid: int, name: str = "VmRSS") -> int:
    """Memory that is resident now; ``VmHWM``: the most that ever was."""
    for line in _folder(pid).joinpath("status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name}")


def descriptors(pid: int) -> int:
    """Open file descriptors."""
    return len(list(_folder(pid).joinpath("fd").iterdir()))


def sockets(pid: int) -> int:
    """Sockets among them, but for the pair of the event loop."""
    found = 0
    for entry in _folder(pid).joinpath("fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(entry.readlink()).startswith("socket:")
    return found - 2


def _folder(pid: int) -> Path:
    folder = Path(f"/proc/{pid}")
    if not folder.is_dir():
        pytest.skip("needs /proc")
    return folder
