"""Measures that concern the process alone. Each is one function: it says what it made sure of, or raises NotHardened.

Source: Linux, core(5), PR_SET_DUMPABLE and PR_SET_NO_NEW_PRIVS in prctl(2), mlockall(2), capabilities(7).
"""

import errno
import os
import resource
import struct
from collections.abc import Callable
from ctypes import create_string_buffer
from pathlib import Path
from typing import Final

from vesica.errors import NotHardened
from vesica_enclave.hardening._linux import libc, prctl
from vesica_enclave.hardening.measures import Measure

_COREDUMP_FILTER: Final = Path("/proc/self/coredump_filter")
_SWAPS: Final = Path("/proc/swaps")
_TASKS: Final = Path("/proc/self/task")
_STATUS: Final = Path("/proc/self/status")
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39
_MCL_CURRENT_FUTURE_ONFAULT: Final = 1 | 2 | 4
_CAP_IPC_LOCK: Final = 14
_CAPABILITY_VERSION: Final = 0x20080522
_PRIVATE: Final = 0o077
_FIRST_INHERITED: Final = 3
_DESCRIPTORS_MAX: Final = 2**31 - 1


def no_core_dumps() -> str:
    """A crash writes no memory anywhere. Before ``memory_hidden``: that hides the file which is written here."""
    # A program that core_pattern pipes to is not bound by RLIMIT_CORE. It would get a dump without memory.
    try:
        _COREDUMP_FILTER.write_text("0")
        empty = ", and a dump would hold no memory"
    except OSError:
        empty = ""  # some containers show no such file; memory_hidden alone forbids the dump then
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        raise NotHardened(Measure.NO_CORE_DUMPS, "the limit on core dumps cannot be set to 0")
    return f"core dumps are limited to 0 bytes{empty}"


def memory_hidden() -> str:
    """Not dumpable: its memory cannot be read or traced by its own user, and no core dump is made, to a pipe neither.

    What undoes it (another user id, another program) is impossible once the process is sealed.
    """
    try:
        prctl(_PR_SET_DUMPABLE, 0)
        hidden = prctl(_PR_GET_DUMPABLE) == 0
    except OSError as error:
        raise NotHardened(Measure.MEMORY_HIDDEN, f"this system cannot hide its memory: {error.strerror}") from None
    if not hidden:
        raise NotHardened(Measure.MEMORY_HIDDEN, "the process is still dumpable")
    return "not dumpable: only root can read its memory"


def no_swap(swaps: Path = _SWAPS, lock: Callable[[], str] | None = None) -> str:
    """No memory goes to a disk: there is no swap, or all memory is locked.

    No swap is proved for this moment only: root can turn it on later. lock: locks all memory, and says so.
    """
    try:
        with swaps.open(encoding="utf-8", errors="replace") as file:
            used = len(file.read().splitlines()) - 1  # below a headline
    except OSError:
        used = -1
    if used == 0:
        return "no swap is in use"
    try:
        return (lock or _lock_memory)()
    except OSError as error:
        found = "swap is in use" if used > 0 else f"{swaps} cannot be read"
        raise NotHardened(
            Measure.NO_SWAP,
            f"{found}, and memory cannot be locked ({error.strerror}); turn swap off (swapoff -a), or give the process "
            "CAP_IPC_LOCK or an unlimited RLIMIT_MEMLOCK",
        ) from None


def _lock_memory() -> str:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
        except (OSError, ValueError):
            # With the capability the limit does not count. Without it, a room could lock itself in and never grow.
            if not effective_capabilities() >> _CAP_IPC_LOCK & 1:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM)) from None
    libc("mlockall", _MCL_CURRENT_FUTURE_ONFAULT)
    if not _is_locked():  # some that stand in for a kernel (gVisor) say yes and do nothing
        raise OSError(errno.ENOTSUP, "the kernel shows no locked memory")
    return "all memory, also that to come, is locked"


def private_files() -> str:
    """Whatever this process might make is for its own user only."""
    os.umask(_PRIVATE)
    return "umask 077"


def no_new_privileges() -> str:
    """No program that is started gives more rights than this process has. Landlock and seccomp ask for it."""
    try:
        prctl(_PR_SET_NO_NEW_PRIVS, 1)
        held = prctl(_PR_GET_NO_NEW_PRIVS) == 1
    except OSError as error:
        raise NotHardened(Measure.NO_NEW_PRIVILEGES, f"this system cannot promise it: {error.strerror}") from None
    if not held:
        raise NotHardened(Measure.NO_NEW_PRIVILEGES, "the kernel took the promise and does not keep it")
    return "no_new_privs is set"


def nothing_inherited(keep: int | None = None) -> str:
    """Files and sockets that were open when the process was started are closed, but for stdin, stdout and stderr.

    keep: a descriptor that stays.
    """
    end = min(os.sysconf("SC_OPEN_MAX"), _DESCRIPTORS_MAX)
    if keep is None:
        os.closerange(_FIRST_INHERITED, end)
    else:
        os.closerange(_FIRST_INHERITED, keep)
        os.closerange(keep + 1, end)
    return "only stdin, stdout and stderr are taken over"


def no_capabilities() -> str:
    """The process gives up all capabilities, for good, but the one that keeps locked memory growing.

    It keeps its user id: root's own files stay root's. Only for a process of one thread: each has its own.
    """
    require_one_thread(Measure.NO_CAPABILITIES)
    keep = 1 << _CAP_IPC_LOCK if _locked_by_capability() else 0
    kept = effective_capabilities() & keep
    header = create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    data = create_string_buffer(struct.pack("=IIIIII", kept, kept, 0, 0, 0, 0))
    try:
        libc("capset", header, data)
        left = effective_capabilities()
    except OSError as error:
        raise NotHardened(Measure.NO_CAPABILITIES, f"they cannot be given up: {error.strerror}") from None
    if left != kept:
        raise NotHardened(Measure.NO_CAPABILITIES, "the kernel did not take all of them")
    return "CAP_IPC_LOCK is left, for locked memory" if kept else "none is left"


def require_one_thread(measure: Measure) -> None:
    """Raises NotHardened if there are more threads: they would keep what this one gives up."""
    try:
        threads = sum(1 for _ in _TASKS.iterdir())
    except OSError as error:
        raise NotHardened(
            measure, f"{_TASKS} cannot be read ({error.strerror}), so threads cannot be counted"
        ) from None
    if threads != 1:
        raise NotHardened(measure, f"{threads} threads run before the room does, and this would bind only one of them")


def effective_capabilities() -> int:
    """Those of this thread, as bits. Raises OSError."""
    header = create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    data = create_string_buffer(24)
    libc("capget", header, data)
    low, high = struct.unpack("=I8xI8x", data.raw[:24])
    return int(high) << 32 | int(low)


def _locked_by_capability() -> bool:
    """Whether memory is locked, and grows only because CAP_IPC_LOCK lifts the limit."""
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY and _is_locked()


def _is_locked() -> bool:
    text = _STATUS.read_text(encoding="utf-8", errors="replace")
    return any(line.startswith("VmLck:") and line.split()[1] != "0" for line in text.splitlines())
