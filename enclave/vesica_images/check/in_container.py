"""What must fail in a running container, tried from inside of it by a process of the room's own user.

This file is handed to the container's Python as text, and needs its standard library only. It prints one line for each
check. It does not care what makes an attempt fail, the container or the room itself: only that it fails.
"""

import ctypes
import errno
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOM: Final = 1
ROOM_USER: Final = 10001
RESIDENT_KIB_MAX: Final = 200 * 1024
# File systems that are in memory and end with the container.
IN_MEMORY: Final = frozenset({"tmpfs", "mqueue"})
_SCRATCH: Final = Path("/tmp")
_PTRACE_ATTACH: Final = 16
_PTRACE_DETACH: Final = 17
_STARTED_SECONDS_MAX: Final = 60
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_UNREACHABLE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT})
_libc: Final = ctypes.CDLL(None, use_errno=True)
_MARKED: Final = ctypes.create_string_buffer(b"vesica: a page that somebody wants to read")


def attempt(act: Callable[[], object]) -> int:
    """0, or the errno with which the system refuses."""
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0


def refused(what: str, act: Callable[[], object], allowed: frozenset[int] = _REFUSED) -> str:
    """The name of the error. Raises AssertionError if it went through, or failed for another reason."""
    number = attempt(act)
    if number not in allowed:
        raise AssertionError(f"{what}: {errno.errorcode.get(number, number) if number else 'it was allowed'}")
    return errno.errorcode[number]


def status_of(pid: int) -> dict[str, list[str]]:
    """/proc/<pid>/status, by field."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}


def no_rights() -> str:
    """The room's own standing."""
    status = status_of(ROOM)
    if set(status["Uid"]) != {str(ROOM_USER)} or set(status["Gid"]) != {str(ROOM_USER)}:
        raise AssertionError(f"another user than the room's: {status['Uid']} {status['Gid']}")
    for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"):
        if int(status.get(name, ["0"])[0], 16):
            raise AssertionError(f"{name} {status[name][0]}")
    if status.get("NoNewPrivs", ["1"]) != ["1"]:  # gVisor shows no such line; there, no program has more rights
        raise AssertionError("a program could get more rights")
    return f"user {ROOM_USER}, no capabilities"


def resident_at_start() -> str:
    """The memory that the room has before anybody sends it anything."""
    status = status_of(ROOM)
    resident = int(status["VmRSS"][0])
    if "RssAnon" not in status:
        return "not to be told: gVisor counts whole files that are mapped as resident"
    if resident > RESIDENT_KIB_MAX:
        raise AssertionError(f"{resident} KiB resident")
    return f"{resident // 1024} MiB resident at start"


def writes_in_memory_only() -> str:
    """Every folder there is, and every file: what can be written is in memory."""
    systems = {line.split()[1]: line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}
    folders = files = 0
    written: list[str] = []
    for place, names, others in os.walk("/"):
        if place == "/":
            names.remove("proc")
        folders += 1
        trial = Path(place) / ".vesica-trial"
        if attempt(trial.touch) == 0:
            trial.unlink()
            written.append(place)
        for name in others:
            path = Path(place) / name
            files += 1
            # Writing to a device or a socket is no writing of files.
            if os.access(path, os.W_OK) and stat.S_ISREG(path.stat().st_mode):
                written.append(str(path))
    for place in written:
        kind = _system_of(Path(place), systems)
        if kind not in IN_MEMORY:
            raise AssertionError(f"{place} can be written; it is on {kind}")
    if str(_SCRATCH) not in written:
        raise AssertionError(f"{_SCRATCH} cannot be written: this looked at nothing")
    return f"{folders} folders and {files} files tried; writable: {', '.join(written)}, in memory"


def _system_of(path: Path, systems: dict[str, str]) -> str:
    return next(systems[str(place)] for place in (path, *path.parents) if str(place) in systems)


def scratch_runs_nothing() -> str:
    """A program in the one place that can be written."""
    program = _SCRATCH / "program"
    shutil.copyfile("/usr/bin/true", program)
    program.chmod(0o755)
    try:
        return refused("running it", lambda: subprocess.run([program], check=False))  # noqa: S603
    finally:
        program.unlink()


def no_way_out() -> str:
    """Connections to elsewhere: to addresses for documentation (RFC 5737, RFC 3849), which nobody has."""
    told = []
    for family, kind, address in (
        (socket.AF_INET, socket.SOCK_STREAM, ("192.0.2.1", 443)),
        (socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.53", 53)),
        (socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8::1", 443)),
    ):
        with socket.socket(family, kind) as client:
            client.settimeout(5)
            told.append(f"{address[0]} {refused(address[0], lambda: client.connect(address), _UNREACHABLE)}")  # noqa: B023
    return ", ".join(told)


def memory_unreadable() -> str:
    """The room's memory, by ways that open that of a process which hides nothing."""
    other = os.fork()
    if other == 0:
        time.sleep(60)
        os._exit(0)
    try:
        told = []
        for name, read in (("mem", _read_mem), ("process_vm_readv", _read_vector)):
            control = attempt(lambda: read(other))  # noqa: B023
            if control not in {0, errno.EPERM, errno.EACCES, errno.ENOSYS}:
                raise AssertionError(f"{name} of another process: {errno.errorcode.get(control, control)}")
            if control == 0:
                told.append(f"{name} {refused(name, lambda: read(ROOM))}")  # noqa: B023
            else:
                told.append(f"{name} {errno.errorcode[control]}, of any process")
        return ", ".join(told)
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def _read_mem(pid: int) -> None:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(ctypes.addressof(_MARKED))
        if not memory.read(8):
            raise OSError(errno.EIO, "nothing")


def _read_vector(pid: int) -> None:
    into = ctypes.create_string_buffer(8)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(into), 8)
    there = (ctypes.c_size_t * 2)(ctypes.addressof(_MARKED), 8)
    arguments = (pid, here, 1, there, 1, 0)
    if _libc.process_vm_readv(*(ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def not_traceable() -> str:
    """What a debugger (gcore, gdb) does first."""
    _libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)

    def attach() -> None:
        if _libc.ptrace(_PTRACE_ATTACH, ROOM, None, None) < 0:
            raise OSError(ctypes.get_errno(), "refused")
        os.waitpid(ROOM, 0)
        _libc.ptrace(_PTRACE_DETACH, ROOM, None, None)

    return refused("PTRACE_ATTACH", attach)


def no_core_file() -> str:
    """A room that crashes: a second one, like the first, started where a core file could be written."""
    words = [word.decode() for word in Path(f"/proc/{ROOM}/cmdline").read_bytes().split(b"\0")[:-1]]
    if words[1] == "-I":  # the interpreter and the script, as #! started them
        words = words[2:]
    words[words.index("--port") + 1] = "0"
    room = subprocess.Popen(words, cwd=_SCRATCH, stdout=subprocess.PIPE, preexec_fn=_as_much_as_may_be)  # noqa: S603, PLW1509
    if room.stdout is None or b" is ready at " not in room.stdout.readline():
        raise AssertionError("the second room did not start")
    os.kill(room.pid, signal.SIGSEGV)
    _, status = os.waitpid(room.pid, 0)
    room.returncode = status
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGSEGV:
        raise AssertionError(f"the second room did not crash: {status}")
    left = [str(path) for path in _SCRATCH.rglob("*") if "core" in path.name]
    if os.WCOREDUMP(status) or left:
        raise AssertionError(f"the kernel dumped its memory: {left}")
    return f"a room with SIGSEGV left nothing (core_pattern {_core_pattern()})"


def _as_much_as_may_be() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def _core_pattern() -> str:
    try:
        return Path("/proc/sys/kernel/core_pattern").read_text().strip()
    except OSError:
        return "not to be seen"


CHECKS: Final = (
    resident_at_start, no_rights, writes_in_memory_only, scratch_runs_nothing, no_way_out, memory_unreadable,
    not_traceable, no_core_file,
)  # fmt: skip


def main() -> None:
    """All checks."""
    for check in CHECKS:
        try:
            line = f"ok {check.__name__}: {check()}"
        except Exception as error:  # noqa: BLE001 (a check that breaks has failed)
            line = f"FAILED {check.__name__}: {type(error).__name__}: {error}"
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
