"""The composition root: an agreement becomes a room, the room an app, the app a process that answers."""

import asyncio
import logging
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvicorn

from vesica.agreement import Agreement, parse_agreement
from vesica.errors import AgreementInvalid
from vesica.events import Event, emit
from vesica.limits import AGREEMENT_BYTES_MAX, KEEP_ALIVE_SECONDS_MAX
from vesica.room import LiveRoom
from vesica_enclave.logs import configure_logging
from vesica_enclave.protocol import BoundedProtocol
from vesica_routes.app import create_app

_BACKLOG: Final = 256


def serve(agreement_path: Path, host: str, port: int, trusted_header: str | None, log_level: str) -> int:
    """Runs one room until it is told to stop (SIGINT, SIGTERM). port 0: a free one, which the line on stdout tells.

    Raises AgreementInvalid for an agreement that cannot be carried out, OSError where the address cannot be taken.
    Whatever the room held dies with the process.
    """
    agreement = _read(agreement_path)
    configure_logging(log_level)
    # Hardening as a whole is for the deployment; this one is free everywhere: a crash must not write memory to disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    app = create_app(LiveRoom(agreement), trusted_header=trusted_header)
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS_MAX,
        timeout_graceful_shutdown=KEEP_ALIVE_SECONDS_MAX,
    )
    # uvicorn sets levels of its own when it is configured; with them its trace would count the bytes of bodies.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with _listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        ready = f'vesica: room "{agreement.name}" is ready at http://{shown}:{listener.getsockname()[1]}'
        if trusted_header is not None:
            emit(Event.TRUSTED_HEADER_ON, level=logging.WARNING)
            sys.stderr.write(
                f"vesica: WARNING: whoever can reach this port can be any party, by sending {trusted_header}.\n"
                "vesica: WARNING: let nobody reach it but a proxy that authenticates and sets that header itself.\n"
            )
        asyncio.run(_Announcing(config, ready).serve(sockets=[listener]))
    emit(Event.STOPPING)
    return 0


class _Announcing(uvicorn.Server):
    """A server that says, once it answers, where."""

    def __init__(self, config: uvicorn.Config, ready: str) -> None:
        super().__init__(config)
        self._ready = ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stops at SIGINT and SIGTERM. uvicorn would raise the signal again afterwards, and the process would die of
        it.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then tells stdout."""
        await super().startup(sockets)
        if self.started:
            emit(Event.SERVING)
            sys.stdout.write(f"{self._ready}\n")
            sys.stdout.flush()


def _read(path: Path) -> Agreement:
    with path.open("rb") as file:
        agreement = parse_agreement(file.read(AGREEMENT_BYTES_MAX + 1))
    if agreement.closes_at is not None and agreement.closes_at <= datetime.now(UTC):
        raise AgreementInvalid("closes_at", "this time has passed")
    return agreement


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
