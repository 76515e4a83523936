"""The parts of the disk: root file system, its hash tree, the boot partition, and the table that names them.

Every tool is told each value that it would otherwise take from the clock, from chance, or from the machine.

Source of the partitions' types and numbers: the Discoverable Partitions Specification.
"""

import os
import re
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vesica_init.initrd import DATA_NAME, HASHES_NAME
from vesica_init.verity import BLOCK_BYTES, Tree

EPOCH: Final = 1767225600  # 2026-01-01, as in the container's image
_MIB: Final = 2**20
_SECTOR_BYTES: Final = 512
_BOOT_BYTES: Final = 64 * _MIB
_BOOT_ID: Final = "56455349"
_BOOT_TYPE: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_BOOT_NUMBER: Final = "3D0A6F2E-6C1B-4E0C-9B0B-5645534943A1"
_DISK_NUMBER: Final = "8E0F1C52-9B6A-4B8E-8D27-5645534943A0"
_DATA_TYPE: Final = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"  # root, x86-64
_HASHES_TYPE: Final = "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5"  # its dm-verity
_ENVIRONMENT: Final = {"LC_ALL": "C", "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
# How a check lets tools believe that it is another day (libfaketime).
_PRETENDED: Final = ("LD_PRELOAD", "FAKETIME")


def run(*command: str | Path, folder: Path | None = None, text: str = "", **environment: str) -> str:
    """Runs a tool in an environment of its own, and returns what it printed.

    Raises CalledProcessError; the tool's own words go to stderr.
    """
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    pretended = {name: os.environ[name] for name in _PRETENDED if name in os.environ}
    done = subprocess.run(  # noqa: S603 (tools by name, and paths of ours)
        [str(part) for part in command],
        check=True,
        cwd=folder,
        input=text,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": path, **_ENVIRONMENT, **pretended, **environment},
    )
    return done.stdout


def file_system(root: Path, target: Path) -> None:
    """A squashfs of a folder. Everything in it belongs to root and has one time."""
    target.unlink(missing_ok=True)
    times = ("-mkfs-time", str(EPOCH), "-all-time", str(EPOCH))
    shape = ("-noappend", "-no-exports", "-no-xattrs", "-all-root", "-comp", "zstd", "-Xcompression-level", "3")
    run("mksquashfs", root, target, *shape, *times, "-no-progress", "-quiet")


def hash_tree(data: Path, target: Path) -> Tree:
    """The dm-verity tree of a file, without salt or superblock: nothing but what the root hash fixes."""
    target.unlink(missing_ok=True)
    target.touch()
    sizes = (f"--data-block-size={BLOCK_BYTES}", f"--hash-block-size={BLOCK_BYTES}", "--hash=sha256")
    told = run("veritysetup", "format", "--no-superblock", "--salt=-", *sizes, data, target)
    found = re.search(r"^Root hash:\s+([0-9a-f]{64})$", told, re.MULTILINE)
    if found is None:
        raise RuntimeError("veritysetup told no root hash")
    return Tree(found[1], data.stat().st_size // BLOCK_BYTES)


def boot_partition(kernel: Path, target: Path) -> None:
    """A FAT file system with one program, which a machine's firmware starts by itself."""
    target.unlink(missing_ok=True)
    with target.open("wb") as file:
        file.truncate(_BOOT_BYTES)
    run("mkfs.vfat", "--invariant", "-F", "32", "-i", _BOOT_ID, "-n", "VESICA", target)
    run("mmd", "-i", target, "::EFI", "::EFI/BOOT", SOURCE_DATE_EPOCH=str(EPOCH))
    run("mcopy", "-i", target, kernel, "::EFI/BOOT/BOOTX64.EFI", SOURCE_DATE_EPOCH=str(EPOCH))


def assemble(boot: Path, data: Path, hashes: Path, tree: Tree, target: Path) -> None:
    """A disk with a GUID partition table. The partitions' numbers are the two halves of the root hash."""
    halves = [str(uuid.UUID(tree.root_hash[place : place + 32])) for place in (0, 32)]
    parts = (
        (boot, _BOOT_TYPE, _BOOT_NUMBER, "vesica-boot"),
        (data, _DATA_TYPE, halves[0], DATA_NAME),
        (hashes, _HASHES_TYPE, halves[1], HASHES_NAME),
    )
    starts = _starts([part[0].stat().st_size for part in parts])
    target.unlink(missing_ok=True)
    with target.open("wb") as file:
        file.truncate(starts[-1] + _MIB)
        for start, part in zip(starts, parts, strict=False):
            file.seek(start)
            file.write(part[0].read_bytes())
    lines = ["label: gpt", f"label-id: {_DISK_NUMBER}", "unit: sectors", "sector-size: 512"]
    for start, (path, kind, number, name) in zip(starts, parts, strict=False):
        size = -(-path.stat().st_size // _SECTOR_BYTES)
        lines.append(f'start={start // _SECTOR_BYTES}, size={size}, type={kind}, uuid={number}, name="{name}"')
    run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", target, text="\n".join(lines) + "\n")


def _starts(sizes: Sequence[int]) -> list[int]:
    """Where each part begins, on whole MiB, and where the last one's end is rounded to."""
    starts = [_MIB]
    for size in sizes:
        starts.append(-(-(starts[-1] + size) // _MIB) * _MIB)
    return starts
