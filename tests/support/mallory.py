"""Whoever is in the middle: TLS with a key of its own, and answers that it passes on or makes up."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from vesica_enclave.identity import RoomKeys, tls_context

Answer = tuple[int, dict[str, object]]


@dataclass
class Mallory:
    """keys: of its TLS. answer: what it says to a path (with its query). heard: every byte that it was sent."""

    answer: Callable[[str], Answer]
    keys: RoomKeys = field(default_factory=RoomKeys)
    heard: bytearray = field(default_factory=bytearray)
    url: str = ""


def passing_on(url: str) -> Callable[[str], Answer]:
    """The answers of a real room."""

    def answer(path: str) -> Answer:
        got = httpx.get(url + path, verify=False)
        return got.status_code, got.json()

    return answer


class _Tee:
    def __init__(self, stream: object, heard: bytearray) -> None:
        self._stream, self._heard = stream, heard

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def readline(self, size: int = -1) -> bytes:
        line = self._stream.readline(size)
        self._heard += line
        return line

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._heard += data
        return data


@contextlib.contextmanager
def listening(mallory: Mallory) -> Iterator[Mallory]:
    """Lets it listen on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def setup(self) -> None:
            super().setup()
            self.rfile = _Tee(self.rfile, mallory.heard)

        def do_GET(self) -> None:
            status, document = mallory.answer(self.path)
            self._say(status, document)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._say(201, {"party": "alice", "rows": 1, "dropped": 0, "receipt": {}})

        def _say(self, status: int, document: dict[str, object]) -> None:
            body = json.dumps(document).encode()
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self):
            sock, address = super().get_request()
            sock.settimeout(10)
            return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, *_: object) -> None:
            pass

    context = tls_context(mallory.keys.tls, "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        mallory.url = f"https://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield mallory
        finally:
            server.shutdown()
