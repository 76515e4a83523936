"""HTTP with one room. Secrets go to a verified room only, nothing is followed elsewhere, every answer is bounded.

A token or a file travels in TLS 1.3 whose other end is pinned to a key that evidence vouches for, and in no other way:
an ``Exchange`` without a pinned context sends neither, and there is no switch that says otherwise. What anybody may
ask also works without: over TLS that trusts whoever answers, or over plain http.
"""

import ipaddress
import re
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx

from vesica._shape import parse_json
from vesica.errors import Unauthenticated
from vesica.refusals import (
    AddressRefused,
    PolicyMissing,
    RoomAnsweredNonsense,
    RoomUnreachable,
    from_problem,
    printable,
)

ANSWER_BYTES_MAX: Final = 2**20
RELEASES_BYTES_MAX: Final = 2**26  # 100,000 stored releases
ANSWER_SECONDS_MAX: Final = 120.0
SUBMISSION_ANSWER_SECONDS_MAX: Final = 3_600.0  # after the last byte, a room may have a billion rows to sort
CONNECT_SECONDS_MAX: Final = 10.0
WRITE_SECONDS_MAX: Final = 120.0
TOKEN_CHARACTERS_MAX: Final = 512

_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?", re.ASCII)
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+", re.ASCII)
_WANTED: Final = "write it as https://room.example.org or https://127.0.0.1:8443"
_CREATED: Final = 201
_OK: Final = 200


@dataclass(frozen=True)
class Address:
    """Where a room is. encrypted: it is https; a plain http address gets no token and no file."""

    base: str
    encrypted: bool


@dataclass(frozen=True)
class Answer:
    """A room's positive answer: 200, or 201 for something that it made just now."""

    created: bool
    document: Mapping[str, object]


def parse_address(url: str) -> Address:
    """A room's address from a URL, rebuilt from its checked parts, so that no two parsers can read it
    differently.

    Raises AddressRefused.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise AddressRefused(f"this is not the address of a room: {_WANTED}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise AddressRefused(f"this is not the address of a room: {_WANTED}")
    # urlsplit drops line breaks and tabs, and an empty query or fragment, without a word.
    odd = not url.isprintable() or any(character in url for character in " @?#\\")
    if odd or _PATH.fullmatch(parts.path) is None:
        raise AddressRefused(f"an address has no user, query, fragment or escapes: {_WANTED}")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        ip = None
        if _HOST.fullmatch(host) is None:
            raise AddressRefused(f"the host in this address is not a name: {_WANTED}") from None
    shown = f"[{host}]" if ip is not None and ip.version == 6 else host  # noqa: PLR2004 (IPv6)
    if port is not None:
        shown = f"{shown}:{port}"
    return Address(f"{parts.scheme}://{shown}{parts.path.rstrip('/')}", parts.scheme == "https")


def check_token(token: str) -> str:
    """A token that fits in a header.

    Raises Unauthenticated, without the token.
    """
    if len(token) > TOKEN_CHARACTERS_MAX or _TOKEN.fullmatch(token) is None:
        raise Unauthenticated("this is not a token: it has characters that no token has, or is empty or too long")
    return token


class Exchange:
    """A connection to one room, and those made later when it is lost. Not for several threads at once."""

    def __init__(self, address: Address, token: str | None, context: ssl.SSLContext | None = None) -> None:
        """context: that of a verified room (``verified.pinned_context``); every connection made here is judged by it.

        None: any other end is taken, and gets neither token nor file.
        """
        self.address = address
        self._token = None if token is None else check_token(token)
        self._pinned = context is not None and context.verify_mode is ssl.CERT_REQUIRED and address.encrypted
        self._client = httpx.Client(
            verify=context if context is not None else unverified_context(),
            follow_redirects=False,  # a redirect would take the token, or the file, elsewhere
            # A proxy named in the environment would see plain http, even to this machine.
            trust_env=address.encrypted,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "vesica"},
            timeout=_timeout(ANSWER_SECONDS_MAX),
        )

    def disconnect(self) -> None:
        """Ends the connection; the room goes on."""
        self._client.close()

    def require_verified(self, what: str) -> None:
        """Refuses to send something to whoever answers. what: the thing, at a sentence's beginning.

        Raises AddressRefused for plain http, PolicyMissing where the room was not verified.
        """
        require_https(self.address, what)
        if not self._pinned:
            raise PolicyMissing(
                f"{what} goes to a room only once that was verified, and there is no policy to verify it by; "
                "nothing was sent"
            )

    def get(self, path: str, *, token: bool = False, bytes_max: int = ANSWER_BYTES_MAX) -> Answer:
        """Asks for something."""
        return self._exchange("GET", path, self._headers(token=token), bytes_max)

    def post(self, path: str, document: Mapping[str, object] | None = None, *, token: bool = False) -> Answer:
        """Asks with a JSON document."""
        return self._exchange("POST", path, self._headers(token=token), json=document)

    def upload(self, path: str, content: Iterable[bytes], content_type: str, length: int | None) -> Answer:
        """Sends bytes as they come. length: how many, or None where it is not known before the end."""
        self.require_verified("the file")
        headers = {**self._headers(token=True), "Content-Type": content_type}
        if length is not None:
            headers["Content-Length"] = str(length)
        timeout = _timeout(SUBMISSION_ANSWER_SECONDS_MAX)
        return self._exchange("POST", path, headers, content=content, timeout=timeout)

    def _headers(self, *, token: bool) -> dict[str, str]:
        if not token:
            return {}
        self.require_verified("the token")
        if self._token is None:
            raise Unauthenticated("this needs a party's token")
        return {"Authorization": f"Bearer {self._token}"}

    def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        bytes_max: int = ANSWER_BYTES_MAX,
        *,
        json: Mapping[str, object] | None = None,
        content: Iterable[bytes] | None = None,
        timeout: httpx.Timeout | None = None,
    ) -> Answer:
        url = self.address.base + path
        try:
            request = self._client.build_request(
                method,
                url,
                headers=headers,
                json=json,
                content=content,
                timeout=timeout or self._client.timeout,
            )
            response = self._client.send(request, stream=True)
            try:
                return _judge(response, _body(response, bytes_max))
            finally:
                response.close()
        except httpx.TimeoutException:
            raise RoomUnreachable(f"{self.address.base} did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = printable(str(error), 200) or "the connection ended"
            raise RoomUnreachable(f"cannot talk to a room at {self.address.base}: {why}") from None


def peer_certificate(address: Address) -> bytes:
    """The certificate, DER, that the other end of an https address shows. Nobody is trusted, and nothing of ours is
    sent.

    Raises RoomUnreachable.
    """
    timeout = _timeout(CONNECT_SECONDS_MAX)
    try:
        with (
            httpx.Client(verify=unverified_context(), follow_redirects=False, timeout=timeout) as client,
            client.stream("GET", address.base + "/healthz") as response,
        ):
            tls = response.extensions["network_stream"].get_extra_info("ssl_object")
            certificate: bytes | None = tls.getpeercert(True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = printable(str(error), 200) or "the connection ended"
        raise RoomUnreachable(f"cannot talk to a room at {address.base}: {why}") from None
    if certificate is None:
        raise RoomUnreachable(f"{address.base} shows no certificate")
    return certificate


def unverified_context() -> ssl.SSLContext:
    """TLS 1.3 with whoever answers: hidden from who only listens, and worth nothing against who is in the middle."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what the certificate is worth, evidence over its key will tell
    return context


def require_https(address: Address, what: str) -> None:
    """Refuses plain http. what: what is not sent there, at a sentence's beginning.

    Raises AddressRefused.
    """
    if not address.encrypted:
        raise AddressRefused(
            f"{what} is never sent over plain http, not even on this machine: {address.base} cannot prove who "
            "answers. A room speaks https"
        )


def _timeout(read_seconds: float) -> httpx.Timeout:
    return httpx.Timeout(connect=CONNECT_SECONDS_MAX, read=read_seconds, write=WRITE_SECONDS_MAX, pool=None)


def _body(response: httpx.Response, bytes_max: int) -> bytes:
    if "content-encoding" in response.headers:
        raise RoomAnsweredNonsense("the answer is compressed, which nobody asked for")
    body = bytearray()
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > bytes_max:
            raise RoomAnsweredNonsense(f"the answer is larger than {bytes_max} bytes: is this address a room?")
        if time.monotonic() > deadline:  # a timeout alone counts the silence between two bytes
            raise RoomUnreachable("the answer did not end in time")
    return bytes(body)


def _judge(response: httpx.Response, body: bytes) -> Answer:
    """Raises what the room's refusal stands for."""
    status = response.status_code
    if response.is_redirect:
        raise RoomAnsweredNonsense(
            f"the address redirects (HTTP {status}); not followed, for token and file would go elsewhere"
        )
    if status in {_OK, _CREATED}:
        return Answer(status == _CREATED, parse_json(body))
    if response.headers.get("content-type", "").partition(";")[0].strip() != "application/problem+json":
        raise RoomAnsweredNonsense(f"the answer (HTTP {status}) is not a room's: is this address a room?")
    raise from_problem(parse_json(body), status)
