"""One request over HTTP to a service of the platform, bounded in time and size: a unix socket, or a link-local
address."""

import http.client
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_READ_BYTES: Final = 2**16


class ExchangeFailed(Exception):
    """No whole answer came. The message says why, and quotes no byte of an answer."""


@dataclass(frozen=True)
class Service:
    """Where a service listens: the path of a unix socket, or host and port. seconds_max: for a whole exchange."""

    address: Path | tuple[str, int]
    seconds_max: float

    def __str__(self) -> str:
        return str(self.address) if isinstance(self.address, Path) else ":".join(map(str, self.address))


@dataclass(frozen=True)
class Request:
    """document: sent as JSON; None: a GET."""

    target: str
    document: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """status: of HTTP. body: complete."""

    status: int
    body: bytes


def exchange(service: Service, request: Request, bytes_max: int) -> Answer:
    """Sends a request and reads the answer. bytes_max: of its body.

    Raises ExchangeFailed.
    """
    headers = {"Connection": "close", **request.headers}
    body = None
    if request.document is not None:
        body = json.dumps(request.document).encode("ascii")
        headers["Content-Type"] = "application/json"
    connection = _Connection(service)
    try:
        connection.request("GET" if body is None else "POST", request.target, body, headers)
        with connection.getresponse() as response:
            return Answer(response.status, _body(response, bytes_max))
    except TimeoutError:
        raise ExchangeFailed(f"no whole answer from {service} within {service.seconds_max:g} seconds") from None
    except FileNotFoundError:
        raise ExchangeFailed(f"no socket at {service}") from None
    except OSError as error:
        raise ExchangeFailed(f"{service} cannot be reached: {error.strerror or 'the connection broke'}") from None
    except (http.client.HTTPException, ValueError):
        # ValueError: http.client's own, for a chunk length that is no number. Both may quote the answer.
        raise ExchangeFailed(f"the answer of {service} was cut off, or is not HTTP") from None
    finally:
        connection.close()


def _body(response: http.client.HTTPResponse, bytes_max: int) -> bytes:
    if response.length is None and not response.chunked:
        raise ExchangeFailed("an answer that does not say where it ends")
    body = b""
    while piece := response.read(_READ_BYTES):
        body += piece
        if len(body) > bytes_max:
            raise ExchangeFailed(f"an answer of more than {bytes_max} bytes")
    if response.length:  # http.client does not complain about a body that stops short when it is read in pieces
        raise ExchangeFailed("the answer was cut off")
    return body


class _DeadlineSocket(socket.socket):
    """A socket whose reads together end by a moment: a timeout for each read would let a slow server go on for ever."""

    deadline: float

    def recv_into(self, buffer: object, nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(max(self.deadline - time.monotonic(), 1e-3))
        return super().recv_into(buffer, nbytes, flags)  # type: ignore[arg-type]  # passed on as it came


class _Connection(http.client.HTTPConnection):
    def __init__(self, service: Service) -> None:
        super().__init__("localhost" if isinstance(service.address, Path) else service.address[0])
        self._service = service

    def connect(self) -> None:
        """Connects to the service. HTTPConnection calls this before the request."""
        address = self._service.address
        family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
        connection = _DeadlineSocket(family, socket.SOCK_STREAM)
        connection.deadline = time.monotonic() + self._service.seconds_max
        connection.settimeout(self._service.seconds_max)
        self.sock = connection
        connection.connect(str(address) if isinstance(address, Path) else address)
