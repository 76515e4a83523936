"""A server that receives and throws away: what the front door of a room costs before anything is done with the bytes.

``python -m bench.receiver`` runs it on a free port of loopback, on the room's own stack: uvicorn, the room's protocol
class, its TLS. With ``--stock``, uvicorn's protocol class is as it comes. It says where it answers as a room does.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from vesica_enclave.identity import RoomKeys, tls_context
from vesica_enclave.protocol import BoundedProtocol

HOST = "127.0.0.1"


async def discard(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:  # noqa: ANN401
    """An ASGI app that reads a request to its end and says so."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    answer = b"{}"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def main() -> int:
    """Serves until it is told to stop."""
    stock = sys.argv[1:] == ["--stock"]
    keys = RoomKeys()
    config = uvicorn.Config(
        discard,
        http="httptools" if stock else BoundedProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ssl_context_factory=lambda *_: tls_context(keys.tls, HOST),
    )
    # As uvicorn makes it, or as a room does: with its protocol named, or every answer waits 40 ms for an ACK.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0 if stock else socket.IPPROTO_TCP) as listener:
        listener.bind((HOST, 0))
        listener.listen()
        print(f"receiver: ready at https://{HOST}:{listener.getsockname()[1]}", flush=True)
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
