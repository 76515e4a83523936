"""The first process in the measured root file system: closes what must be closed, then runs one room.

Order matters. Loading of drivers and of another kernel is off before the launch medium is looked at. Nothing can be
written but two small file systems in memory. The room runs as a user of its own, without capabilities. When the room
ends, for whatever reason, the machine goes off: there is nothing to come back to.
"""

import shutil
import socket
from pathlib import Path
from typing import Final

from vesica_init import launch, linux, network, services
from vesica_init.initrd import stop
from vesica_init.services import ROOM, ROOM_USER, Service

BROKER_SOCKET: Final = ROOM / "tsm.sock"
TSM: Final = Path("/sys/kernel/config/tsm/report")
TPM: Final = Path("/dev/tpmrm0")
EVENT_LOG: Final = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
_EVENT_LOG_BYTES_MAX: Final = 2**20
_LOCKED: Final = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC

SETTINGS: Final = (
    ("kernel/modules_disabled", "1"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/core_pattern", "|/bin/false"),
    ("fs/suid_dumpable", "0"),
    ("kernel/yama/ptrace_scope", "3"),  # nobody attaches to anybody, until the machine is off
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/sysrq", "0"),
    ("user/max_user_namespaces", "0"),
    ("vm/unprivileged_userfaultfd", "0"),
)


def main() -> None:
    """Runs one room. It does not return: the machine goes off."""
    try:
        _mounts()
        linux.write_settings(SETTINGS)
        asked = launch.read(launch.find(_disks()))
        services.lay(asked.files)
        network.loopback_up()
        if asked.network is not None:
            network.configure(asked.network)
        _hand_over_devices()
        # The broker first: the room looks for it when it starts.
        wanted = [*_broker(), services.room(asked, "0.0.0.0")]  # noqa: S104 (the machine has one address)
        services.wait_until_one_ends({services.start(service): service for service in wanted})
    except Exception as error:  # noqa: BLE001 (whatever it is, there is nothing to go on with)
        stop(error)
    linux.power_off()


def _mounts() -> None:
    linux.mount("proc", Path("/proc"), "proc", linux.MS_REMOUNT | _LOCKED, "hidepid=invisible")
    for kind, place, flags, options in (
        ("configfs", "/sys/kernel/config", _LOCKED, ""),
        ("securityfs", "/sys/kernel/security", _LOCKED | linux.MS_RDONLY, ""),
        ("sysfs", "/sys", linux.MS_REMOUNT | _LOCKED | linux.MS_RDONLY, ""),
        ("tmpfs", "/run", _LOCKED, "size=16m,mode=0755"),
        ("tmpfs", "/tmp", _LOCKED, "size=64m,mode=1777"),  # noqa: S108 (a fresh file system, only ours)
    ):
        linux.mount(kind, Path(place), kind, flags, options)


def _disks(block: Path = Path("/sys/class/block")) -> list[Path]:
    """Whole disks: no partitions, which have a file of that name, and nothing that device-mapper made."""
    entries = [entry for entry in sorted(block.iterdir()) if not (entry / "partition").exists()]
    return [Path("/dev") / entry.name for entry in entries if not (entry / "dm").exists()]


def _hand_over_devices() -> None:
    """A TPM is the room's to use, and so is the list of what was measured into it."""
    if TPM.exists():
        shutil.chown(TPM, 0, ROOM_USER)
        TPM.chmod(0o660)
    if EVENT_LOG.exists():
        with EVENT_LOG.open("rb") as file:
            (ROOM / "tpm-event-log").write_bytes(file.read(_EVENT_LOG_BYTES_MAX))


def _broker() -> list[Service]:
    """The broker of hardware reports, where the kernel can make any."""
    if not TSM.is_dir():
        return []
    argv = (services.PYTHON, "-I", "-m", "vesica_attestation.tsm_broker")
    return [Service("broker", argv, 0, _listen(BROKER_SOCKET))]


def _listen(path: Path) -> socket.socket:
    """A socket that only the room may connect to."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    shutil.chown(path, 0, ROOM_USER)
    path.chmod(0o660)
    listener.listen()
    return listener
