"""The door: who is let in, how many at once, and for how long before they have said anything.

A guest is a connection from the moment it is accepted, TLS handshake included, until its socket is closed. When the
house is full, somebody leaves for each who comes: of the address that holds most connections, the one that came first.
So whoever floods the room pushes out its own connections, and a client that is quick gets its answer however many idle
ones there are. A fixed number for each address would not do: behind a proxy, and in an enclave without a network of its
own, all parties come from one. A submission that is being read never has to leave; there is one a party at most.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from vesica.events import Event, emit
from vesica.limits import (
    ACCEPT_RETRY_SECONDS,
    ACCEPTED_AT_ONCE_MAX,
    CONNECTIONS_MAX,
    HANDSHAKE_SECONDS_MAX,
    WRITE_SECONDS_MAX,
)
from vesica_enclave.protocol import BoundedProtocol

_IPV6_NETWORK_BITS: Final = 64  # what one subscriber gets; within it an address costs nothing


@dataclass(eq=False)
class Guest:
    """One connection. network: where it comes from. protocol: None until TLS has been agreed on."""

    network: str
    protocol: BoundedProtocol | None = None

    @property
    def may_stay(self) -> bool:
        """Whether a party's submission is being read from it."""
        return self.protocol is not None and self.protocol.may_stay


def who_leaves(guests: Iterable[Guest]) -> Guest | None:
    """Who makes room for the next. guests: in the order in which they came. None: nobody has to."""
    others = [guest for guest in guests if not guest.may_stay]
    held = Counter(guest.network for guest in others)
    # ``max`` takes the first of equals: the one that came first.
    return max(others, key=lambda guest: held[guest.network], default=None)


def network_of(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that an IPv6 address is in."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((address, _IPV6_NETWORK_BITS), strict=False))
        address = address.ipv4_mapped
    return str(address)


class Door:
    """Lets connections in from one listening socket. All methods run on the event loop."""

    def __init__(
        self, listener: socket.socket, tls: ssl.SSLContext | None, make_protocol: Callable[[], BoundedProtocol]
    ) -> None:
        """tls: None for plain HTTP. listener: bound, and listening already."""
        self._listener = listener
        self._tls = tls
        self._make_protocol = make_protocol
        self._guests: dict[Guest, asyncio.Task[None]] = {}  # in the order in which they came
        self._retry: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Begins to let connections in."""
        self._retry = None
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Lets no more in. Whoever is in stays; a handshake that is not finished is given up."""
        if self._retry is not None:
            self._retry.cancel()
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for guest, task in self._guests.items():
            if guest.protocol is None:
                task.cancel()

    def _accept(self) -> None:
        # A few at a time: between two batches, the loop serves whoever is in.
        for _ in range(ACCEPTED_AT_ONCE_MAX):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._wait_for_descriptors()
                return
            if len(self._guests) >= CONNECTIONS_MAX and not self._make_room():
                sock.close()
                continue
            guest = Guest(network_of(address[0]))
            task = asyncio.get_running_loop().create_task(self._host(sock, guest))
            self._guests[guest] = task
            task.add_done_callback(partial(self._see_off, guest, sock))

    def _wait_for_descriptors(self) -> None:
        """The system has no descriptor, or no memory, left. The socket stays ready meanwhile: to look again at once
        would only burn the processor.
        """
        emit(Event.ACCEPT_FAILED, level=40)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        self._make_room()
        self._retry = loop.call_later(ACCEPT_RETRY_SECONDS, self.open)

    def _make_room(self) -> bool:
        emit(Event.CONNECTIONS_FULL)
        guest = who_leaves(self._guests)
        if guest is None:
            return False
        self._guests.pop(guest).cancel()
        return True

    async def _host(self, sock: socket.socket, guest: Guest) -> None:
        """From the handshake to the end of a connection. To cancel it ends the connection at once."""
        loop = asyncio.get_running_loop()
        handshake = None if self._tls is None else HANDSHAKE_SECONDS_MAX
        shutdown = None if self._tls is None else WRITE_SECONDS_MAX
        try:
            _, protocol = await loop.connect_accepted_socket(
                self._make_protocol,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=handshake,
                ssl_shutdown_timeout=shutdown,
            )
        except OSError:  # not TLS, or not within its time, or gone
            return
        guest.protocol = protocol
        try:
            await protocol.ended()
        finally:
            protocol.abort()

    def _see_off(self, guest: Guest, sock: socket.socket, _: asyncio.Task[None]) -> None:
        self._guests.pop(guest, None)
        sock.close()  # where nobody else has: the task was cancelled before it began
