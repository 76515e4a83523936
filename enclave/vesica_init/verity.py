"""The root file system as a device that is checked block by block while it is read (dm-verity).

All that decides what is accepted is on the kernel's command line, which is measured: the root of the hash tree and
the number of blocks. The disk's partition table only says where to look; a wrong answer there is a wrong hash.

Sources: Linux, Documentation/admin-guide/device-mapper/verity.rst and include/uapi/linux/dm-ioctl.h.
"""

import fcntl
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 4096
_SECTOR_BYTES: Final = 512
_BLOCKS_MAX: Final = 2**28  # a TiB
_CONTROL: Final = Path("/dev/mapper/control")
_NAME: Final = b"vesica-root"
_READ_ONLY: Final = 1
_VERSION: Final = (4, 0, 0)
# struct dm_ioctl: version[3], data_size, data_start, target_count, open_count, flags, event_nr, padding, dev, name,
# uuid, data
_HEADER: Final = struct.Struct("=3IIIIiIIIQ128s129s7x")
_TARGET: Final = struct.Struct("=QQiI16s")  # struct dm_target_spec
_DEV_CREATE, _DEV_SUSPEND, _TABLE_LOAD = (0xC138FD00 + command for command in (3, 6, 9))


class VerityInvalid(Exception):
    """The command line does not say what the root file system is."""


@dataclass(frozen=True)
class Tree:
    """A hash tree. root_hash: of its root, SHA-256, 64 hex digits. blocks: of data, each of BLOCK_BYTES."""

    root_hash: str
    blocks: int

    def table(self, data: Path, hashes: Path) -> str:
        """The parameters of a dm-verity target: format 1, no salt; a block that does not fit stops the machine.

        There is no superblock: nothing about the tree is read from the disk.
        """
        sizes = f"{BLOCK_BYTES} {BLOCK_BYTES} {self.blocks} 0"
        return f"1 {data} {hashes} {sizes} sha256 {self.root_hash} - 1 panic_on_corruption"


def from_command_line(text: str) -> Tree:
    """The tree that ``roothash=`` and ``vesica.blocks=`` name. Raises VerityInvalid unless each is there once."""
    root_hash, blocks = _only(text, "roothash", r"[0-9a-f]{64}"), _only(text, "vesica.blocks", r"[1-9][0-9]{0,9}")
    if int(blocks) > _BLOCKS_MAX:
        raise VerityInvalid(f"vesica.blocks is more than {_BLOCKS_MAX}")
    return Tree(root_hash, int(blocks))


def _only(text: str, name: str, shape: str) -> str:
    values = [word.partition("=")[2] for word in text.split() if word.partition("=")[0] == name]
    if len(values) != 1 or not re.fullmatch(shape, values[0]):
        raise VerityInvalid(f"{name}= must stand on the command line once, as {shape}")
    return values[0]


def open_device(tree: Tree, data: Path, hashes: Path) -> Path:
    """Makes the device, read-only, and says where it is. Raises OSError."""
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        made = fcntl.ioctl(control, _DEV_CREATE, _request(flags=_READ_ONLY))
        fcntl.ioctl(control, _TABLE_LOAD, _load(tree, data, hashes))
        fcntl.ioctl(control, _DEV_SUSPEND, _request())  # without the suspend flag: resumes, and the table takes effect
    finally:
        os.close(control)
    return Path(f"/dev/dm-{os.minor(_HEADER.unpack_from(made)[10])}")


def _request(payload: bytes = b"", *, targets: int = 0, flags: int = 0) -> bytes:
    size = _HEADER.size + len(payload)
    return _HEADER.pack(*_VERSION, size, _HEADER.size, targets, 0, flags, 0, 0, 0, _NAME, b"") + payload


def _load(tree: Tree, data: Path, hashes: Path) -> bytes:
    parameters = tree.table(data, hashes).encode() + b"\0"
    parameters += bytes(-len(parameters) % 8)
    sectors = tree.blocks * BLOCK_BYTES // _SECTOR_BYTES
    target = _TARGET.pack(0, sectors, 0, _TARGET.size + len(parameters), b"verity")
    return _request(target + parameters, targets=1, flags=_READ_ONLY)
