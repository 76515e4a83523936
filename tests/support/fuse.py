"""A file system in Python that the kernel mounts: what a test needs of the FUSE protocol, without a library.

``with mounted(directory, folder): ...`` serves ``directory`` (a tree of the classes below) at ``folder``. Every read
and write goes through to it (FOPEN_DIRECT_IO), so short reads and errors reach the caller just as the tree gives
them. Needs Linux, /dev/fuse and CAP_SYS_ADMIN; ``why_not()`` says what is missing.

Source: Linux, include/uapi/linux/fuse.h, protocol 7.31.
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

_LOOKUP, _FORGET, _GETATTR, _SETATTR = 1, 2, 3, 4
_MKDIR, _RMDIR, _OPEN, _READ, _WRITE, _STATFS, _RELEASE = 9, 11, 14, 15, 16, 17, 18
_FLUSH, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _ACCESS, _INTERRUPT, _DESTROY, _BATCH_FORGET = (
    25, 26, 27, 28, 29, 34, 36, 38, 42,
)  # fmt: skip
_NO_REPLY: Final = frozenset({_FORGET, _BATCH_FORGET, _INTERRUPT})
_DIRECT_IO: Final = 1
_MNT_DETACH: Final = 2
_IN_HEADER: Final = struct.Struct("<IIQQIIIHH")
_OUT_HEADER: Final = struct.Struct("<IiQ")
_ROOT: Final = 1
_REQUEST_BYTES_MAX: Final = 2**18


class Handle:
    """One open file. Offsets are the caller's. Any method may raise OSError."""

    def read(self, offset: int, size: int) -> bytes:
        raise OSError(errno.EACCES, "not readable")

    def write(self, offset: int, data: bytes) -> int:
        raise OSError(errno.EACCES, "not writable")

    def close(self) -> None:
        """While the caller is still inside close(2), as configfs does it; an error raised here reaches the caller."""


class File:
    """A file. mode: permission bits."""

    mode = 0o644

    def open(self, flags: int) -> Handle:
        raise NotImplementedError


class Directory:
    """A directory."""

    def children(self) -> "Mapping[str, Directory | File]":
        return {}

    def make(self, name: str) -> None:
        """mkdir."""
        raise OSError(errno.EPERM, "no mkdir here")

    def remove(self, name: str) -> None:
        """rmdir of a child that exists."""
        raise OSError(errno.EPERM, "no rmdir here")


def why_not() -> str | None:
    """Why nothing can be mounted here; None if it can."""
    if not Path("/dev/fuse").exists():
        return "no /dev/fuse"
    if os.geteuid() != 0:
        return "not root: mount(2) needs CAP_SYS_ADMIN"
    return None


@contextlib.contextmanager
def mounted(root: Directory, folder: Path) -> Iterator[Path]:
    """Serves ``root`` at ``folder`` from a thread until the block ends. Bugs in the tree are raised there."""
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"vesica-test", os.fsencode(folder), b"fuse", 0, options) != 0:
        os.close(device)
        raise OSError(ctypes.get_errno(), "mount")
    server = _Server(device, root)
    thread = threading.Thread(target=server.run, name="fuse", daemon=True)
    thread.start()
    try:
        yield folder
    finally:
        libc.umount2(os.fsencode(folder), _MNT_DETACH)
        thread.join(10)
        os.close(device)
    if server.bugs:
        raise server.bugs[0]


class _Server:
    def __init__(self, device: int, root: Directory) -> None:
        self.device = device
        self.nodes: dict[int, Directory | File] = {_ROOT: root}
        self.handles: dict[int, Handle] = {}
        self.last = _ROOT
        self.bugs: list[Exception] = []
        self.calls: dict[int, Callable[[int, bytes], bytes]] = {
            _INIT: self.init, _LOOKUP: self.lookup, _GETATTR: self.getattr, _SETATTR: self.getattr, _MKDIR: self.mkdir,
            _RMDIR: self.rmdir, _OPEN: self.open, _READ: self.read, _WRITE: self.write, _FLUSH: self.flush,
            _RELEASE: self.release, _OPENDIR: self.opendir, _READDIR: self.readdir, _RELEASEDIR: self.nothing,
            _ACCESS: self.nothing, _DESTROY: self.nothing, _STATFS: self.statfs,
        }  # fmt: skip

    def run(self) -> None:
        while True:
            try:
                request = os.read(self.device, _REQUEST_BYTES_MAX)
            except InterruptedError:
                continue
            except OSError:  # ENODEV: unmounted
                return
            _, opcode, unique, node, *_ = _IN_HEADER.unpack_from(request)
            if opcode in _NO_REPLY:
                continue
            error, body = self.answer(opcode, node, request[_IN_HEADER.size :])
            with contextlib.suppress(OSError):  # the caller may be gone
                os.write(self.device, _OUT_HEADER.pack(_OUT_HEADER.size + len(body), -error, unique) + body)

    def answer(self, opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
        if opcode not in self.calls:
            return errno.ENOSYS, b""
        try:
            return 0, self.calls[opcode](node, body)
        except OSError as refusal:
            return refusal.errno or errno.EIO, b""
        except Exception as bug:  # noqa: BLE001 (must answer, or the caller hangs; raised when unmounted)
            self.bugs.append(bug)
            return errno.EIO, b""

    def directory(self, node: int) -> Directory:
        found = self.nodes[node]
        if not isinstance(found, Directory):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        return found

    def number(self, thing: Directory | File) -> int:
        for node, known in self.nodes.items():
            if known is thing:
                return node
        self.last += 1
        self.nodes[self.last] = thing
        return self.last

    def attributes(self, node: int) -> bytes:
        thing = self.nodes[node]
        mode = stat.S_IFDIR | 0o755 if isinstance(thing, Directory) else stat.S_IFREG | thing.mode
        return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def entry(self, thing: Directory | File) -> bytes:
        node = self.number(thing)
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + self.attributes(node)

    def nothing(self, node: int, body: bytes) -> bytes:
        return b""

    def init(self, node: int, body: bytes) -> bytes:
        return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 1, 1, 2**16, 1, 16, 0, 0)

    def statfs(self, node: int, body: bytes) -> bytes:
        return struct.pack("<5Q3I28x", 0, 0, 0, 0, 0, 4096, 255, 4096)

    def lookup(self, node: int, body: bytes) -> bytes:
        child = self.directory(node).children().get(_name(body))
        if child is None:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return self.entry(child)

    def getattr(self, node: int, body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self.attributes(node)

    def mkdir(self, node: int, body: bytes) -> bytes:
        parent, name = self.directory(node), _name(body[8:])
        parent.make(name)
        return self.entry(parent.children()[name])

    def rmdir(self, node: int, body: bytes) -> bytes:
        self.directory(node).remove(_name(body))
        return b""

    def open(self, node: int, body: bytes) -> bytes:
        thing = self.nodes[node]
        if not isinstance(thing, File):
            raise IsADirectoryError(errno.EISDIR, "a directory")
        self.last += 1
        self.handles[self.last] = thing.open(struct.unpack_from("<I", body)[0])
        return struct.pack("<QII", self.last, _DIRECT_IO, 0)

    def opendir(self, node: int, body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0)

    def readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        out = b""
        for place, (name, child) in enumerate(sorted(self.directory(node).children().items()), 1):
            if place <= offset:
                continue
            raw = name.encode()
            kind = stat.S_IFDIR >> 12 if isinstance(child, Directory) else stat.S_IFREG >> 12
            record = struct.pack("<QQII", self.number(child), place, len(raw), kind) + raw
            record += bytes(-len(record) % 8)
            if len(out) + len(record) > size:
                break
            out += record
        return out

    def read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return self.handles[handle].read(offset, size)

    def write(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", self.handles[handle].write(offset, body[40 : 40 + size]), 0)

    def flush(self, node: int, body: bytes) -> bytes:
        self.handles[struct.unpack_from("<Q", body)[0]].close()
        return b""

    def release(self, node: int, body: bytes) -> bytes:
        self.handles.pop(struct.unpack_from("<Q", body)[0], None)
        return b""


def _name(body: bytes) -> str:
    return body.split(b"\0", 1)[0].decode()
