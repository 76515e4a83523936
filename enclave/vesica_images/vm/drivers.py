"""Which of the kernel's drivers a VM may have, in the order in which they must be loaded."""

import lzma
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# Disks, network devices and TEEs of the clouds and of QEMU. What is built into the kernel is not named.
WANTED: Final = (
    "sha256-ssse3", "dm-verity", "squashfs",
    "virtio_blk", "virtio_scsi", "sd_mod", "hv_vmbus", "pci-hyperv", "hv_storvsc",
    "virtio_net", "gve", "ena", "hv_netvsc",
    "configfs", "tsm", "sev-guest", "tdx-guest",
)  # fmt: skip
_SUFFIX: Final = ".ko.xz"
_DEPENDS: Final = re.compile(rb"\0depends=([^\0]*)\0")


class DriverMissing(Exception):
    """The kernel's package has no driver of that name."""


def in_order(modules: Path, wanted: Iterable[str] = WANTED) -> list[tuple[str, bytes]]:
    """Names and decompressed bytes of the wanted drivers, each after those that it depends on.

    modules: a folder like /lib/modules/VERSION. Raises DriverMissing.
    """
    found = {_name(path): path for path in modules.rglob(f"*{_SUFFIX}")}
    ordered: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in ordered:
            return
        if name not in found:
            raise DriverMissing(f"no driver called {name} in {modules}")
        content = lzma.decompress(found[name].read_bytes())
        for other in depends(content):
            add(other)
        ordered[name] = content

    for name in wanted:
        add(name.replace("-", "_"))
    return list(ordered.items())


def depends(module: bytes) -> list[str]:
    """Names of the drivers that a driver needs, as it says itself. Raises DriverMissing if it says nothing."""
    said = _DEPENDS.search(module)
    if said is None:
        raise DriverMissing("a file that is no driver: it does not say what it depends on")
    return [name.replace("-", "_") for name in said[1].decode("ascii").split(",") if name]


def _name(path: Path) -> str:
    # Files are named with either sign; the kernel knows one.
    return path.name.removesuffix(_SUFFIX).replace("-", "_")
