"""A room in a container, hardened as the README says, in a network namespace that has nothing but loopback."""

import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, assert_never

from vesica_images.check.site import CheckFailed, Site

PORT: Final = 8443
URL: Final = f"https://127.0.0.1:{PORT}"
AGREEMENT: Final = "/run/vesica/agreement.toml"
NAME: Final = "vesica-check"
_READY_SECONDS_MAX: Final = 120
_STOP_SECONDS_MAX: Final = 30
_STOP_AGAIN_SECONDS: Final = 3
_LIMITS: Final = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
_LIMIT_MAX: Final = 4096
# `ip netns exec` gives a /sys of its own without control groups; podman wants to see version 2, and uses none.
_INSIDE: Final = 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"'
HARDENED: Final = (
    "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp:rw,noexec,nosuid,nodev", "--cap-drop", "all",
    "--security-opt", "no-new-privileges", "--ipc", "none", "--ulimit", "core=0:0",
)  # fmt: skip


class Runtime(Enum):
    """What runs the container."""

    PODMAN = "podman"
    GVISOR = "gVisor"


@dataclass(frozen=True)
class Container:
    """A room that runs. network: the namespace that it is in, with nobody but who is put there."""

    site: Site
    runtime: Runtime
    network: str

    def inside(self, script: str) -> str:
        """What a Python script says that runs in the container, as the room's user."""
        python = ("/opt/vesica/bin/python3", "-I", "-")
        match self.runtime:
            case Runtime.PODMAN:
                command = _podman(self.site, self.network, "exec", "--interactive", NAME, *python)
            case Runtime.GVISOR:
                command = [*_runsc(self.site, self.network), "exec", NAME, *python]
            case _:
                assert_never(self.runtime)
        return self.site.run(*command, given=script)

    def beside(self, *command: str | Path, **how: object) -> str:
        """What a program says that runs outside, but in the same network namespace: a party's."""
        return self.site.run("ip", "netns", "exec", self.network, *command, **how)  # type: ignore[arg-type]  # passed on


@contextmanager
def running(site: Site, runtime: Runtime, agreement: Path, more: Sequence[str] = ()) -> Iterator[Container]:
    """Starts a room and waits until it answers; afterwards nothing of it is left. more: further options of the room.

    Raises CheckFailed.
    """
    network = f"{NAME}-{os.getpid()}"
    room = ["serve", AGREEMENT, "--host", "127.0.0.1", "--port", str(PORT), "--attester", "insecure-software", *more]
    site.run("ip", "netns", "add", network)
    try:
        site.run("ip", "-n", network, "link", "set", "lo", "up")
        command, stop = _commands(site, runtime, network, agreement, room)
        with site.log.open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
        try:
            container = Container(site, runtime, network)
            _wait_until_healthy(container, process)
            yield container
        finally:
            _stop(site, process, stop)
    finally:
        site.run("ip", "netns", "delete", network)


def _commands(
    site: Site, runtime: Runtime, network: str, agreement: Path, room: Sequence[str]
) -> tuple[list[str], list[str]]:
    """What starts the room, and what tells it to stop."""
    match runtime:
        case Runtime.PODMAN:
            limited = ("--network", "host", "--cgroups=disabled", *HARDENED, *_limits())
            named = (
                "--pull=never",
                "--rm",
                "--name",
                NAME,
                "--volume",
                f"{agreement}:{AGREEMENT}:ro",
                "localhost/vesica:latest",
            )
            start = _podman(site, network, "run", *limited, *named, *room)
            return start, _podman(site, network, "kill", "--signal", "TERM", NAME)
        case Runtime.GVISOR:
            bundle = _bundle(site, agreement, ["vesica", *room])
            runsc = _runsc(site, network)
            return [*runsc, "run", "--bundle", str(bundle), NAME], [*runsc, "kill", NAME, "TERM"]
        case _:
            assert_never(runtime)


def _wait_until_healthy(container: Container, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _READY_SECONDS_MAX
    while time.monotonic() < end:
        if process.poll() is not None:
            raise CheckFailed(f"the room ended before it answered:\n{container.site.tail()}")
        if container.beside("curl", "-ks", f"{URL}/healthz", expected=(0, 7, 35, 56)).startswith('{"status":"ok"'):
            return
        time.sleep(0.5)
    raise CheckFailed(f"no answer within {_READY_SECONDS_MAX} s:\n{container.site.tail()}")


def _stop(site: Site, process: "subprocess.Popen[bytes]", stop: Sequence[str]) -> None:
    end = time.monotonic() + _STOP_SECONDS_MAX
    while process.poll() is None:
        if time.monotonic() > end:
            process.kill()
            process.wait()
            raise CheckFailed(f"the room did not stop at SIGTERM:\n{site.tail()}")
        # More than once: whoever interrupts the start of a container finds none to stop yet.
        site.run(*stop, expected=(0, 1, 125, 128))
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_AGAIN_SECONDS)


def _podman(site: Site, network: str, *words: str) -> list[str]:
    store = ["--root", str(site.oci / "store"), "--runroot", str(site.oci / "run"), "--storage-driver", "vfs"]
    return ["ip", "netns", "exec", network, "unshare", "--mount", "--propagation", "private",
            "sh", "-c", _INSIDE, "sh", "podman", *store, *words]  # fmt: skip


def _limits() -> list[str]:
    """Limits that this machine lets a container have: podman's own are higher, and not every root may set them."""
    words: list[str] = []
    for name, number in _LIMITS.items():
        hard = resource.getrlimit(number)[1]
        value = _LIMIT_MAX if hard == resource.RLIM_INFINITY else min(hard, _LIMIT_MAX)
        words += ["--ulimit", f"{name}={value}:{value}"]
    return words


def _runsc(site: Site, network: str) -> list[str]:
    state = site.work / "gvisor/state"
    return ["ip", "netns", "exec", network, "runsc", "--root", str(state), "--platform", "systrap",
            "--network", "host", "--ignore-cgroups"]  # fmt: skip


def _bundle(site: Site, agreement: Path, command: Sequence[str]) -> Path:
    """An OCI runtime bundle of the image's root file system.

    Source: OCI Runtime Specification 1.1, config.md.
    """
    bundle = site.work / "gvisor/bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    private = ["nosuid", "noexec", "nodev"]
    none: list[str] = []
    sets = ("bounding", "effective", "inheritable", "permitted", "ambient")
    document = {
        "ociVersion": "1.0.2",
        "root": {"path": str(site.root), "readonly": True},
        "process": {
            "terminal": False,
            "user": {"uid": 10001, "gid": 10001},
            "cwd": "/",
            "args": list(command),
            "env": ["PATH=/opt/vesica/bin:/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent", "LANG=C.UTF-8"],
            "capabilities": dict.fromkeys(sets, none),
            "noNewPrivileges": True,
            "rlimits": [{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}],
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [*private, "mode=1777"]},
            {"destination": AGREEMENT, "type": "bind", "source": str(agreement), "options": ["bind", "ro", *private]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }
    (bundle / "config.json").write_text(json.dumps(document))
    return bundle
