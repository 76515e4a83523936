"""Where a TPM is talked to: a device file of Linux, or the socket of a TPM in software."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

RESPONSE_BYTES_MAX: Final = 4096
_SECONDS_MAX: Final = 60.0
_HEADER_BYTES: Final = 10
_SIZE: Final = slice(2, 6)

Exchange = Callable[[bytes], bytes]


@contextmanager
def opened(place: Path) -> Iterator[Exchange]:
    """A TPM: behind a resource manager such as ``/dev/tpmrm0``, or a unix socket of swtpm. Raises OSError."""
    with _connected(place) if place.is_socket() else _device(place) as exchange:
        yield exchange


@contextmanager
def _device(place: Path) -> Iterator[Exchange]:
    """One write is one command, one read is its answer. Source: Linux, drivers/char/tpm/tpm-dev-common.c."""
    descriptor = os.open(place, os.O_RDWR | os.O_CLOEXEC)

    def exchange(command: bytes) -> bytes:
        if os.write(descriptor, command) != len(command):
            raise OSError(0, "the device took only a part of a command")
        return os.read(descriptor, RESPONSE_BYTES_MAX)

    try:
        yield exchange
    finally:
        os.close(descriptor)


@contextmanager
def _connected(place: Path) -> Iterator[Exchange]:
    """A stream of commands and answers, each of which says in its header how long it is."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS_MAX)
        connection.connect(str(place))

        def exchange(command: bytes) -> bytes:
            connection.sendall(command)
            answer = _received(connection, b"", _HEADER_BYTES)
            return _received(connection, answer, min(int.from_bytes(answer[_SIZE], "big"), RESPONSE_BYTES_MAX))

        yield exchange


def _received(connection: socket.socket, answer: bytes, size: int) -> bytes:
    while len(answer) < size:
        piece = connection.recv(size - len(answer))
        if not piece:
            return answer
        answer += piece
    return answer
