"""Carries connections between kinds of sockets, byte for byte: ``python -m vesica_init.bridge LISTEN TARGET``.

An AWS Nitro enclave has no network; its only way to the world is vsock, to its parent machine. So one bridge inside
goes from vsock to the room, and one on the parent goes from TCP to vsock. Neither is trusted: what passes is TLS, and
the key at its end is in the evidence.

addresses: ``tcp:HOST:PORT``, ``vsock:CID:PORT`` (CID ``any`` to listen), ``unix:PATH``.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

CONNECTIONS_MAX: Final = 400  # two descriptors each, of the 1,024 that a process usually has
CONNECT_SECONDS_MAX: Final = 10.0
# After one side has said that it is done, the other may still send for so long.
LINGER_SECONDS_MAX: Final = 300.0
_PIECE_BYTES: Final = 2**16
_BACKLOG: Final = 128
_NUMBER_MAX: Final = 2**32 - 1
_PORT_MAX: Final = 65_535


class AddressInvalid(Exception):
    """An address that is none of the three kinds."""


@dataclass(frozen=True)
class Address:
    """place: as the socket module takes it for the family."""

    family: int
    place: Any

    def socket(self) -> socket.socket:
        """A new socket of the family, that does not block."""
        made = socket.socket(self.family, socket.SOCK_STREAM)
        made.setblocking(False)
        return made


def parse(text: str) -> Address:
    """An address from its text. Raises AddressInvalid."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        return Address(socket.AF_UNIX, rest)
    first, _, last = rest.rpartition(":")
    if kind == "vsock":
        cid = socket.VMADDR_CID_ANY if first == "any" else _number(first, _NUMBER_MAX)
        return Address(socket.AF_VSOCK, (cid, _number(last, _NUMBER_MAX)))
    if kind == "tcp":
        try:
            host = str(ipaddress.IPv4Address(first))
        except ValueError:
            raise AddressInvalid(f"{first!r} is no IPv4 address") from None
        return Address(socket.AF_INET, (host, _number(last, _PORT_MAX)))
    raise AddressInvalid(f"{text!r} is none of tcp:HOST:PORT, vsock:CID:PORT, unix:PATH")


def listen(address: Address) -> socket.socket:
    """A socket that listens there. Raises OSError."""
    listener = address.socket()
    if address.family == socket.AF_INET:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address.place)
    listener.listen(_BACKLOG)
    return listener


async def carry(listener: socket.socket, target: Address) -> None:
    """Takes every connection to ``target``, at most CONNECTIONS_MAX at once; more wait to be accepted."""
    loop, room = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTIONS_MAX)
    running: set[asyncio.Task[None]] = set()
    while True:
        await room.acquire()
        try:
            client, _ = await loop.sock_accept(listener)
        except OSError:  # it was gone before it was accepted, or there are no descriptors left for now
            room.release()
            await asyncio.sleep(0.05)
            continue
        task = asyncio.create_task(_connection(client, target))
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(lambda _: room.release())


async def _connection(client: socket.socket, target: Address) -> None:
    # An end that breaks ends its own connection, and nothing else.
    with client, target.socket() as server, contextlib.suppress(OSError):
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(server, target.place), CONNECT_SECONDS_MAX)
        ways = {asyncio.create_task(_copy(*ends)) for ends in ((client, server), (server, client))}
        done, left = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if left and not any(way.exception() for way in done):
            _, left = await asyncio.wait(left, timeout=LINGER_SECONDS_MAX)
        for way in left:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while piece := await loop.sock_recv(source, _PIECE_BYTES):
        await loop.sock_sendall(target, piece)
    target.shutdown(socket.SHUT_WR)


def _number(text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > most:
        raise AddressInvalid(f"{text!r} is no number up to {most}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; it runs until it is stopped."""
    parser = argparse.ArgumentParser(prog="vesica_init.bridge", description=__doc__.partition("\n")[0])
    parser.add_argument("listen", metavar="LISTEN", help="tcp:HOST:PORT, vsock:any:PORT or unix:PATH")
    parser.add_argument("target", metavar="TARGET", help="tcp:HOST:PORT, vsock:CID:PORT or unix:PATH")
    asked = parser.parse_args(argv)
    try:
        listener, target = listen(parse(asked.listen)), parse(asked.target)
    except (AddressInvalid, OSError) as error:
        parser.error(str(error))
    with listener, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(carry(listener, target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
