"""What is seen of the machine around a room, and of a process from outside. Reads /proc, and changes nothing.

Facts of the machine are for whoever builds its image: no process can see to them by itself.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from vesica.errors import VesicaError
from vesica_enclave.hardening.doctor import Finding
from vesica_enclave.hardening.measures import PROTECTS_FROM, Measure

_PROC: Final = Path("/proc")
_SECCOMP_FILTER: Final = "2"
_FIRST_OWN: Final = 3

Seen = tuple[bool | None, str]


class NoSuchProcess(VesicaError):
    """No process has this number."""

    code = "no-such-process"


def facts(uid: int, root: Path = Path("/")) -> tuple[Finding, ...]:
    """Facts about this machine. uid: whose room it is. root: for tests, another place where /proc is."""
    kernel = root / "proc/sys/kernel"
    pattern = _text(kernel / "core_pattern")
    kexec, modules = _text(kernel / "kexec_load_disabled"), _text(kernel / "modules_disabled")
    route = _default_route(root / "proc/net")
    read_only = bool(os.statvfs(root).f_flag & os.ST_RDONLY)
    return (
        Finding("not-root", uid != 0, "all that the system lets root do and others not", f"run by user {uid}"),
        Finding(
            "core-pattern",
            pattern in {None, "", "|/bin/false"},
            "core dumps of the programs around the room",
            "the kernel makes no dumps" if pattern is None else f"core_pattern is {pattern!r}",
        ),
        Finding(
            "root-read-only",
            read_only,
            "a change to the system, or a copy of a list, that outlives a restart",
            f"the root file system is mounted {'read-only' if read_only else 'for writing'}",
        ),
        Finding(
            "kexec-off",
            kexec in {None, "1"},
            "another kernel, not measured, that takes over with memory as it is",
            "the kernel has no kexec" if kexec is None else f"kexec_load_disabled is {kexec}",
        ),
        Finding(
            "modules-off",
            modules in {None, "1"},
            "new code in the kernel, which sees all memory",
            "the kernel loads no modules" if modules is None else f"modules_disabled is {modules}",
        ),
        Finding(
            "no-default-route",
            None if route is None else not route,
            "sending anything beyond this network, whoever tries",
            "routes cannot be read" if route is None else f"there is {'a' if route else 'no'} default route",
        ),
    )


def examine_process(pid: int, proc: Path = _PROC) -> tuple[Finding, ...]:
    """Every measure, as far as it can be seen of a running process from outside.

    Raises NoSuchProcess.
    """
    folder = proc / str(pid)
    status = _status(folder)
    if not status:
        raise NoSuchProcess(f"no process {pid} can be seen here")
    threads = [thread for path in (folder / "task").glob("*") if (thread := _status(path))] or [status]
    umask = status.get("Umask")
    seen: dict[Measure, Seen] = {
        Measure.NO_CORE_DUMPS: _core_dumps(folder),
        Measure.MEMORY_HIDDEN: _memory(folder, uid_of(pid, proc)),
        Measure.NO_SWAP: _swap(proc, status),
        Measure.PRIVATE_FILES: (None if umask is None else umask == "0077", f"umask {umask}"),
        Measure.NO_NEW_PRIVILEGES: _of_all(threads, "NoNewPrivs", "1"),
        Measure.NOTHING_INHERITED: _descriptors(folder),
        Measure.NO_CAPABILITIES: _of_all(threads, "CapPrm", "0" * 16),
        Measure.LANDLOCK: (None, "cannot be seen from outside"),
        Measure.SECCOMP: _filtered(threads),
    }
    return tuple(Finding(measure, seen[measure][0], PROTECTS_FROM[measure], seen[measure][1]) for measure in Measure)


def uid_of(pid: int, proc: Path = _PROC) -> int:
    """Whose process it is.

    Raises NoSuchProcess.
    """
    uid = _status(proc / str(pid)).get("Uid", "").split()
    if not uid:
        raise NoSuchProcess(f"no process {pid} can be seen here")
    return int(uid[0])


def _core_dumps(folder: Path) -> Seen:
    for line in (_text(folder / "limits") or "").splitlines():
        if line.startswith("Max core file size"):
            soft, hard = line.split()[4:6]
            return (soft, hard) == ("0", "0"), f"core dumps are limited to {hard} bytes"
    return None, "its limits cannot be read"


def _memory(folder: Path, uid: int) -> Seen:
    """The kernel gives what it shows of a process that is not dumpable to root."""
    if uid == 0:
        return None, "cannot be seen of a process that root runs"
    owner = (folder / "stat").stat().st_uid
    return owner != uid, f"what the kernel shows of it belongs to user {owner}"


def _swap(proc: Path, status: Mapping[str, str]) -> Seen:
    swaps = _text(proc / "swaps")
    if swaps is None:
        return None, "it cannot be seen whether swap is in use"
    if len(swaps.splitlines()) <= 1:
        return True, "no swap is in use"
    locked = status.get("VmLck", "0 kB")
    return (None if locked.split()[0] != "0" else False), f"swap is in use, and {locked} of its memory are locked"


def _of_all(threads: Sequence[Mapping[str, str]], field: str, wanted: str) -> Seen:
    found = {thread.get(field) for thread in threads}
    if None in found:
        return None, f"the kernel does not show {field}"
    return found == {wanted}, f"{field} is {', '.join(sorted(map(str, found)))}"


def _descriptors(folder: Path) -> Seen:
    try:
        targets = [str(path.readlink()) for path in (folder / "fd").iterdir() if int(path.name) >= _FIRST_OWN]
    except OSError:
        return None, "only root can see what it has open"
    files = sorted(target for target in targets if target.startswith("/"))
    return not files, f"it has {len(files) or 'no'} files open"


def _filtered(threads: Sequence[Mapping[str, str]]) -> Seen:
    if any(thread.get("Seccomp") != _SECCOMP_FILTER for thread in threads):
        return False, "not every thread has a filter"
    return None, f"a filter binds each of {len(threads)} threads; which it is cannot be seen from outside"


def _default_route(net: Path) -> bool | None:
    """Whether packets may leave for anywhere. None: cannot be read."""
    old, new = _text(net / "route"), _text(net / "ipv6_route")
    if old is None and new is None:
        return None
    fields = [line.split() for line in (old or "").splitlines()[1:]]
    if any(field[1] == field[7] == "0" * 8 for field in fields):
        return True
    fields = [line.split() for line in (new or "").splitlines()]
    return any(field[0] == "0" * 32 and field[1] == "00" and field[-1] != "lo" for field in fields)


def _status(folder: Path) -> dict[str, str]:
    text = _text(folder / "status") or ""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
