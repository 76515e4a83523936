"""What runs before there is a root file system: drivers, dm-verity, then the first process in the measured root.

It is the first process (PID 1) in the initial file system, which is measured with the kernel. Every driver that the
machine will ever have is loaded here: ``vesica_init.boot`` turns loading off before it looks at anything that the
operator handed in.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vesica_init import linux, verity

ROOT: Final = Path("/sysroot")
MODULES: Final = Path("/lib/vesica/modules")
NEXT: Final = ("/usr/bin/python3", "-ISB", "/usr/lib/vesica/boot.py")
DATA_NAME: Final = "vesica-root"  # of GPT partitions
HASHES_NAME: Final = "vesica-verity"
_WAIT_SECONDS_MAX: Final = 60.0
_STEP_SECONDS: Final = 0.1


class NoRoot(Exception):
    """The root file system's partitions are not on any disk."""


def main(before_switch: Callable[[], None] = lambda: None) -> None:
    """Mounts the root file system and becomes its first process. It does not return: the machine goes on, or off.

    before_switch: for tests in an image of their own: called when the root is mounted at ROOT.
    """
    try:
        _pseudo_file_systems()
        load_modules(MODULES)
        tree = verity.from_command_line(Path("/proc/cmdline").read_text(encoding="utf-8"))
        data, hashes = wait_for_partitions((DATA_NAME, HASHES_NAME))
        device = verity.open_device(tree, data, hashes)
        _mount_when_there(device)
        before_switch()
        _switch_root()
        os.execve(NEXT[0], NEXT, {"PATH": "/usr/bin"})  # noqa: S606 (no shell: that is the point)
    except Exception as error:  # noqa: BLE001 (whatever it is, there is nothing to go on with)
        stop(error)


def stop(error: BaseException) -> None:
    """Says on the console why, and turns the machine off. The text is about the image and the launch medium, never
    about a submission: there is none yet.
    """
    sys.stdout.write(f"vesica-init: STOPPED: {type(error).__name__}: {error}\n")
    sys.stdout.flush()
    linux.power_off()


def load_modules(place: Path) -> None:
    """Loads the drivers in the order of their names. One whose hardware is not there refuses, and that is fine; if
    one is missing that is needed, what needs it fails.
    """
    for module in sorted(place.iterdir()):
        try:
            linux.load_module(module)
        except OSError:
            continue


def wait_for_partitions(names: tuple[str, ...], block: Path = Path("/sys/class/block")) -> list[Path]:
    """Devices of the partitions with these names (in the GUID partition table), in their order.

    Raises NoRoot after a minute. Two with the same name: the first in the order of device names; dm-verity refuses
    the wrong one.
    """
    deadline = time.monotonic() + _WAIT_SECONDS_MAX
    while True:
        found = _partitions(block)
        if all(name in found for name in names):
            return [found[name] for name in names]
        if time.monotonic() > deadline:
            raise NoRoot(f"no disk has partitions called {' and '.join(names)}")
        time.sleep(_STEP_SECONDS)


def _partitions(block: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for entry in sorted(block.iterdir()):
        lines = (entry / "uevent").read_text(encoding="utf-8", errors="replace").splitlines()
        values = dict(line.partition("=")[::2] for line in lines)
        if "PARTNAME" in values:
            found.setdefault(values["PARTNAME"], Path("/dev") / values["DEVNAME"])
    return found


def _pseudo_file_systems() -> None:
    for kind, place, flags in (
        ("proc", "/proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC),
        ("sysfs", "/sys", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC),
        ("devtmpfs", "/dev", linux.MS_NOSUID | linux.MS_NOEXEC),
    ):
        linux.mount(kind, Path(place), kind, flags)


def _mount_when_there(device: Path) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS_MAX
    while not device.exists() and time.monotonic() < deadline:
        time.sleep(_STEP_SECONDS)
    linux.mount(str(device), ROOT, "squashfs", linux.MS_RDONLY | linux.MS_NODEV | linux.MS_NOSUID)


def _switch_root() -> None:
    """Moves everything to the new root. The old one, a few megabytes of memory, stays, out of reach."""
    for place in ("proc", "sys", "dev"):
        linux.mount(f"/{place}", ROOT / place, None, linux.MS_MOVE)
    os.chdir(ROOT)
    linux.mount(".", Path("/"), None, linux.MS_MOVE)
    os.chroot(".")
    os.chdir("/")
