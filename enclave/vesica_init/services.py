"""The programs that an image runs, each with no more rights than it needs."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Final

from vesica_init import launch, linux

ROOM_USER: Final = 10001
ROOM: Final = Path("/run/vesica")
PYTHON: Final = "/opt/vesica/bin/python3"
_VESICA: Final = "/opt/vesica/bin/vesica"
_SUPPLIES: Final = {
    "--tdx-collateral": launch.COLLATERAL,
    "--snp-certificate": launch.CERTIFICATE,
    "--tpm-certificates": launch.TPM_CERTIFICATES,
}
_LISTENER: Final = 3  # as systemd's socket activation has it
_ENVIRONMENT: Final = {
    "PATH": "/opt/vesica/bin:/usr/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


@dataclass(frozen=True)
class Service:
    """A program to run. user: its own; its group is the room's. listener: a socket that it inherits as descriptor 3."""

    name: str
    argv: Sequence[str]
    user: int
    listener: socket | None = None


def room(asked: launch.Launch, host: str) -> Service:
    """The room. host: the address that it listens on."""
    arguments = ["serve", str(ROOM / launch.AGREEMENT), "--host", host, "--port", str(asked.port)]
    arguments.append(f"--attester={asked.attester}")
    for option, name in _SUPPLIES.items():
        if name in asked.files:
            arguments += [option, str(ROOM / name)]
    return Service("room", (_VESICA, *arguments), ROOM_USER)


def lay(files: Mapping[str, bytes], place: Path = ROOM) -> None:
    """Puts the operator's files where the room reads them; it can read and not write them."""
    place.mkdir(mode=0o755, exist_ok=True)
    for name, content in files.items():
        path = place / name
        path.write_bytes(content)
        path.chmod(0o444)


def start(service: Service) -> int:
    """Starts it, and returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        if service.listener is not None:
            os.dup2(service.listener.fileno(), _LISTENER)
            os.set_inheritable(_LISTENER, True)
        linux.drop_to(service.user, ROOM_USER)
        os.execve(service.argv[0], list(service.argv), _ENVIRONMENT)  # noqa: S606 (no shell)
    finally:
        os._exit(127)


def wait_until_one_ends(running: Mapping[int, Service]) -> None:
    """Waits, taking care of orphans meanwhile, until a service ends, and says which on the console."""
    while True:
        pid, status = os.wait()
        if pid in running:
            dumped = "a core dump" if os.WIFSIGNALED(status) and os.WCOREDUMP(status) else "no core dump"
            code = os.waitstatus_to_exitcode(status)
            sys.stdout.write(f"vesica-init: the {running[pid].name} ended with status {code} and {dumped}\n")
            sys.stdout.flush()
            return
