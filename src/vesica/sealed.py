"""Sealed submissions (``application/vnd.vesica.hpke``): a CSV that only the attested room can read, whoever ends the
TLS.

``version (1 byte) | HPKE(content key) (80 bytes) | chunk | chunk | ... | last chunk``

HPKE (RFC 9180: base mode, X25519, HKDF-SHA256, AES-256-GCM) seals a fresh 32-byte content key to the room's attested
public key; its ``info`` is the agreement digest and the party's name, so that a capture fits neither another room nor
another party. The CSV follows in chunks of 64 KiB under AES-256-GCM, in the STREAM construction: each nonce holds the
chunk's number and whether it is the last, so that chunks can be neither dropped, reordered, repeated nor cut off. Both
sides hold one chunk.

Source for STREAM: Hoang, Reyhanitabar, Rogaway, Vizar, "Online authenticated-encryption and its nonce-reuse
misuse-resistance", CRYPTO 2015, section 7. The content key is sealed, not exported: ``cryptography`` has no HPKE
exporter.
"""

import secrets
from collections.abc import Iterable, Iterator
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from vesica.errors import SealBroken

MEDIA_TYPE: Final = "application/vnd.vesica.hpke"
CHUNK_BYTES: Final = 64 * 2**10

_VERSION: Final = b"\x01"
_DOMAIN: Final = b"vesica-submission-v1"
_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 16
_SEALED_KEY_BYTES: Final = 32 + _KEY_BYTES + _TAG_BYTES  # X25519 share, key, tag
_HEAD_BYTES: Final = len(_VERSION) + _SEALED_KEY_BYTES
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_NOT_READABLE: Final = "this was not sealed for this room, this agreement and this party, or it was altered on its way"


def _info(agreement_digest: str, party: str) -> bytes:
    """What a sealed key is bound to; each part with its length, so that no two pairs are the same bytes."""
    parts = (_DOMAIN, bytes.fromhex(agreement_digest), party.encode())
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _nonce(number: int, *, last: bool) -> bytes:
    return bytes(7) + number.to_bytes(4, "big") + bytes([last])


def seal(chunks: Iterable[bytes], public_key: bytes, agreement_digest: str, party: str) -> Iterator[bytes]:
    """The sealed form of a CSV, piece by piece.

    chunks: the CSV's bytes in pieces of any size. public_key: the room's X25519 key, 32 bytes, from evidence that was
    verified. agreement_digest: 64 hex digits.
    """
    content_key = secrets.token_bytes(_KEY_BYTES)
    recipient = X25519PublicKey.from_public_bytes(public_key)
    yield _VERSION + _SUITE.encrypt(content_key, recipient, info=_info(agreement_digest, party))
    aead = AESGCM(content_key)
    waiting = bytearray()
    number = 0
    for chunk in chunks:
        waiting += chunk
        while len(waiting) > CHUNK_BYTES:  # one chunk is always kept back: it may be the last
            yield aead.encrypt(_nonce(number, last=False), bytes(waiting[:CHUNK_BYTES]), None)
            del waiting[:CHUNK_BYTES]
            number += 1
    yield aead.encrypt(_nonce(number, last=True), bytes(waiting), None)


def sealed_bytes(plain_bytes: int) -> int:
    """How long the sealed form of a CSV of ``plain_bytes`` is."""
    chunks = max(1, -(-plain_bytes // CHUNK_BYTES))
    return _HEAD_BYTES + plain_bytes + chunks * _TAG_BYTES


class Unsealer:
    """Opens one sealed submission as it arrives. Nothing comes out that was not authenticated, in its order.

    ``feed`` any number of times, then ``finish`` once. Raises SealBroken; the object is then useless.
    """

    def __init__(self, private_key: X25519PrivateKey, agreement_digest: str, party: str) -> None:
        self._private_key = private_key
        self._info = _info(agreement_digest, party)
        self._aead: AESGCM | None = None
        self._waiting = bytearray()
        self._number = 0

    def feed(self, data: bytes) -> bytes:
        """The plain text of the chunks that are complete with these bytes, and known not to be the last."""
        self._waiting += data
        if self._aead is None:
            if len(self._waiting) < _HEAD_BYTES:
                return b""
            self._aead = self._open_key(bytes(self._waiting[:_HEAD_BYTES]))
            del self._waiting[:_HEAD_BYTES]
        size = CHUNK_BYTES + _TAG_BYTES
        plain: list[bytes] = []
        at = 0
        with memoryview(self._waiting) as view:
            while len(view) - at > size:
                plain.append(self._open(self._aead, bytes(view[at : at + size]), last=False))
                at += size
        del self._waiting[:at]
        return b"".join(plain)

    def finish(self) -> bytes:
        """The plain text of the last chunk, which must be here, and marked as the last."""
        if self._aead is None or len(self._waiting) < _TAG_BYTES:
            raise SealBroken("the sealed submission ended early; send it again")
        return self._open(self._aead, bytes(self._waiting), last=True)

    def _open_key(self, head: bytes) -> AESGCM:
        if not head.startswith(_VERSION):
            raise SealBroken("a version of sealed submissions that this room does not know")
        try:
            return AESGCM(_SUITE.decrypt(head[len(_VERSION) :], self._private_key, info=self._info))
        except (InvalidTag, ValueError):
            raise SealBroken(_NOT_READABLE) from None

    def _open(self, aead: AESGCM, chunk: bytes, *, last: bool) -> bytes:
        try:
            plain = aead.decrypt(_nonce(self._number, last=last), chunk, None)
        except InvalidTag:
            raise SealBroken(_NOT_READABLE) from None
        self._number += 1
        return plain
