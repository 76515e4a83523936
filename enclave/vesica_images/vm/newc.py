"""Initial file systems: cpio archives in the "newc" format, the same bytes for the same content.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, assert_never

_MAGIC: Final = b"070701"
_TRAILER: Final = "TRAILER!!!"
_ALIGNMENT: Final = 4
_FILE_BYTES_MAX: Final = 2**32 - 1
_EXECUTABLE, _PLAIN = 0o755, 0o644


@dataclass(frozen=True)
class File:
    """A plain file."""

    content: bytes
    executable: bool = False


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Folder:
    """A folder. Those above an entry need not be named."""


Entry = File | Link | Folder


def archive(entries: Mapping[str, Entry]) -> bytes:
    """A cpio archive. entries: by path, relative to the root. Everything belongs to root, and has no time.

    Raises ValueError for a path that is absolute, climbs, or lies below something that is no folder.
    """
    tree = _with_parents(entries)
    # In the order of their names: a folder comes before what is in it.
    parts = [_record(number, path, tree[path]) for number, path in enumerate(sorted(tree), start=1)]
    return b"".join([*parts, _header(0, 0, 0, _TRAILER, 0)])


def of_folder(folder: Path, prefix: str = "") -> dict[str, Entry]:
    """Entries for all that is in a folder, as ``archive`` takes them. prefix: goes before each path.

    Owners, times and modes are not kept, but for whether a file may be executed. Raises ValueError for anything but
    plain files, links and folders.
    """
    entries: dict[str, Entry] = {}
    for path in sorted(folder.rglob("*")):
        name = f"{prefix}{path.relative_to(folder)}"
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            entries[name] = Link(str(path.readlink()))
        elif stat.S_ISDIR(mode):
            entries[name] = Folder()
        elif stat.S_ISREG(mode):
            entries[name] = File(path.read_bytes(), executable=bool(mode & stat.S_IXUSR))
        else:
            raise ValueError(f"{path} is no plain file, link or folder")
    return entries


def _with_parents(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    tree: dict[str, Entry] = {}
    for path, entry in entries.items():
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path or path == ".":
            raise ValueError(f"{path} is not a plain relative path")
        for parent in pure.parents:
            if str(parent) != "." and not isinstance(entries.get(str(parent), Folder()), Folder):
                raise ValueError(f"{path} is below something that is no folder")
        tree |= {str(parent): Folder() for parent in pure.parents if str(parent) != "."}
        tree[path] = entry
    return tree


def _record(number: int, path: str, entry: Entry) -> bytes:
    match entry:
        case File():
            mode = stat.S_IFREG | (_EXECUTABLE if entry.executable else _PLAIN)
            content = entry.content
        case Link():
            mode, content = stat.S_IFLNK | 0o777, entry.target.encode()
        case Folder():
            mode, content = stat.S_IFDIR | _EXECUTABLE, b""
        case _:
            assert_never(entry)
    if len(content) > _FILE_BYTES_MAX:
        raise ValueError(f"{path} has more than {_FILE_BYTES_MAX} bytes")
    return _header(number, mode, 2 if isinstance(entry, Folder) else 1, path, len(content)) + _padded(content)


def _header(number: int, mode: int, links: int, path: str, size: int) -> bytes:
    name = path.encode() + b"\0"
    # inode, mode, user, group, links, time, size, device (2), device of a node (2), length of the name, checksum
    fields = (number, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name), 0)
    return _padded(_MAGIC + b"".join(b"%08X" % field for field in fields) + name)


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _ALIGNMENT)
