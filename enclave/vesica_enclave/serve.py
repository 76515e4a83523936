"""The composition root: an agreement becomes a room, the room an app, the app a process that answers."""

import asyncio
import ipaddress
import logging
import os
import secrets
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

# The pool of threads that numpy would start at import is of no use to a room, and seals must bind every thread.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI

from vesica.agreement import Agreement, as_document, digest, parse_agreement
from vesica.errors import AgreementInvalid, EvidenceUnavailable, InsecurePlainHttpRefused, NotHardened
from vesica.events import Event, emit
from vesica.limits import AGREEMENT_BYTES_MAX, BACKLOG_MAX, KEEP_ALIVE_SECONDS_MAX, THREAD_SWITCH_SECONDS
from vesica.receipt import ReceiptLog
from vesica.room import LiveRoom
from vesica_attestation.attester import Attester, Supplies, Surroundings, choose, from_file
from vesica_attestation.binding import FIELD_BYTES, Identity
from vesica_attestation.confidential_space.attester import AUDIENCE
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import Kind as EvidenceKind
from vesica_attestation.needs import Needs
from vesica_attestation.software import WARNING as SOFTWARE_WARNING
from vesica_attestation.tpm import WARNING as TPM_WARNING
from vesica_attestation.tpm.attester import ENROLLED, PLACES
from vesica_enclave.allocator import keep_freed_memory
from vesica_enclave.descriptors import ensure_descriptors
from vesica_enclave.door import Door
from vesica_enclave.hardening import Step, at_start, carry_out, to_seal
from vesica_enclave.identity import RoomKeys, tls_context
from vesica_enclave.logs import configure_logging
from vesica_enclave.preload import preload
from vesica_enclave.protocol import BoundedProtocol
from vesica_routes.app import create_app
from vesica_routes.proving import Proving


@dataclass(frozen=True)
class Settings:
    """How a room is run; the agreement says what it does.

    tdx_collateral, snp_certificate, audience, tpm_certificates: what ``attester.Supplies`` says of them. tpm_key:
    handle of a vTPM's attestation key; None: where it usually is. tpm_device: None: Linux's. port 0: a free one.
    attester: a name that ``vesica_attestation.attester.choose`` knows. plain_http: no TLS, on loopback only, for a
    proxy on the same machine that has its own; no client of ours sends anything there. allow_unhardened: a measure
    that cannot be taken here is warned of, and the room starts.
    """

    agreement_path: Path
    host: str = "127.0.0.1"
    port: int = 8443
    attester: str = "auto"
    trusted_header: str | None = None
    log_level: str = "info"
    insecure_plain_http: bool = False
    tdx_collateral: Path | None = None
    snp_certificate: Path | None = None
    audience: str | None = None
    tpm_certificates: Path | None = None
    tpm_key: int | None = None
    tpm_device: Path | None = None
    allow_unhardened: bool = False


def serve(settings: Settings) -> int:
    """Runs one room until it is told to stop (SIGINT, SIGTERM). A line on stdout tells when and where it answers.

    Raises AgreementInvalid for an agreement that cannot be carried out, EvidenceUnavailable where the evidence that was
    asked for cannot be had, NotHardened where the process cannot protect its memory, OSError where the address cannot
    be taken, InsecurePlainHttpRefused, DescriptorsTooFew. Whatever the room held dies with the process.
    """
    if settings.insecure_plain_http and not _is_loopback(settings.host):
        raise InsecurePlainHttpRefused("plain http is for loopback addresses only: tokens and files would be readable")
    agreement = _read(settings.agreement_path)
    configure_logging(settings.log_level)
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    keep_freed_memory()
    ensure_descriptors()
    _harden(at_start(), settings)  # before any key is made
    attester = _attester(settings)
    app, tls_key = _room(agreement, attester, settings.trusted_header)
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
    with _listen(settings.host, settings.port) as listener:
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        scheme = "http" if settings.insecure_plain_http else "https"
        ready = f'vesica: room "{agreement.name}" is ready at {scheme}://{shown}:{listener.getsockname()[1]}'
        _warn(settings, attester)
        tls = None if settings.insecure_plain_http else tls_context(tls_key, settings.host)
        needs = attester.needs | _supplied(settings)
        server = _Announcing(config, listener, tls, ready, lambda: _seal(needs, settings))
        asyncio.run(server.serve(sockets=[]))
    emit(Event.STOPPING)
    return 0


def _attester(settings: Settings) -> Attester:
    supplies = Supplies(
        collateral=None if settings.tdx_collateral is None else from_file(settings.tdx_collateral),
        certificate=None if settings.snp_certificate is None else from_file(settings.snp_certificate),
        audience=AUDIENCE if settings.audience is None else settings.audience,
        tpm_certificates=None if settings.tpm_certificates is None else from_file(settings.tpm_certificates),
        tpm_places=PLACES if settings.tpm_key is None else (replace(ENROLLED, handle=settings.tpm_key),),
    )
    surroundings = Surroundings() if settings.tpm_device is None else Surroundings(tpm=settings.tpm_device)
    try:
        return choose(settings.attester, supplies, surroundings)
    except AttesterUnavailable as error:
        raise EvidenceUnavailable(
            f"no evidence of where this runs can be had: {error} (to try things out: --attester insecure-software)"
        ) from None


def _room(
    agreement: Agreement, attester: Attester, trusted_header: str | None
) -> tuple[FastAPI, ec.EllipticCurvePrivateKey]:
    """The app of a room with fresh keys, and its TLS key. Nothing here holds the other two: the room drops them."""
    keys = RoomKeys()
    identity = keys.identity(digest(agreement))
    room = LiveRoom(agreement, _opening(agreement, keys, identity, attester), keys.hpke)
    return create_app(room, Proving(attester, identity), trusted_header=trusted_header), keys.tls


class _Announcing(uvicorn.Server):
    """A server that is sealed, lets connections in by our own door, and says, once it answers, where."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        ready: str,
        seal: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._door = Door(listener, tls, self._protocol)
        self._ready = ready
        self._seal = seal

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(self.config, self.server_state, self.lifespan.state, asyncio.get_running_loop())

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
        """Seals, starts, then tells stdout. sockets: none; uvicorn would let in whoever comes.

        Here all that serving takes is loaded, and nobody has been let in.
        """
        self._seal()
        await super().startup(sockets)
        if self.started:
            self._door.open()
            emit(Event.SERVING)
            sys.stdout.write(f"{self._ready}\n")
            sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets nobody in any more, then lets those go who are in."""
        self._door.close()
        await super().shutdown(sockets)


def _harden(steps: Iterable[Step], settings: Settings) -> bool:
    """Takes measures; where one fails, the room does not start, unless it is told to. True if all were taken."""
    wanted = tuple(steps)
    return len(carry_out(wanted, _tolerate if settings.allow_unhardened else None)) == len(wanted)


def _tolerate(failure: NotHardened) -> None:
    emit(Event.NOT_HARDENED, code=failure.code, level=logging.WARNING)
    sys.stderr.write(f"vesica: WARNING: {failure.detail}. Not for real data.\n")


def _seal(needs: Needs, settings: Settings) -> None:
    preload()
    if _harden(to_seal(needs), settings):
        emit(Event.SEALED)


def _supplied(settings: Settings) -> Needs:
    """What the operator hands in is read anew each time.

    Its folder: whoever renews a file often replaces it. Both folders, where the file is a link: either may be renewed.
    But not the folder that holds everything: there it is the file alone.
    """
    supplied = (settings.tdx_collateral, settings.snp_certificate, settings.tpm_certificates)
    files = [file for file in supplied if file is not None]
    places = [place for file in files for place in (file.absolute(), file.resolve())]
    return Needs(reads=frozenset(place if place.parent == Path("/") else place.parent for place in places))


def _opening(agreement: Agreement, keys: RoomKeys, identity: Identity, attester: Attester) -> ReceiptLog:
    """The first receipt: the agreement, and evidence that the key which signs receipts lives here.

    Its nonce is the room's own: this evidence is to last, and a party that wants fresh evidence asks with its own
    nonce.
    """
    binding = identity.bind(secrets.token_bytes(FIELD_BYTES))
    try:
        evidence = attester.attest(binding.report_data())
    except AttesterUnavailable as error:
        raise EvidenceUnavailable(f"this machine gives no evidence of where it runs: {error}") from None
    opening = {"agreement": as_document(agreement), "binding": binding.to_json(), "evidence": evidence.to_json()}
    return ReceiptLog(keys.receipt, digest(agreement), opening)


def _warn(settings: Settings, attester: Attester) -> None:
    """Says aloud whatever makes this room less than it should be."""
    warnings: list[tuple[Event, str]] = []
    if attester.kind is EvidenceKind.INSECURE_SOFTWARE:
        warnings.append((Event.INSECURE_SOFTWARE_ATTESTER, f"{SOFTWARE_WARNING} Not for real data."))
    if attester.kind is EvidenceKind.TPM:
        warnings.append((Event.TPM_ATTESTER, TPM_WARNING))
    if settings.insecure_plain_http:
        warnings.append((Event.INSECURE_PLAIN_HTTP, "INSECURE: no TLS. Whoever can listen on this machine reads all."))
    if settings.trusted_header is not None:
        text = (
            f"whoever can reach this port can be any party, by sending {settings.trusted_header}. Let nobody reach it "
            "but a proxy that authenticates and sets that header itself."
        )
        warnings.append((Event.TRUSTED_HEADER_ON, text))
    for event, text in warnings:
        emit(event, level=logging.WARNING)
        sys.stderr.write(f"vesica: WARNING: {text}\n")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: Path) -> Agreement:
    with path.open("rb") as file:
        agreement = parse_agreement(file.read(AGREEMENT_BYTES_MAX + 1))
    if agreement.closes_at is not None and agreement.closes_at <= datetime.now(UTC):
        raise AgreementInvalid("closes_at", "this time has passed")
    return agreement


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, or asyncio does not turn off delays (Nagle) and every answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG_MAX)
    except BaseException:
        listener.close()
        raise
    return listener
