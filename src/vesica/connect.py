"""``vesica connect``: a proxy on this machine's loopback address, so that any HTTP client can talk to a verified room.

It verifies the room before it listens, speaks to the owner of the attested key and to nobody else, and seals every
submission to the attested key on the way, for the party that the token belongs to. Only what is in ``ROUTES`` is
carried; of what a client sends, only the token, the JSON of a question and the bytes of the CSV go on, in requests that
are written anew. Nothing is kept: the token is the client's, and comes with each request.

Whoever can run programs on this machine can reach the proxy, and needs a token as it would at the room. Web pages
cannot: a request must name this very address as its host (DNS rebinding does not), and must not come from another
origin. The owner's journal is kept as by ``vesica submit``: the entry is written before the last bytes leave, and past
the owner's limit they do not.
"""

import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, cast

import httpx

from vesica import errors, refusals
from vesica._shape import parse_json
from vesica.answers import read_submission
from vesica.connect_body import Body, body_of, csv_of, small
from vesica.content import hashed
from vesica.epsilon import parse_epsilon
from vesica.errors import Unauthenticated, VesicaError
from vesica.exchange import CONNECT_SECONDS_MAX, SUBMISSION_ANSWER_SECONDS_MAX, WRITE_SECONDS_MAX, check_token
from vesica.journal import Feed, Journal
from vesica.limits import DISCARDED_BODY_BYTES_MAX, JSON_BODY_BYTES_MAX
from vesica.refusals import RoomAnsweredNonsense, RoomUnreachable, printable
from vesica.sealed import MEDIA_TYPE, seal, sealed_bytes
from vesica.tokens import token_sha256
from vesica.verified import VerifiedRoom

HOST: Final = "127.0.0.1"
CONNECTIONS_MAX: Final = 32
IDLE_SECONDS_MAX: Final = 60.0
ROUTES: Final[Mapping[str, re.Pattern[str]]] = {
    "GET": re.compile(
        r"/(?:healthz|agreement|attestation\?nonce=[0-9a-f]{64}|room|releases(?:/[1-9][0-9]{0,5})?|budgets|receipts)",
        re.ASCII,
    ),
    "POST": re.compile(r"/(?:submissions|plan|releases|close)", re.ASCII),
}
_SUBMISSIONS: Final = "/submissions"
_ANSWER_TYPES: Final = ("application/json", "application/problem+json")
_DISCARD_SECONDS_MAX: Final = 2.0

Told = Callable[[str], None]


class ConnectRefused(VesicaError):
    """A request that the local proxy does not carry; ``status`` is that of the answer."""

    code = "connect-refused"

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class RoomReplaced(VesicaError):
    """At the room's address there is another room than the one that was verified at the start."""

    code = "room-replaced"


_STATUS: Final[Mapping[type[VesicaError], HTTPStatus]] = {
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.UploadIncomplete: HTTPStatus.BAD_REQUEST,
    errors.RequestInvalid: HTTPStatus.BAD_REQUEST,
    errors.RequestTooLarge: HTTPStatus(413),
    errors.TooLarge: HTTPStatus(413),
    errors.MediaTypeUnsupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.SubmissionRejected: HTTPStatus(422),
    refusals.RoomUnreachable: HTTPStatus.BAD_GATEWAY,
    refusals.DataSetLimitReached: HTTPStatus.FORBIDDEN,
    refusals.JournalUnusable: HTTPStatus.INTERNAL_SERVER_ERROR,
}


@dataclass(frozen=True)
class Outgoing:
    """A request to the room. headers: all that it has, but for Host and framing."""

    method: str
    target: str
    headers: Mapping[str, str]
    content: bytes | Iterator[bytes] | None = None


class Bridge:
    """The verified room at the other end. Safe to use from several threads.

    verify: verifies the room at the address, the same way each time.
    """

    def __init__(self, verify: Callable[[], VerifiedRoom]) -> None:
        self._verify = verify
        self._lock = threading.Lock()
        self.room: Final = verify()
        self._client = httpx.Client(
            verify=self.room.context(),
            follow_redirects=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "vesica-connect"},
            timeout=httpx.Timeout(
                connect=CONNECT_SECONDS_MAX, read=SUBMISSION_ANSWER_SECONDS_MAX, write=WRITE_SECONDS_MAX, pool=None
            ),
            # Shorter than a room keeps an idle connection, so that none is used that the room has just ended.
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=4.0),
        )

    def close(self) -> None:
        """Ends all connections."""
        self._client.close()

    def send(self, outgoing: Outgoing) -> httpx.Response:
        """Sends a request; the answer is still to be read, and to be closed.

        Where no connection can be made the room is verified again, and the request sent once more if it is still the
        same room: nothing of it had left.

        Raises RoomUnreachable, RoomReplaced, AttestationRefused, AgreementMismatch, RoomAnsweredNonsense.
        """
        try:
            try:
                return self._send(outgoing)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                self._verify_again()
                return self._send(outgoing)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = printable(str(error), 200) or "the connection ended"
            raise RoomUnreachable(f"cannot talk to the room: {why}") from None

    def _send(self, outgoing: Outgoing) -> httpx.Response:
        url = self.room.address.base + outgoing.target
        request = self._client.build_request(
            outgoing.method, url, headers=dict(outgoing.headers), content=outgoing.content
        )
        return self._client.send(request, stream=True)

    def _verify_again(self) -> None:
        with self._lock:
            found = self._verify()
        if found.identity != self.room.identity:
            raise RoomReplaced(
                "the room at this address is not the one that was verified: it was started again, with an empty "
                "ledger. Nothing is sent to it; run vesica connect again if all parties want that"
            )


class _Feeding:
    """One submission's entry in the owner's journal: begun once, then accepted, refused, or left to count."""

    def __init__(self, journal: Journal, room: VerifiedRoom, party: str, told: Told) -> None:
        limit = next(one.epsilon for one in room.agreement.parties if one.name == party)
        key = room.identity.receipt_public_key.hex()
        self._journal = journal
        self._told = told
        self._feed = Feed(room.agreement.name, room.agreement.digest, key, party, parse_epsilon(limit))
        self._number: int | None = None

    def begin(self, sha256: bytes) -> None:
        """Raises DataSetLimitReached, with nothing written."""
        begun = self._journal.begin(sha256, self._feed)
        self._number = begun.number
        if begun.earlier:
            self._told("WARNING: this data set was fed to a room before; vesica journal shows which")

    def end(self, status: int, answer: bytes) -> None:
        """What the room answered. What is neither of the two it is leaves the entry as it is, and it counts."""
        if self._number is None:
            return
        if status == HTTPStatus.CREATED:
            self._journal.accepted(self._number, read_submission(parse_json(answer)).receipt)
        elif HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._journal.refused(self._number)


class Proxy(ThreadingHTTPServer):
    """Listens on loopback for programs of this machine; one thread a connection, and not more than CONNECTIONS_MAX."""

    daemon_threads = True
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, bridge: Bridge, port: int, told: Told, journal: Journal | None = None) -> None:
        """port 0: a free one. told: gets a line about each request, without anything that it carried."""
        self.bridge = bridge
        self.journal = journal
        self.told = told
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__((HOST, port), _Handler)
        self.hosts: Final = frozenset({f"{name}:{self.server_port}" for name in (HOST, "localhost")})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.server_port}"

    def process_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: tuple[str, int] | str
    ) -> None:
        """Gives a connection a thread; with none left, ends it."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: tuple[str, int] | str
    ) -> None:
        """Serves a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is nothing to report; anything else is a bug, told without its text."""
        del request, client_address
        error = sys.exc_info()[0]
        if error is not None and not issubclass(error, OSError):
            self.told(f"a bug in vesica ({error.__name__}); the request was not carried out")


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server_version = "vesica"
    sys_version = ""
    timeout = IDLE_SECONDS_MAX
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Carries a question without a body."""
        self._carry()

    def do_POST(self) -> None:
        """Carries a question, or a submission."""
        self._carry()

    def handle_expect_100(self) -> bool:
        """ "Go on" is said only once the request has been found good: see ``_go_on``."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library itself refuses, in the form of all other refusals."""
        del message, explain
        self._answer(ConnectRefused(HTTPStatus(code), "this is not a request that vesica connect carries"))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the standard library's)
        """Nothing: what is told, ``_carry`` tells."""

    @property
    def _proxy(self) -> Proxy:
        return cast("Proxy", self.server)

    def _carry(self) -> None:
        self._whole_body_read = False
        self._feeding: _Feeding | None = None
        try:
            self._require_local()
            outgoing = self._outgoing(body_of(self.headers, self.rfile))
            response = self._proxy.bridge.send(outgoing)
        except VesicaError as error:
            self._answer(error)
            return
        try:
            self._pass_on(response)
        finally:
            response.close()

    def _require_local(self) -> None:
        """Raises ConnectRefused for what no program of this machine sends on purpose."""
        if self.headers.get_all("Host", []) not in [[host] for host in self._proxy.hosts]:
            raise ConnectRefused(HTTPStatus.MISDIRECTED_REQUEST, f"this proxy answers as {self._proxy.url} only")
        own = [f"http://{host}" for host in self._proxy.hosts]
        crossing = self.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
        if crossing or any(origin not in own for origin in self.headers.get_all("Origin", [])):
            raise ConnectRefused(HTTPStatus.FORBIDDEN, "this proxy does not answer to pages of other origins")
        allowed = ROUTES[self.command]
        if allowed.fullmatch(self.path) is None:
            status = HTTPStatus.NOT_FOUND
            if any(others.fullmatch(self.path) for others in ROUTES.values()):
                status = HTTPStatus.METHOD_NOT_ALLOWED
            raise ConnectRefused(status, "not one of the paths that vesica connect carries: vesica connect --help")

    def _outgoing(self, body: Body) -> Outgoing:
        token = self._token()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if self.command == "GET":
            if body.length != 0:
                raise errors.RequestInvalid("a GET has no body")
            return Outgoing("GET", self.path, headers)
        if self.path != _SUBMISSIONS:
            self._go_on()
            content = small(body, JSON_BODY_BYTES_MAX)
            return Outgoing("POST", self.path, headers | {"Content-Type": "application/json"}, content)
        party = self._party(token)
        chunks, length = csv_of(self.headers, body)
        if length is not None:
            headers["Content-Length"] = str(sealed_bytes(length))
        room, journal = self._proxy.bridge.room, self._proxy.journal
        if journal is not None:
            self._feeding = _Feeding(journal, room, party, self._proxy.told)
            chunks = hashed(chunks, self._feeding.begin)
        sealed = seal(self._reading(chunks), room.identity.hpke_public_key, room.agreement.digest, party)
        return Outgoing("POST", _SUBMISSIONS, headers | {"Content-Type": MEDIA_TYPE}, sealed)

    def _reading(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The client is told to go on when the room has been reached, and not before."""
        self._go_on()
        yield from chunks
        self._whole_body_read = True

    def _go_on(self) -> None:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()

    def _token(self) -> str | None:
        given = self.headers.get_all("Authorization", [])
        if not given:
            return None
        scheme, _, token = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer":
            raise Unauthenticated("a token is sent as: Authorization: Bearer TOKEN")
        return check_token(token.strip())

    def _party(self, token: str | None) -> str:
        party = None if token is None else self._proxy.bridge.room.agreement.party_of(token_sha256(token))
        if party is None:
            raise Unauthenticated("a submission needs the token of a party of this room's agreement")
        return party

    def _pass_on(self, response: httpx.Response) -> None:
        media = response.headers.get("content-type", "").partition(";")[0].strip()
        if media not in _ANSWER_TYPES or "content-encoding" in response.headers:
            self._answer(RoomAnsweredNonsense(f"the answer (HTTP {response.status_code}) is not a room's"))
            return
        length = response.headers.get("content-length")
        # Without a length, or with a body of the client's unread, the end of the connection ends the answer.
        self._begin(HTTPStatus(response.status_code), media, length, last=length is None or self._unread())
        kept = bytearray()
        try:
            for chunk in response.iter_raw():
                self.wfile.write(chunk)
                kept += chunk if self._feeding is not None else b""
        except httpx.HTTPError:
            self.close_connection = True  # shorter than announced: the client sees that
        if self._feeding is not None:
            self._feeding.end(response.status_code, bytes(kept))
        self._tell(response.status_code)
        self._finish_reading()

    def _answer(self, error: VesicaError) -> None:
        """A refusal of this proxy's own, as a problem document (RFC 9457)."""
        status = _status(error)
        document = {
            "type": f"urn:vesica:problem:{error.code}",
            "title": status.phrase,
            "status": int(status),
            "code": error.code,
            "detail": error.detail,
        }
        body = json.dumps(document).encode()
        self._begin(status, "application/problem+json", str(len(body)), last=True)
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(body)
        self._tell(int(status), error.code)
        self._finish_reading()

    def _begin(self, status: HTTPStatus, media: str, length: str | None, *, last: bool) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", media)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if length is not None:
            self.send_header("Content-Length", length)
        if last:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def _unread(self) -> bool:
        """Whether bytes of the request may still be on their way, which must not be taken for the next request."""
        return self.command == "POST" and self.path == _SUBMISSIONS and not self._whole_body_read

    def _finish_reading(self) -> None:
        """A client that still sends would not read the answer if the connection just ended: take some, and throw it
        away.
        """
        if not self.close_connection:
            return
        self.wfile.flush()
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_DISCARD_SECONDS_MAX)
            left = DISCARDED_BODY_BYTES_MAX
            while left > 0 and (piece := self.connection.recv(2**16)):
                left -= len(piece)
        except OSError:
            return

    def _tell(self, status: int, code: str = "") -> None:
        path = getattr(self, "path", "")
        known = any(pattern.fullmatch(path) for pattern in ROUTES.values())
        # Nothing that a client made up is printed.
        asked = f"{self.command} {path.partition('?')[0]}" if known else "another request"
        self._proxy.told(f"{asked}: {status} {code}".rstrip())


def _status(error: VesicaError) -> HTTPStatus:
    if isinstance(error, ConnectRefused):
        return error.status
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), HTTPStatus.BAD_GATEWAY)
