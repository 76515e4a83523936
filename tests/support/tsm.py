"""configfs-tsm as Linux does it, to be mounted with ``support.fuse``: entries, attributes, generations and their
errors.

Follows drivers/virt/coco/guest/report.c and fs/configfs/file.c of Linux 6.18: a binary attribute is committed when
its file is closed, and an error of that is lost; text attributes are stored by each write; a report is made at the
first read after a write, and kept until the next; the generation counts writes.
"""

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from support.fuse import Directory, File, Handle

INBLOB_BYTES_MAX = 64
OUTBLOB_BYTES_MAX = 32 * 2**10
PRIVLEVEL_MAX = 3
_WRAP = 2**64


@dataclass
class Provider:
    """What a TSM driver registers. report: outblob and auxblob for an inblob and a privilege level; may raise OSError.

    levelled: whether the attributes about privilege levels and the auxblob are there (sev_guest), or not (tdx_guest).
    """

    name: str
    report: Callable[[bytes, int], tuple[bytes, bytes]]
    levelled: bool
    floor: int = 0


@dataclass
class Faults:
    """What goes wrong. errors: by operation (an attribute's name, "mkdir" or "rmdir"), the errors of its next calls.

    piece_bytes_max: a read gives no more at once. lost_writes: as many commits fail as a lost EBUSY does, without a
    trace. rival: called with the entry whenever it has made a report, before the reader gets it: another process that
    writes.
    """

    errors: dict[str, deque[int]] = field(default_factory=dict)
    piece_bytes_max: int = 2**20
    lost_writes: int = 0
    rival: "Callable[[Entry], None] | None" = None

    def strike(self, operation: str) -> None:
        """Raises the next error that is due."""
        if self.errors.get(operation):
            number = self.errors[operation].popleft()
            if number:
                raise OSError(number, os.strerror(number))


class Tsm(Directory):
    """/sys/kernel/config/tsm/report. made: names of all entries ever made; entries: those there are."""

    def __init__(self, provider: Provider | None, faults: Faults | None = None) -> None:
        self.provider = provider
        self.faults = faults or Faults()
        self.entries: dict[str, Entry] = {}
        self.made: list[str] = []

    def children(self) -> Mapping[str, Directory]:
        return self.entries

    def make(self, name: str) -> None:
        self.faults.strike("mkdir")
        if self.provider is None:
            raise OSError(errno.ENXIO, "no provider")
        self.entries[name] = Entry(self.provider, self.faults)
        self.made.append(name)

    def remove(self, name: str) -> None:
        self.faults.strike("rmdir")
        del self.entries[name]


class Entry(Directory):
    """One report instance. commits: what was written, by attribute, in order."""

    def __init__(self, provider: Provider, faults: Faults) -> None:
        self.provider = provider
        self.faults = faults
        self.write_generation = self.read_generation = 0
        self.inblob = b""
        self.privlevel = 0
        self.made: tuple[bytes, bytes] | None = None
        self.commits: list[tuple[str, bytes]] = []
        self.files: dict[str, File] = {
            "generation": _Text(self, "generation", show=lambda: f"{self.write_generation}\n"),
            "provider": _Text(self, "provider", show=lambda: f"{provider.name}\n"),
            "inblob": _Binary(self, "inblob"),
            "outblob": _Binary(self, "outblob"),
        }
        if provider.levelled:
            self.files["privlevel"] = _Text(self, "privlevel", store=self.store_privlevel)
            self.files["privlevel_floor"] = _Text(self, "privlevel_floor", show=lambda: f"{provider.floor}\n")
            self.files["auxblob"] = _Binary(self, "auxblob")

    def children(self) -> Mapping[str, File]:
        return self.files

    def advance(self) -> None:
        """try_advance_write_generation."""
        if self.write_generation == (self.read_generation - 1) % _WRAP:
            raise OSError(errno.EBUSY, "written too often without a read")
        self.write_generation = (self.write_generation + 1) % _WRAP

    def store_privlevel(self, text: bytes) -> None:
        try:
            level = int(text, 0)
        except ValueError:
            raise OSError(errno.EINVAL, "not a number") from None
        if not self.provider.floor <= level <= PRIVLEVEL_MAX:
            raise OSError(errno.EINVAL, "privilege level")
        self.advance()
        self.privlevel = level
        self.commits.append(("privlevel", text))

    def store_inblob(self, data: bytes) -> None:
        if self.faults.lost_writes > 0:
            self.faults.lost_writes -= 1
            raise OSError(errno.EBUSY, "lost by configfs_release_bin_file")
        self.advance()
        self.inblob = data
        self.commits.append(("inblob", data))

    def blob(self, name: str) -> bytes:
        """tsm_report_read."""
        if not self.inblob:
            raise OSError(errno.EINVAL, "no inblob")
        if self.made is None or self.read_generation != self.write_generation:
            self.made = None
            self.made = self.provider.report(self.inblob, self.privlevel)
            self.read_generation = self.write_generation
            if self.faults.rival is not None:
                self.faults.rival(self)
        found = self.made[0] if name == "outblob" else self.made[1]
        if len(found) > OUTBLOB_BYTES_MAX:
            raise OSError(errno.EFBIG, "too big")
        return found


class _Text(File):
    """A text attribute."""

    def __init__(
        self,
        entry: Entry,
        name: str,
        show: Callable[[], str] | None = None,
        store: Callable[[bytes], None] | None = None,
    ) -> None:
        self.entry, self.name, self.show, self.store = entry, name, show, store
        self.mode = 0o444 if show else 0o200

    def open(self, flags: int) -> Handle:
        way = flags & os.O_ACCMODE
        if (way != os.O_RDONLY and self.store is None) or (way != os.O_WRONLY and self.show is None):
            raise OSError(errno.EACCES, "not that way")
        return _TextHandle(self)


class _TextHandle(Handle):
    def __init__(self, file: _Text) -> None:
        self.file = file
        self.page: bytes | None = None

    def read(self, offset: int, size: int) -> bytes:
        self.file.entry.faults.strike(self.file.name)
        if self.page is None:
            assert self.file.show is not None
            self.page = self.file.show().encode()
        return self.page[offset : offset + min(size, self.file.entry.faults.piece_bytes_max)]

    def write(self, offset: int, data: bytes) -> int:
        self.file.entry.faults.strike(self.file.name)
        assert self.file.store is not None
        self.file.store(data)
        return len(data)


class _Binary(File):
    """A binary attribute: inblob is for writing only, the others for reading only."""

    def __init__(self, entry: Entry, name: str) -> None:
        self.entry, self.name = entry, name
        self.mode = 0o200 if name == "inblob" else 0o444

    def open(self, flags: int) -> Handle:
        if (flags & os.O_ACCMODE) != (os.O_WRONLY if self.name == "inblob" else os.O_RDONLY):
            raise OSError(errno.EACCES, "not that way")
        return _BinaryHandle(self.entry, self.name)


class _BinaryHandle(Handle):
    def __init__(self, entry: Entry, name: str) -> None:
        self.entry, self.name = entry, name
        self.buffer: bytes | None = None
        self.writes = 0

    def read(self, offset: int, size: int) -> bytes:
        self.entry.faults.strike(self.name)
        if self.buffer is None:
            self.buffer = self.entry.blob(self.name)
        return self.buffer[offset : offset + min(size, self.entry.faults.piece_bytes_max)]

    def write(self, offset: int, data: bytes) -> int:
        self.entry.faults.strike(self.name)
        if offset + len(data) > INBLOB_BYTES_MAX:
            raise OSError(errno.EFBIG, "an inblob has at most 64 bytes")
        old = (self.buffer or b"").ljust(offset, b"\0")
        self.buffer = old[:offset] + data + old[offset + len(data) :]
        self.writes += 1
        return len(data)

    def close(self) -> None:
        if self.buffer is not None and self.name == "inblob":
            with contextlib.suppress(OSError):  # as configfs does: "result of ->release() is ignored"
                self.entry.store_inblob(self.buffer)
            self.buffer = None
