"""System calls that Python's ``os`` has no name for, through libc. Each raises OSError.

Constants: Linux, include/uapi/linux/{mount,reboot,prctl,module}.h.
"""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_MOVE: Final = 8192

_POWER_OFF: Final = 0x4321FEDC  # LINUX_REBOOT_CMD_POWER_OFF
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAPBSET_DROP: Final = 24
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAPABILITIES_MAX: Final = 64
_FINIT_MODULE: Final = 313  # its number on x86-64; libc has no function of that name

_libc: Final = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2). kind: None where flags say to move or to remount."""
    made = _libc.mount(
        source.encode(), os.fsencode(target), None if kind is None else kind.encode(), flags, options.encode()
    )
    _checked(made, str(target))


def load_module(path: Path) -> None:
    """finit_module(2)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.syscall(_FINIT_MODULE, descriptor, b"", 0), str(path))
    finally:
        os.close(descriptor)


def power_off() -> None:
    """reboot(2): the machine is off, and with it all that it held. Only for the first process."""
    os.sync()
    _checked(_libc.reboot(_POWER_OFF), "reboot")


def drop_to(user: int, group: int) -> None:
    """Gives up every capability, for ever, and becomes ``user``. User 0 stays root by name, but without capabilities
    has only what root owns.
    """
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _checked(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient capabilities")
    for capability in range(_CAPABILITIES_MAX):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # the kernel knows fewer
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def write_settings(settings: Iterable[tuple[str, str]], place: Path = Path("/proc/sys")) -> None:
    """Writes settings below /proc/sys. Raises OSError for the first that cannot be set."""
    for name, value in settings:
        (place / name).write_text(value)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
