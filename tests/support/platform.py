"""A platform's HTTP service, in a thread, byte by byte under the test's control: on a unix socket, or on loopback."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Reply = Callable[[socket.socket, "Asked"], None]


@dataclass(frozen=True)
class Asked:
    """One request as it came. headers: names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> object:
        return json.loads(self.body)


@dataclass
class Seen:
    """Requests that came, and the address that they came to."""

    address: Path | tuple[str, int]
    requests: list[Asked] = field(default_factory=list)


def whole(status: int, body: bytes) -> Reply:
    """An answer with its length."""
    return raw(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def chunked(body: bytes, size: int = 1000) -> Reply:
    """An answer in chunks, as Go's server sends longer ones."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    coded = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    return raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n")


def raw(data: bytes) -> Reply:
    """Any bytes, and then the connection is closed."""
    return lambda connection, _: connection.sendall(data)


def dripping(data: bytes, pause: float) -> Reply:
    """One byte at a time."""

    def reply(connection: socket.socket, _: Asked) -> None:
        wait = threading.Event()
        for at in range(len(data)):
            connection.sendall(data[at : at + 1])
            wait.wait(pause)

    return reply


def silent(seconds: float) -> Reply:
    """Nothing at all."""
    return lambda *_: threading.Event().wait(seconds) and None


@contextlib.contextmanager
def serving(address: Path | None, reply: Reply) -> Iterator[Seen]:
    """Answers each connection once. address: of the unix socket; None: a free port of 127.0.0.1."""
    listener = socket.socket(socket.AF_UNIX if address else socket.AF_INET)
    listener.bind(str(address) if address else ("127.0.0.1", 0))
    listener.listen()
    seen = Seen(address or listener.getsockname())
    thread = threading.Thread(target=_serve, args=(listener, reply, seen), daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _serve(listener: socket.socket, reply: Reply, seen: Seen) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            asked = _asked(connection)
            seen.requests.append(asked)
            reply(connection, asked)


def _asked(connection: socket.socket) -> Asked:
    with connection.makefile("rb") as stream:
        method, target, _ = stream.readline().decode().split()
        headers = {}
        while (line := stream.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)
