"""A Confidential Space token: a JWT in compact form, taken apart. Nothing here is trusted yet.

Every header is decided here, by name, before anything checks a signature: RS256 and nothing else; no header that says
where a key may be found or how the rest must be read (jku, jwk, x5u, x5t, crit, b64, zip, …).

Source: RFC 7515 sections 3.1 and 4.1, RFC 7518 section 3.3; Confidential Space documentation, "Attestation token
claims".
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from vesica_attestation.confidential_space._json import Malformed, from_base64url, read_object
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

TOKEN_BYTES_MAX: Final = 64 * 2**10
KEY_ID_CHARACTERS_MAX: Final = 256
CHAIN_CERTIFICATES: Final = 3
_HEADERS: Final = frozenset({"alg", "typ", "kid", "x5c"})


@dataclass(frozen=True)
class Token:
    """A token, not yet authenticated.

    compact: the token's text. key_id: names a key; only of use where the policy supplies keys. chain: DER of leaf,
    intermediate and root, or None where the token carries none. payload: the JSON text that is signed.
    """

    compact: str
    key_id: str
    chain: tuple[bytes, ...] | None
    payload: bytes
    claims: dict[str, object]


def parse(data: bytes) -> Token:
    """Takes a token apart.

    Raises Refused (check "format", "header" or "algorithm") for any bytes that are not exactly one token.
    """
    if len(data) > TOKEN_BYTES_MAX:
        raise _malformed(f"more than {TOKEN_BYTES_MAX} bytes")
    if not data.isascii():
        raise _malformed("not ASCII")
    compact = data.decode("ascii")
    segments = compact.split(".")
    if len(segments) != 3:  # noqa: PLR2004 (RFC 7515 section 3.1)
        raise _malformed("not three segments")
    try:
        header_text, payload, _ = (from_base64url(segment) for segment in segments)
        header = read_object(header_text)
        claims = read_object(payload)
    except Malformed as error:
        raise _malformed(str(error)) from None
    _require_headers(header)
    return Token(compact, _key_id(header), _chain(header), payload, claims)


def _require_headers(header: dict[str, object]) -> None:
    if header.get("alg") != "RS256":
        raise Refused(Kind.CONFIDENTIAL_SPACE, "algorithm", "the algorithm is not RS256")
    if not header.keys() <= _HEADERS:
        raise Refused(Kind.CONFIDENTIAL_SPACE, "header", "a header that these tokens do not have")
    if header.get("typ") != "JWT":
        raise Refused(Kind.CONFIDENTIAL_SPACE, "header", "the type is not JWT")


def _key_id(header: dict[str, object]) -> str:
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= KEY_ID_CHARACTERS_MAX:
        raise Refused(Kind.CONFIDENTIAL_SPACE, "header", "no key id")
    return key_id


def _chain(header: dict[str, object]) -> tuple[bytes, ...] | None:
    if "x5c" not in header:
        return None
    texts = header["x5c"]
    if not isinstance(texts, list) or len(texts) != CHAIN_CERTIFICATES:
        raise Refused(Kind.CONFIDENTIAL_SPACE, "header", "x5c is not exactly leaf, intermediate and root")
    return tuple(_certificate(text) for text in texts)


def _certificate(text: object) -> bytes:
    try:
        der = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        der = b""
    if not der or base64.b64encode(der).decode("ascii") != text:
        raise Refused(Kind.CONFIDENTIAL_SPACE, "header", "x5c has an entry that is not base64")
    return der


def _malformed(why: str) -> Refused:
    return Refused(Kind.CONFIDENTIAL_SPACE, "format", f"not a token: {why}")
