"""HTTP by hand: bytes to a socket, answers back, for what a well-behaved client would never send."""

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from support.server import bearer

PROBLEM = "application/problem+json"
BOUNDARY = "vesica-boundary-7d1"


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The stable code of a problem document; fails where the answer is not one."""
        assert self.headers["content-type"] == PROBLEM, self
        document = json.loads(self.body)
        assert document["status"] == self.status, self
        assert document["type"] == f"urn:vesica:problem:{document['code']}", self
        return str(document["code"])


def connect(url: str, *, receive_buffer: int | None = None, source: str | None = None) -> socket.socket:
    """A connection to a room; TLS, unverified, where its address says so. receive_buffer: bytes; small where the client
    is not to read. source: the client's own address.
    """
    sock = knock(url, receive_buffer=receive_buffer, source=source)
    if not url.startswith("https:"):
        return sock
    try:
        return unverified().wrap_socket(sock)
    except BaseException:
        sock.close()
        raise


def knock(url: str, *, receive_buffer: int | None = None, source: str | None = None) -> socket.socket:
    """A TCP connection to a room, and nothing said on it."""
    parts = urlsplit(url)
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source is not None:
        sock.bind((source, 0))
    sock.settimeout(10)
    sock.connect((parts.hostname or "", parts.port or 80))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def unverified() -> ssl.SSLContext:
    """TLS that believes anybody: for tests that are not about who is at the other end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def everything(sock: socket.socket, seconds: float) -> tuple[bytes, bool]:
    """What comes within a time, and whether the connection was ended by then."""
    until = time.monotonic() + seconds
    got = b""
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            chunk = sock.recv(2**16)
        except TimeoutError:
            break
        except OSError:
            return got, True
        if not chunk:
            return got, True
        got += chunk
    return got, False


def replies(raw: bytes) -> list[Reply]:
    """All answers in some bytes; answers of a room have a Content-Length."""
    found: list[Reply] = []
    while raw:
        head, separator, raw = raw.partition(b"\r\n\r\n")
        assert separator, head
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, line
            headers[name.lower()] = value
        length = int(headers.get("content-length", "0"))
        found.append(Reply(int(status), headers, raw[:length]))
        raw = raw[length:]
    return found


def reply(sock: socket.socket, seconds: float = 10) -> Reply:
    """The next answer, whole."""
    until = time.monotonic() + seconds
    got = b""
    while time.monotonic() < until:
        head, separator, body = got.partition(b"\r\n\r\n")
        if separator:
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            wanted = int(lengths[0].partition(b":")[2]) if lengths else 0
            if len(body) >= wanted:
                return replies(got)[0]
        sock.settimeout(max(0.01, until - time.monotonic()))
        chunk = sock.recv(2**16)
        assert chunk, f"the connection ended after {got!r}"
        got += chunk
    raise AssertionError(f"no whole answer within {seconds} s: {got!r}")


def exchange(url: str, *pieces: bytes, pause_seconds: float = 0.0, seconds: float = 1.0) -> list[Reply]:
    """All answers to some bytes. pause_seconds: between pieces, so that they arrive one by one."""
    with connect(url) as sock:
        for i, piece in enumerate(pieces):
            if i and pause_seconds:
                time.sleep(pause_seconds)
            try:
                sock.sendall(piece)
            except OSError:
                break
        got, _ = everything(sock, seconds)
    return replies(got)


def ask(url: str, sent: bytes, seconds: float = 10) -> Reply:
    """The one answer to some bytes, which may come before all of them are sent."""
    with connect(url) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(sent)
        return reply(sock, seconds)


def request(method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """The bytes of a request; a Content-Length is added where there is a body and the headers say nothing of it."""
    fields = {"Host": "room", **(headers or {})}
    names = {name.lower() for name in fields}
    if body and not names & {"content-length", "transfer-encoding"}:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def post_csv(party: str, body: bytes, **headers: str) -> bytes:
    """The bytes of a party's submission as a raw body."""
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return request("POST", "/submissions", {**bearer(party), "Content-Type": "text/csv", **extra}, body)


def part(data: bytes, disposition: str = 'form-data; name="csv_file"; filename="list.csv"', *headers: str) -> bytes:
    """One part of a form, with the boundary before it."""
    lines = [f"--{BOUNDARY}", f"Content-Disposition: {disposition}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data + b"\r\n"


def post_form(party: str, *parts: bytes, end: bytes = f"--{BOUNDARY}--\r\n".encode()) -> bytes:
    """The bytes of a party's submission as a form."""
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return request("POST", "/submissions", {**bearer(party), "Content-Type": kind}, b"".join(parts) + end)


def submit(url: str, party: str, data: bytes | Iterable[bytes], path: str = "/submissions") -> httpx.Response:
    """A party's submission as a well-behaved client sends it."""
    headers = {**bearer(party), "Content-Type": "text/csv"}
    return httpx.post(url + path, content=data, headers=headers, timeout=60)


def release(url: str, party: str, epsilon: str = "50", **question: object) -> httpx.Response:
    """A party's question."""
    body = {"statistic": "intersection_cardinality", "epsilon": epsilon, **question}
    return httpx.post(url + "/releases", json=body, headers=bearer(party), timeout=60)


def count(url: str, party: str, **question: object) -> int:
    """A released count at epsilon 50: the truth, but for 1e-21."""
    answer = release(url, party, **question)
    assert answer.status_code in (200, 201), answer.text
    return int(answer.json()["value"])


def state(url: str) -> str:
    """Where a room is in its life."""
    return str(httpx.get(url + "/room").json()["state"])


def submitted(url: str) -> set[str]:
    """Who has submitted."""
    return {party["name"] for party in httpx.get(url + "/room").json()["parties"] if party["submitted"]}


def csv_of(ids: Iterable[str], header: str = "id") -> bytes:
    """A file of one column; the ids need no quotes."""
    return "\n".join([header, *ids, ""]).encode()
