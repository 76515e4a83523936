"""One party that sends its file as fast as a socket takes it: ``python -m bench.sender FD PORT TOKEN FORM``.

FORM is raw, multipart or sealed. The file, and for ``sealed`` its sealed form, is in memory before it says "ready" on
stdout; it sends when a line comes on stdin, and prints what happened as JSON. Nothing is checked of whom it talks to:
what is measured is the room.
"""

import http.client
import json
import mmap
import secrets
import socket
import ssl
import sys
import time

HOST = "127.0.0.1"
PIECE_BYTES = 2**18
BOUNDARY = "vesica-bench"


def connect(port: int) -> ssl.SSLSocket:
    """A TLS connection to a room on this machine, whoever that is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.create_connection((HOST, port), timeout=600)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw)


def ask(
    port: int, method: str, path: str, body: bytes = b"", token: str | None = None
) -> tuple[int, dict[str, object]]:
    """One request and its answer."""
    headers = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: room\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    with connect(port) as connection:
        connection.sendall(head.encode() + body)
        status, answer = read_answer(connection)
    return status, dict(json.loads(answer))


def read_answer(connection: ssl.SSLSocket) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


def sealed(data: memoryview, port: int, party: str) -> memoryview:
    """The whole file as ``vesica submit`` seals it, to the key that this room names."""
    from vesica.sealed import seal, sealed_bytes

    _, document = ask(port, "GET", f"/attestation?nonce={secrets.token_hex(32)}")
    binding = document["binding"]
    assert isinstance(binding, dict)
    _, terms = ask(port, "GET", "/agreement")
    whole = bytearray(sealed_bytes(len(data)))
    at = 0
    pieces = (bytes(data[i : i + PIECE_BYTES]) for i in range(0, len(data), PIECE_BYTES))
    for piece in seal(pieces, bytes.fromhex(binding["hpke_public_key"]), str(terms["digest"]), party):
        whole[at : at + len(piece)] = piece
        at += len(piece)
    assert at == len(whole), "sealed_bytes and seal do not agree"
    return memoryview(whole)


def wrapped(data: memoryview, form: str, port: int, party: str) -> tuple[str, list[memoryview]]:
    """The Content-Type and the parts of a body."""
    match form:
        case "raw":
            return "text/csv", [data]
        case "multipart":
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="csv_file"; filename="list.csv"\r\n\r\n'
            tail = f"\r\n--{BOUNDARY}--\r\n"
            kind = f"multipart/form-data; boundary={BOUNDARY}"
            return kind, [memoryview(head.encode()), data, memoryview(tail.encode())]
        case "sealed":
            return "application/vnd.vesica.hpke", [sealed(data, port, party)]
        case _:
            raise ValueError(form)


def main() -> int:
    """Loads, waits, sends, tells."""
    descriptor, port, party, form = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    # The pages are there already, and shared with who made them.
    data = memoryview(mmap.mmap(descriptor, 0, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ))
    kind, parts = wrapped(data, form, port, party)
    head = (
        f"POST /submissions HTTP/1.1\r\nHost: room\r\nAuthorization: Bearer {party}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {sum(map(len, parts))}\r\n\r\n"
    )
    print("ready", flush=True)
    sys.stdin.readline()
    with connect(port) as connection:
        begun, cpu = time.monotonic(), time.process_time()
        connection.sendall(head.encode())
        for part in parts:
            for at in range(0, len(part), PIECE_BYTES):
                connection.sendall(part[at : at + PIECE_BYTES])
        sent = time.monotonic()
        status, body = read_answer(connection)
        ended = time.monotonic()
    print(
        json.dumps(
            {
                "begun": begun,
                "sent": sent,
                "ended": ended,
                "cpu_s": time.process_time() - cpu,
                "status": status,
                "answer": json.loads(body),
                "bytes": sum(map(len, parts)),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
