"""What an AWS Nitro enclave runs, and what its parent machine runs for it.

Inside, AWS's own ``init`` has mounted what there is to mount and loaded the driver of the security module; it starts
``inside`` as root. The parent hands in the launch archive (``vesica_init.launch``) over vsock, and afterwards carries
connections. It is not trusted with either.

On the parent: ``python -m vesica_init.nitro launch.img --cid 16``.
"""

import argparse
import asyncio
import contextlib
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vesica_init import bridge, launch, network, services
from vesica_init.services import ROOM_USER, Service

PARENT_CID: Final = 3  # vsock(7), AWS Nitro Enclaves user guide
LAUNCH_PORT: Final = 9001  # 9000 is where AWS's init tells that it is up
ROOM_PORT: Final = 8443
NSM: Final = Path("/dev/nsm")
_SECONDS_MAX: Final = 30.0
_STEP_SECONDS: Final = 0.5


def inside() -> int:
    """Runs one room. When it returns, AWS's init ends the enclave."""
    try:
        asked = launch.read(fetch(bridge.Address(socket.AF_VSOCK, (PARENT_CID, LAUNCH_PORT))))
        services.lay(asked.files)
        network.loopback_up()
        shutil.chown(NSM, 0, ROOM_USER)
        NSM.chmod(0o660)
        argv = (
            services.PYTHON,
            "-I",
            "/usr/lib/vesica/bridge.py",
            f"vsock:any:{ROOM_PORT}",
            f"tcp:127.0.0.1:{asked.port}",
        )
        wanted = [services.room(asked, "127.0.0.1"), Service("bridge", argv, ROOM_USER)]
        services.wait_until_one_ends({services.start(service): service for service in wanted})
    except (launch.LaunchInvalid, OSError) as error:
        sys.stdout.write(f"vesica-init: STOPPED: {type(error).__name__}: {error}\n")
    return 1


def fetch(parent: bridge.Address) -> bytes:
    """The launch archive, as the parent sends it; it may begin to listen a little later than the enclave asks.

    Raises OSError, LaunchInvalid if it is too long.
    """
    found = b""
    with _connected(parent) as connection:
        while piece := connection.recv(2**16):
            found += piece
            if len(found) > launch.MEDIUM_BYTES_MAX:
                raise launch.LaunchInvalid(f"more than {launch.MEDIUM_BYTES_MAX} bytes of a launch archive came")
    return found


def _connected(parent: bridge.Address) -> socket.socket:
    deadline = time.monotonic() + _SECONDS_MAX
    while True:
        connection = socket.socket(parent.family, socket.SOCK_STREAM)
        connection.settimeout(_SECONDS_MAX)
        try:
            connection.connect(parent.place)
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(_STEP_SECONDS)
        else:
            return connection


async def hand_in(listener: socket.socket, archive: bytes) -> None:
    """Sends the archive to whoever connects: the enclave, once for each time that it is started."""
    loop = asyncio.get_running_loop()
    while True:
        client, _ = await loop.sock_accept(listener)
        with client, contextlib.suppress(OSError, TimeoutError):
            client.setblocking(False)
            await asyncio.wait_for(loop.sock_sendall(client, archive), _SECONDS_MAX)


async def _both(launch_listener: socket.socket, archive: bytes, room: socket.socket, target: bridge.Address) -> None:
    await asyncio.gather(hand_in(launch_listener, archive), bridge.carry(room, target))


def main(argv: Sequence[str] | None = None) -> int:
    """The parent's command; it runs until it is stopped."""
    parser = argparse.ArgumentParser(
        prog="vesica_init.nitro", description="Serves one enclave from its parent machine."
    )
    parser.add_argument("archive", metavar="LAUNCH", type=Path, help="the launch archive")
    parser.add_argument("--cid", type=int, required=True, help="the enclave's, as nitro-cli run-enclave said it")
    parser.add_argument("--listen", default="tcp:0.0.0.0:8443", help="where parties connect (default: %(default)s)")
    asked = parser.parse_args(argv)
    try:
        archive = asked.archive.read_bytes()
        launch.read(archive)  # its errors are better seen here than in an enclave
        handing = bridge.listen(bridge.parse(f"vsock:any:{LAUNCH_PORT}"))
        room = bridge.listen(bridge.parse(asked.listen))
    except (OSError, launch.LaunchInvalid, bridge.AddressInvalid) as error:
        parser.error(str(error))
    with handing, room, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_both(handing, archive, room, bridge.parse(f"vsock:{asked.cid}:{ROOM_PORT}")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
