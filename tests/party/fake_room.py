"""A room that answers what a test tells it to, on a loopback address, in a thread: as hostile as wanted."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from vesica.agreement import as_document, document_digest, parse_agreement
from vesica.tokens import token_sha256

TOKEN = "a-token-of-alice"
AGREEMENT = f"""
name = "fake"
[[parties]]
name = "alice"
token_sha256 = "{token_sha256(TOKEN)}"
epsilon = "1"
[[parties]]
name = "bob"
token_sha256 = "{"b" * 64}"
epsilon = "0.5"
[releases]
statistics = ["intersection_cardinality", "union_cardinality"]
"""
DOCUMENT = as_document(parse_agreement(AGREEMENT.encode()))
DIGEST = document_digest(DOCUMENT)
RELEASE = {
    "number": 1,
    "statistic": "intersection_cardinality",
    "parties": ["alice", "bob"],
    "value": 100,
    "epsilon": "0.5",
    "mechanism": "discrete_laplace",
    "scale": 2.0,
    "accuracy": {"alpha": 0.05, "bound": 6},
    "unit": "one row of one party's submission",
    "agreement_digest": DIGEST,
    "receipt": None,
}


@dataclass(frozen=True)
class Reply:
    """What is sent back. body: bytes as they are, anything else as JSON."""

    status: int
    body: object
    headers: dict[str, str] = field(default_factory=dict)
    drip_seconds: float = 0.0  # between two bytes of the body

    def bytes(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    authorization: str | None
    body: bytes


def problem(status: int, code: str, detail: str, **members: object) -> Reply:
    body = {"type": "about:blank", "title": "x", "status": status, "detail": detail, "code": code, **members}
    return Reply(status, body, {"Content-Type": "application/problem+json"})


def replies(**changed: Reply) -> dict[str, Reply]:
    """A well-behaved room that collects. Keys: ``get_room``, ``post_releases``."""
    parties = [{"name": "alice", "submitted": False}, {"name": "bob", "submitted": True}]
    well = {
        "get_agreement": Reply(200, {"digest": DIGEST, "agreement": DOCUMENT}),
        "get_room": Reply(200, {"state": "collecting", "parties": parties}),
        "post_submissions": Reply(201, {"party": "alice", "rows": 2, "dropped": 0, "receipt": None}),
        "post_releases": Reply(201, RELEASE),
        "get_releases": Reply(200, {"releases": [RELEASE]}),
        "get_budgets": Reply(200, {"parties": [{"name": "alice", "limit": "1", "spent": "0.5", "remaining": "0.5"}]}),
        "post_close": Reply(200, {"state": "closed", "receipt": None}),
    }
    return well | changed


@contextlib.contextmanager
def fake_room(answers: dict[str, Reply]) -> Iterator[tuple[str, list[Seen]]]:
    """Its address, and what it was asked so far."""
    seen: list[Seen] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self) -> None:
            seen.append(Seen(self.command, self.path, self.headers.get("Authorization"), self._body()))
            key = f"{self.command}_{self.path.strip('/').replace('/', '_')}".lower()
            reply = answers.get(key, Reply(404, {}))
            body = reply.bytes()
            self.send_response(reply.status)
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body))} | reply.headers
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # a client that had enough
                if not reply.drip_seconds:
                    self.wfile.write(body)
                    return
                for i in range(len(body)):
                    self.wfile.write(body[i : i + 1])
                    time.sleep(reply.drip_seconds)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
