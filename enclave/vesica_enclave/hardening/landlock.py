"""Landlock: which files a sealed room may still read, and what else it has given up. For the thread that calls, and
for every thread that it makes.

Source: Linux, Documentation/userspace-api/landlock.rst and include/uapi/linux/landlock.h. The kernel says which version
(ABI) it speaks: 1 files and folders (Linux 5.13), 2 moving between folders, 3 cutting files, 4 TCP ports (6.7), 5 ioctl
on devices (6.10), 6 abstract unix sockets and signals (6.12), 9 unix sockets by path (7.1).
"""

import errno
import importlib.util
import os
import struct
import sysconfig
from ctypes import create_string_buffer
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Final

from vesica.errors import NotHardened
from vesica_attestation.needs import Needs
from vesica_enclave.hardening._linux import Syscall, syscall
from vesica_enclave.hardening.measures import Measure
from vesica_enclave.hardening.process import require_one_thread

_CREATE_RULESET: Final = 444  # the same three numbers on all machines
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_RULE_NET_PORT: Final = 2
_NET_BIND_TCP: Final = 1
_NET_CONNECT_TCP: Final = 2
_SCOPE_ABSTRACT_UNIX_SOCKET: Final = 1
_SCOPE_SIGNAL: Final = 2
_ABI_NET: Final = 4
_ABI_SCOPE: Final = 6
_ABI_UNIX: Final = 9
_OURS: Final = ("vesica", "vesica_attestation", "vesica_routes", "vesica_enclave")
# What glibc looks at while it runs: the number of processors, and whether memory may be promised twice.
_SYSTEM: Final = (Path("/sys/devices/system/cpu/online"), Path("/proc/sys/vm/overcommit_memory"))


class Access(IntFlag):
    """LANDLOCK_ACCESS_FS_..."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15
    RESOLVE_UNIX = 1 << 16


# How many of them each ABI knows, from the first.
_KNOWN: Final = ((_ABI_UNIX, 17), (5, 16), (3, 15), (2, 14), (1, 13))
# A rule about a file, and no folder, may grant no more than these.
_OF_FILES: Final = Access.READ_FILE | Access.WRITE_FILE | Access.IOCTL_DEV
_READ: Final = Access.READ_FILE | Access.READ_DIR
_DEVICE: Final = Access.READ_FILE | Access.WRITE_FILE | Access.IOCTL_DEV
_ENTRIES: Final = _READ | Access.WRITE_FILE | Access.MAKE_DIR | Access.REMOVE_DIR


@dataclass(frozen=True)
class Grant:
    """What stays possible with a file, or in a folder and below. must: whether it has to be there."""

    path: Path
    access: Access
    must: bool = True


def grants(needs: Needs) -> tuple[Grant, ...]:
    """All that stays possible: to read the program itself, and what the attester needs."""
    return (
        *(Grant(path, _READ, must=False) for path in _code()),
        *(Grant(path, _READ, must=False) for path in _SYSTEM),
        *(Grant(path, _READ, must=False) for path in sorted(needs.reads)),
        *(Grant(path, _DEVICE) for path in sorted(needs.devices)),
        *(Grant(path, _ENTRIES) for path in sorted(needs.entries)),
        # The folder: whoever serves a socket makes a new one when it starts again.
        *(Grant(path.parent, Access.RESOLVE_UNIX, must=False) for path in sorted(needs.sockets)),
    )


def restrict(needs: Needs, call: Syscall = syscall) -> str:
    """Gives up, for good, whatever ``needs`` does not name. Asks for no_new_privs, and for being the only thread."""
    require_one_thread(Measure.LANDLOCK)
    abi = version(call)
    if needs.ports and abi < _ABI_NET:
        raise _failed(f"this kernel's Landlock (ABI {abi}) knows no ports, and the attester has to connect to one")
    handled = handled_access(abi)
    network = _NET_BIND_TCP | _NET_CONNECT_TCP if abi >= _ABI_NET else 0
    scopes = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL if abi >= _ABI_SCOPE else 0
    attributes = struct.pack("=QQQ", handled, network, scopes)
    size = 24 if abi >= _ABI_SCOPE else 16 if abi >= _ABI_NET else 8
    try:
        ruleset = call(_CREATE_RULESET, create_string_buffer(attributes, len(attributes)), size, 0)
        try:
            for grant in grants(needs):
                _add_path(ruleset, grant, handled, call)
            for port in sorted(needs.ports):
                rule = struct.pack("=QQ", _NET_CONNECT_TCP, port)
                call(_ADD_RULE, ruleset, _RULE_NET_PORT, create_string_buffer(rule, len(rule)), 0)
            call(_RESTRICT_SELF, ruleset, 0)
        finally:
            os.close(ruleset)
    except OSError as error:
        raise _failed(f"Landlock (ABI {abi}) did not take the rules: {error.strerror}") from None
    return f"ABI {abi}: files are read only where the program is{_named(needs)}"


def version(call: Syscall = syscall) -> int:
    """The ABI that this kernel speaks. Raises NotHardened if it has no Landlock, or has it off."""
    try:
        return call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        reasons = {
            errno.ENOSYS: "this kernel has no Landlock; it needs Linux 5.13, built with CONFIG_SECURITY_LANDLOCK",
            errno.EOPNOTSUPP: "this kernel has Landlock switched off; add it to lsm= on the kernel's command line",
            errno.EPERM: "something around this process forbids Landlock; let its seccomp profile allow landlock_*",
        }
        raise _failed(reasons.get(error.errno or 0, f"no Landlock here: {error.strerror}")) from None


def handled_access(abi: int) -> Access:
    """All rights over files that this ABI can take away."""
    return next(Access((1 << count) - 1) for since, count in _KNOWN if abi >= since)


def _add_path(ruleset: int, grant: Grant, handled: Access, call: Syscall) -> None:
    access = grant.access & handled
    if not access:
        return
    try:
        # O_PATH: to name it, not to open it; opening a device may do something.
        descriptor = os.open(grant.path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if not grant.must:
            return
        raise _failed(f"{grant.path} is needed, and is not there: {error.strerror}") from None
    try:
        if not grant.path.is_dir():
            access &= _OF_FILES
        rule = struct.pack("=Qi", access, descriptor)  # packed, as the kernel wants it
        call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, create_string_buffer(rule, len(rule)), 0)
    finally:
        os.close(descriptor)


def _code() -> tuple[Path, ...]:
    """Where the program and its libraries are. Modules are imported when they are first needed: some of them late."""
    libraries = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    specs = (importlib.util.find_spec(name) for name in _OURS)
    ours = (place for spec in specs if spec is not None for place in spec.submodule_search_locations or ())
    return tuple(sorted({Path(place) for place in (*libraries, *ours)}))


def _named(needs: Needs) -> str:
    return ", and what the attester needs" if needs != Needs() else ""


def _failed(why: str) -> NotHardened:
    return NotHardened(Measure.LANDLOCK, why)
