"""What the room and the broker of configfs-tsm say to each other, over a unix socket.

The room writes nothing, to learn who makes reports here, or the 64 bytes that a report is to be over, and closes its
side. The broker answers one JSON object and closes. The broker is not trusted for a report's content: the attester
reads it as it reads the kernel's, and the verifier outside believes neither.
"""

import base64
import binascii
import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SECONDS_MAX: Final = 90.0  # the kernel waits for a busy host for up to a minute
ANSWER_BYTES_MAX: Final = 512 * 2**10
_READ_BYTES: Final = 2**16


class BrokerFailed(Exception):
    """No report came. The message says why."""


@dataclass(frozen=True)
class Answer:
    """provider: who makes reports, as the kernel names it. The blobs are empty where no report was asked for."""

    provider: str
    outblob: bytes = b""
    auxblob: bytes = b""

    def to_json(self) -> bytes:
        """As it goes over the socket."""
        blobs = {name: base64.b64encode(getattr(self, name)).decode("ascii") for name in ("outblob", "auxblob")}
        return json.dumps({"provider": self.provider, **blobs}).encode("ascii")


def ask(place: Path, report_data: bytes = b"") -> Answer:
    """A report over ``report_data``; nothing: only who would make one.

    Raises BrokerFailed.
    """
    deadline = time.monotonic() + SECONDS_MAX
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS_MAX)
            connection.connect(str(place))
            connection.sendall(report_data)
            connection.shutdown(socket.SHUT_WR)
            return _parse(read_all(connection, deadline, ANSWER_BYTES_MAX))
    except TimeoutError:
        raise BrokerFailed(f"no whole answer from {place} within {SECONDS_MAX:g} seconds") from None
    except OSError as error:
        raise BrokerFailed(f"{place} cannot be asked: {error.strerror or 'the connection broke'}") from None


def read_all(connection: socket.socket, deadline: float, bytes_max: int) -> bytes:
    """What comes until the other side closes.

    Raises TimeoutError at ``deadline`` (of time.monotonic), BrokerFailed for more than ``bytes_max``, OSError.
    """
    found = b""
    while True:
        connection.settimeout(max(deadline - time.monotonic(), 1e-3))
        piece = connection.recv(_READ_BYTES)
        if not piece:
            return found
        found += piece
        if len(found) > bytes_max:
            raise BrokerFailed(f"more than {bytes_max} bytes came")


def _parse(text: bytes) -> Answer:
    try:
        said = json.loads(text)
        if set(said) == {"error"}:
            raise BrokerFailed(str(said["error"]))
        blobs = {name: base64.b64decode(said.pop(name), validate=True) for name in ("outblob", "auxblob")}
        answer = Answer(said.pop("provider"), **blobs)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, binascii.Error):
        raise BrokerFailed("the broker's answer is not what it should be") from None
    if said or not isinstance(answer.provider, str):
        raise BrokerFailed("the broker's answer is not what it should be")
    return answer
