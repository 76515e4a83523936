"""What somebody who has taken a sealed room over would try, each in a process of its own that is sealed first.

``vesica doctor`` and the tests try them all. A measure that was taken and stops nothing would be seen here.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from ctypes import create_string_buffer
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vesica_enclave.hardening._linux import arch, prctl, syscall
from vesica_enclave.hardening.bpf import Arch
from vesica_enclave.hardening.calls import NUMBERS
from vesica_enclave.hardening.measures import Measure, Step, carry_out

_OWN_MEMORY: Final = Path("/proc/self/mem")
_DONE: Final = 0
_BROKEN: Final = 255  # an exit status that no errno has
_AT_FDCWD: Final = -100
_PR_SET_DUMPABLE: Final = 4
_CLONE_NEWUSER: Final = 0x10000000
_MSG_FASTOPEN: Final = 0x20000000


@dataclass(frozen=True)
class Place:
    """What an attempt finds: a folder it may write in, a file there, a port that listens on loopback."""

    folder: Path
    file: Path
    port: int


@dataclass(frozen=True)
class Attempt:
    """name: what is tried. measure: which stops it. act: does it, or raises OSError."""

    name: str
    measure: Measure
    act: Callable[[Place], object]


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: done, refused with an errno, or killed by a signal (SIGSYS, where it is the filter)."""

    errno: int = 0
    killed_by: int = 0

    @property
    def stopped(self) -> bool:
        """Whether it did not get what it wanted."""
        return bool(self.errno) or self.killed_by == signal.SIGSYS


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A place to try things in."""
    with (
        tempfile.TemporaryDirectory(prefix="vesica-attempt-") as name,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        file = Path(name) / "there"
        file.write_bytes(b"was here before")
        yield Place(Path(name), file, server.getsockname()[1])


def attempt(tried: Attempt, where: Place, steps: Iterable[Step]) -> Outcome:
    """Takes the steps in a child, which then tries. No steps: the control, which shows that it works otherwise.

    Only for a process of one thread. Steps that cannot be taken are left out.
    """
    child = os.fork()
    if not child:
        os._exit(_in_child(tried, where, steps))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Outcome(killed_by=os.WTERMSIG(status))
    if os.WEXITSTATUS(status) == _BROKEN:
        raise RuntimeError(f"the attempt {tried.name!r} is broken")
    return Outcome(errno=os.WEXITSTATUS(status))


def _in_child(tried: Attempt, where: Place, steps: Iterable[Step]) -> int:
    try:
        carry_out(steps, lambda _: None)
        tried.act(where)
    except OSError as error:
        return error.errno or _BROKEN
    except BaseException:  # noqa: BLE001 (whatever it is, this child must not go on as a second parent)
        return _BROKEN
    return _DONE


def _number(name: str) -> int:
    machine = arch()
    number = None if machine is None else NUMBERS[name][0 if machine is Arch.X86_64 else 1]
    if number is None:
        raise OSError(errno.ENOSYS, "numbers mean other calls on this machine")
    return number


def _open(path: Path, flags: int) -> None:
    os.close(os.open(path, flags, 0o600))


def _call(name: str, *arguments: int | None) -> Callable[[Place], object]:
    return lambda _: syscall(_number(name), *arguments)


def _map_code(_: Place) -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _read_other_memory(_: Place) -> None:
    word = create_string_buffer(8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(word), 8)
    at = ctypes.addressof(vector)
    syscall(_number("process_vm_readv"), os.getpid(), at, 1, at, 1, 0)


def _connect(place: Place) -> None:
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", place.port))


def _connect_while_sending(place: Place) -> None:
    with socket.socket() as connection:
        connection.sendto(b"x", _MSG_FASTOPEN, ("127.0.0.1", place.port))


def _make_memory_file(_: Place) -> None:
    os.close(os.memfd_create("x"))


def _run(_: Place) -> None:
    os.execv("/bin/true", ["true"])  # noqa: S606 (that is the attempt)


def _openat2(place: Place) -> None:
    how = (ctypes.c_uint64 * 3)(os.O_RDWR | os.O_CREAT, 0o600, 0)
    path = create_string_buffer(os.fsencode(place.folder / "new"))
    os.close(syscall(_number("openat2"), _AT_FDCWD, path, ctypes.addressof(how), ctypes.sizeof(how)))


def _io_uring(_: Place) -> None:
    parameters = create_string_buffer(120)
    os.close(syscall(_number("io_uring_setup"), 1, parameters))


def _set_a_limit(_: Place) -> None:
    limit = (ctypes.c_uint64 * 2)(0, 0)
    syscall(_number("prlimit64"), 0, resource.RLIMIT_CORE, ctypes.addressof(limit), None)


def _rename(place: Place) -> None:
    place.file.rename(place.folder / "moved")


ATTEMPTS: Final = (
    Attempt("make a file", Measure.SECCOMP, lambda place: _open(place.folder / "new", os.O_WRONLY | os.O_CREAT)),
    Attempt("make a file without a name", Measure.SECCOMP, lambda place: _open(place.folder, os.O_RDWR | os.O_TMPFILE)),
    Attempt("make a file by openat2", Measure.SECCOMP, _openat2),
    Attempt("write to a file", Measure.SECCOMP, lambda place: _open(place.file, os.O_WRONLY)),
    Attempt("cut a file", Measure.SECCOMP, lambda place: os.truncate(place.file, 0)),
    Attempt("make a folder", Measure.SECCOMP, lambda place: (place.folder / "new").mkdir()),
    Attempt("remove a file", Measure.SECCOMP, lambda place: place.file.unlink()),
    Attempt("rename a file", Measure.SECCOMP, _rename),
    Attempt("make a link", Measure.SECCOMP, lambda place: os.link(place.file, place.folder / "new")),
    Attempt("make a symbolic link", Measure.SECCOMP, lambda place: (place.folder / "new").symlink_to(place.file)),
    Attempt("make a pipe with a name", Measure.SECCOMP, lambda place: os.mkfifo(place.folder / "new")),
    Attempt("change who may read a file", Measure.SECCOMP, lambda place: place.file.chmod(0o644)),
    Attempt("make a file in memory", Measure.SECCOMP, _make_memory_file),
    Attempt("map memory as code", Measure.SECCOMP, _map_code),
    Attempt("start a process", Measure.SECCOMP, lambda _: os.fork() or os._exit(0)),
    Attempt("run a program", Measure.SECCOMP, _run),
    Attempt("open a socket", Measure.SECCOMP, lambda _: socket.socket().close()),
    Attempt("open a pair of sockets", Measure.SECCOMP, lambda _: socket.socketpair()),
    Attempt("connect", Measure.SECCOMP, _connect),
    Attempt("connect while sending", Measure.SECCOMP, _connect_while_sending),
    Attempt("write its own memory as a file", Measure.SECCOMP, lambda _: _open(_OWN_MEMORY, os.O_RDWR)),
    Attempt("be traced", Measure.SECCOMP, _call("ptrace", 0, 0, 0, 0)),  # PTRACE_TRACEME, which harms nobody
    Attempt("read memory by process_vm_readv", Measure.SECCOMP, _read_other_memory),
    Attempt("signal its parent", Measure.SECCOMP, lambda _: os.kill(os.getppid(), 0)),
    Attempt("use io_uring", Measure.SECCOMP, _io_uring),
    Attempt("enter a new namespace", Measure.SECCOMP, _call("unshare", _CLONE_NEWUSER)),
    Attempt("become dumpable again", Measure.SECCOMP, lambda _: prctl(_PR_SET_DUMPABLE, 1)),
    Attempt("set a limit", Measure.SECCOMP, _set_a_limit),
    Attempt("change its user", Measure.SECCOMP, lambda _: os.setuid(os.getuid())),
    Attempt("read a file", Measure.LANDLOCK, lambda place: place.file.read_bytes()),
    Attempt("list a folder", Measure.LANDLOCK, lambda place: list(place.folder.iterdir())),
    Attempt("read its environment", Measure.LANDLOCK, lambda _: Path("/proc/self/environ").read_bytes()),
    Attempt("read its own memory as a file", Measure.LANDLOCK, lambda _: _open(_OWN_MEMORY, os.O_RDONLY)),
)
