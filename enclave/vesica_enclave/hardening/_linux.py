"""Linux by number: what Python's own modules do not offer. Every function raises OSError as Python's own do."""

import ctypes
import errno
import os
import sys
from typing import Any, Final, Protocol

from vesica_enclave.hardening.bpf import Arch

Buffer = ctypes.Array[ctypes.c_char]

_MACHINES: Final = {"x86_64": Arch.X86_64, "aarch64": Arch.AARCH64}
_32_BITS: Final = 2**32


class Syscall(Protocol):
    """A system call by number. Arguments: numbers, buffers, or None for a null pointer."""

    def __call__(self, number: int, /, *arguments: int | Buffer | None) -> int:
        """What it returns, if that is no error."""


def arch() -> Arch | None:
    """What kind of machine this is; None for one that is not Linux on x86_64 or aarch64."""
    if not sys.platform.startswith("linux") or sys.maxsize < _32_BITS:
        return None
    return _MACHINES.get(os.uname().machine)


def syscall(number: int, /, *arguments: int | Buffer | None) -> int:
    """The system call itself."""
    return _call("syscall", ctypes.c_long, (number, *arguments))


def libc(name: str, *arguments: int | Buffer | None) -> int:
    """A function of the C library that returns an int, and -1 where it fails."""
    return _call(name, ctypes.c_int, arguments)


def prctl(option: int, *arguments: int) -> int:
    """prctl(2), with zeros for what is left out."""
    return libc("prctl", option, *arguments, *(0,) * (4 - len(arguments)))


def _call(name: str, returns: Any, arguments: tuple[int | Buffer | None, ...]) -> int:  # noqa: ANN401 (a ctypes type)
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    function.restype = returns
    # Whole registers: what is narrower is cut by whoever reads it.
    wide = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result = int(function(*wide))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
