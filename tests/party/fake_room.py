"""A room that answers what a test tells it to, on a loopback address, in a thread: as hostile as wanted.

It speaks TLS 1.3 with a key of its own and proves itself with software evidence, as a real room on a laptop does, with
the dependencies of a party alone.
"""

import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import NameOID

from vesica.agreement import as_document, document_digest, parse_agreement
from vesica.receipt import Envelope, Kind, ReceiptLog
from vesica.sealed import Unsealer
from vesica.tokens import token_sha256
from vesica_attestation.binding import Binding, Identity
from vesica_attestation.policy import Policy, parse_policy
from vesica_attestation.software import InsecureSoftwareAttester

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
POLICY = b"allow_insecure_software = true\n"
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
}


class Keys:
    """The keys of one fake room, a certificate of its TLS key, and receipts that it signs."""

    def __init__(self, digest: str = DIGEST) -> None:
        self.tls = ec.generate_private_key(ec.SECP256R1())
        self.hpke = X25519PrivateKey.generate()
        self.receipt = Ed25519PrivateKey.generate()
        self.digest = digest
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vesica room")])
        now = dt.datetime.now(dt.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.tls.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=7))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self.tls, hashes.SHA256())
        )

    @property
    def identity(self) -> Identity:
        spki = self.tls.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return Identity(
            hashlib.sha256(spki).digest(),
            self.hpke.public_key().public_bytes_raw(),
            self.receipt.public_key().public_bytes_raw(),
            bytes.fromhex(self.digest),
        )

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        private = self.tls.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with tempfile.TemporaryDirectory(prefix="vesica-fake-") as folder:
            pem = Path(folder) / "pem"
            pem.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM) + private)
            context.load_cert_chain(pem)
        return context

    def sign(self, kind: Kind, body: Mapping[str, object]) -> Envelope:
        """A receipt that follows an opening which nobody here looks at."""
        return ReceiptLog(self.receipt, self.digest, {}).append(kind, body)

    def signed_release(self, release: Mapping[str, object]) -> dict[str, object]:
        """A release document with a receipt that says the same."""
        body = {
            name: release[name] for name in ("number", "statistic", "parties", "value", "epsilon") if name in release
        }
        return {**release, "receipt": self.sign(Kind.RELEASE, body)}

    def unseal(self, sealed: bytes, party: str = "alice") -> bytes:
        """What was submitted."""
        unsealer = Unsealer(self.hpke, self.digest, party)
        return unsealer.feed(sealed) + unsealer.finish()


ROOM = Keys()  # the well-behaved room of all tests; making keys takes a while


@dataclass(frozen=True)
class Reply:
    """What is sent back. body: bytes as they are, anything else as JSON."""

    status: int
    body: object
    headers: dict[str, str] = field(default_factory=dict)
    drip_seconds: float = 0.0  # between two bytes of the body
    hang_up: bool = False  # instead of anything

    def bytes(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    authorization: str | None
    body: bytes
    content_type: str | None = None
    length: int | None = None


@dataclass
class Fake:
    """A running fake. received: every byte that came, out of TLS. contexts: what the next connections are met with."""

    url: str
    seen: list[Seen]
    received: bytearray
    contexts: list[ssl.SSLContext]


Answering = Reply | Callable[[str], Reply]  # a function gets the path with its query


def problem(status: int, code: str, detail: str, **members: object) -> Reply:
    body = {"type": "about:blank", "title": "x", "status": status, "detail": detail, "code": code, **members}
    return Reply(status, body, {"Content-Type": "application/problem+json"})


def nonce_of(path: str) -> bytes:
    return bytes.fromhex(parse_qs(urlsplit(path).query)["nonce"][0])


def attested(binding: Binding, said: Binding | None = None) -> Reply:
    """Software evidence bound to one thing, with the word that it is bound to another."""
    evidence = InsecureSoftwareAttester().attest(binding.report_data())
    return Reply(200, {"evidence": evidence.to_json(), "binding": (said or binding).to_json()})


def replies(keys: Keys = ROOM, **changed: Answering) -> dict[str, Answering]:
    """A well-behaved room that collects. Keys: ``get_room``, ``post_releases``."""
    parties = [{"name": "alice", "submitted": False}, {"name": "bob", "submitted": True}]
    submission = {"party": "alice", "rows": 2, "dropped": 0, "receipt": keys.sign(Kind.SUBMISSION, {"party": "alice"})}
    release = keys.signed_release(RELEASE)
    well: dict[str, Answering] = {
        "get_healthz": Reply(200, {"status": "ok"}),
        "get_attestation": lambda path: attested(keys.identity.bind(nonce_of(path))),
        "get_agreement": Reply(200, {"digest": DIGEST, "agreement": DOCUMENT}),
        "get_room": Reply(200, {"state": "collecting", "parties": parties}),
        "post_submissions": Reply(201, submission),
        "post_releases": Reply(201, release),
        "get_releases": Reply(200, {"releases": [release]}),
        "get_budgets": Reply(200, {"parties": [{"name": "alice", "limit": "1", "spent": "0.5", "remaining": "0.5"}]}),
        "post_close": Reply(200, {"state": "closed", "receipt": keys.sign(Kind.CLOSING, {"by": "alice"})}),
    }
    return well | changed


def no_software() -> Policy:
    """A policy as one for hardware: software evidence is not what it accepts."""
    return dataclasses.replace(parse_policy(POLICY), allow_insecure_software=False)


def asked(seen: list[Seen]) -> list[str]:
    """What was asked beyond what verifying asks."""
    return [one.path for one in seen if one.path != "/healthz" and not one.path.startswith("/attestation")]


class _Recording:
    """A stream that keeps what was read from it."""

    def __init__(self, stream: BinaryIO, received: bytearray) -> None:
        self._stream = stream
        self._received = received

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._received.extend(data)
        return data

    def readline(self, size: int = -1) -> bytes:
        data = self._stream.readline(size)
        self._received.extend(data)
        return data

    def close(self) -> None:
        self._stream.close()


class _Handler(BaseHTTPRequestHandler):
    """One connection. The fake and its answers are attributes of the class that ``fake`` derives."""

    protocol_version = "HTTP/1.1"
    running: Fake
    answers: Mapping[str, Answering]
    plain: bool

    def setup(self) -> None:
        self.request.settimeout(20)
        if not self.plain:
            self.request = self.running.contexts[0].wrap_socket(self.request, server_side=True)
        super().setup()
        if len(self.running.contexts) > 1:  # whoever connects next meets the next key
            del self.running.contexts[0]
        self.rfile = _Recording(self.rfile, self.running.received)

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.request.close()  # of TLS; the server closes only what it accepted

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self) -> None:
        length = self.headers.get("Content-Length")
        one = Seen(
            self.command,
            self.path,
            self.headers.get("Authorization"),
            self._body(),
            self.headers.get("Content-Type"),
            None if length is None else int(length),
        )
        self.running.seen.append(one)
        path = urlsplit(self.path).path
        answer = self.answers.get(f"{self.command}_{path.strip('/').replace('/', '_')}".lower(), Reply(404, {}))
        reply = answer if isinstance(answer, Reply) else answer(self.path)
        if reply.hang_up:
            self.close_connection = True
            return
        body = reply.bytes()
        self.send_response(reply.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))} | reply.headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # a client that had enough
            for piece in [body] if not reply.drip_seconds else [body[i : i + 1] for i in range(len(body))]:
                self.wfile.write(piece)
                time.sleep(reply.drip_seconds)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that did not like the certificate


@contextlib.contextmanager
def fake(answers: Mapping[str, Answering], keys: Keys = ROOM, *, plain: bool = False) -> Iterator[Fake]:
    """A room with these answers and keys. plain: over plain http."""
    running = Fake("", [], bytearray(), [keys.context()])
    server = _Server(
        ("127.0.0.1", 0), type("Handler", (_Handler,), {"running": running, "answers": answers, "plain": plain})
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    running.url = f"{'http' if plain else 'https'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def fake_room(
    answers: Mapping[str, Answering], keys: Keys = ROOM, *, plain: bool = False
) -> Iterator[tuple[str, list[Seen]]]:
    """Its address, and what it was asked so far."""
    with fake(answers, keys, plain=plain) as running:
        yield running.url, running.seen
