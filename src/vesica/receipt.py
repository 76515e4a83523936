"""Receipts: what the room states about one opening, submission, release or closing, signed, each naming the one before.

A statement is canonical JSON in a DSSE envelope (Dead Simple Signing Envelope, v1.0), signed with an Ed25519 key that
lives in the room's memory only and that the room's evidence is bound to. Statement 0 carries the agreement and the
evidence, so that the whole chain can be checked later, offline, by somebody who was not there: ``check_chain`` does
all but the evidence, which ``vesica_attestation`` appraises. No statement says anything about sizes, true counts or
text.
"""

import base64
import binascii
import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum, unique
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vesica.agreement import canonical_bytes, document_digest
from vesica.errors import ReceiptInvalid, RoomClosed

PAYLOAD_TYPE: Final = "application/vnd.vesica.receipt+json"
FORMAT_VERSION: Final = 1
FIRST_PREVIOUS: Final = "0" * 64
RECEIPT_BYTES_MAX: Final = 512 * 2**10

Envelope = Mapping[str, object]


@unique
class Kind(StrEnum):
    """What a statement is about."""

    OPENING = "opening"
    SUBMISSION = "submission"
    RELEASE = "release"
    CLOSING = "closing"


@dataclass(frozen=True)
class Statement:
    """One checked statement. body: what its kind says. previous: digest of the statement before, 64 hex digits."""

    number: int
    kind: Kind
    agreement_digest: str
    previous: str
    issued_at: str
    body: Mapping[str, object]


class ReceiptLog:
    """The room's chain of receipts, and the key that signs it; the key is dropped with the closing receipt.

    ``now`` gives the room's clock, which an operator can set: ``issued_at`` is what the room believed, not a proof of
    time.
    """

    def __init__(
        self,
        key: Ed25519PrivateKey,
        agreement_digest: str,
        opening: Mapping[str, object],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._lock = threading.Lock()
        self._key: Ed25519PrivateKey | None = key
        self._digest = agreement_digest
        self._now = now
        self._previous = FIRST_PREVIOUS
        self._receipts: list[Envelope] = []
        self.append(Kind.OPENING, opening)

    def append(self, kind: Kind, body: Mapping[str, object]) -> Envelope:
        """Signs one more statement; a closing is the last.

        Raises RoomClosed when the last has been signed.
        """
        with self._lock:
            if self._key is None:
                raise RoomClosed("this room has closed; it signs nothing any more")
            payload = canonical_bytes(
                {
                    "agreement_digest": self._digest,
                    "body": body,
                    "format": FORMAT_VERSION,
                    "issued_at": self._now().strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "kind": kind.value,
                    "number": len(self._receipts),
                    "previous": self._previous,
                }
            )
            envelope = {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(self._key.sign(_signed_bytes(payload))).decode()}],
            }
            self._previous = hashlib.sha256(payload).hexdigest()
            self._receipts.append(envelope)
            if kind is Kind.CLOSING:
                self._key = None
            return envelope

    def all(self) -> tuple[Envelope, ...]:
        """Every receipt so far, in order."""
        return tuple(self._receipts)


def read_payload(envelope: object) -> bytes:
    """The payload of an envelope, not checked in any way but its shape.

    Raises ReceiptInvalid.
    """
    if not isinstance(envelope, dict) or set(envelope) != {"payload", "payloadType", "signatures"}:
        raise ReceiptInvalid("not a receipt: a DSSE envelope with payload, payloadType and signatures is expected")
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise ReceiptInvalid("an envelope of something else than a receipt")
    return _base64(envelope["payload"])


def check_chain(envelopes: Sequence[Envelope], receipt_public_key: bytes) -> tuple[Statement, ...]:
    """Checks signatures and the chain of receipts 0 to n, in any order, and returns their statements in order.

    receipt_public_key: Ed25519, 32 bytes, from the evidence of statement 0, which the caller has verified or will
    verify.

    Raises ReceiptInvalid, naming the receipt: a signature that is wrong, one missing or twice, another agreement, a
    chain that does not hold.
    """
    key = Ed25519PublicKey.from_public_bytes(receipt_public_key)
    checked = sorted((_check_one(envelope, key) for envelope in envelopes), key=lambda pair: pair[0].number)
    if not checked:
        raise ReceiptInvalid("there is no receipt here")
    for expected, (statement, _) in enumerate(checked):
        if statement.number != expected:
            what = "is here twice" if statement.number < expected else "is missing"
            raise ReceiptInvalid(f"receipt {min(statement.number, expected)} {what}")
    previous = FIRST_PREVIOUS
    first = checked[0][0]
    for expected, (statement, payload) in enumerate(checked):
        if statement.agreement_digest != first.agreement_digest:
            raise ReceiptInvalid(f"receipt {expected} is of another agreement")
        if statement.previous != previous:
            raise ReceiptInvalid(f"receipt {expected} does not follow the one before it")
        if (statement.kind is Kind.OPENING) != (expected == 0):
            raise ReceiptInvalid(f"receipt {expected} is out of place: a chain has one opening, and begins with it")
        if statement.kind is Kind.CLOSING and expected != len(checked) - 1:
            raise ReceiptInvalid(f"receipt {expected} closes the room, and others follow it")
        previous = hashlib.sha256(payload).hexdigest()
    if document_digest(_mapping(first.body.get("agreement"))) != first.agreement_digest:
        raise ReceiptInvalid("receipt 0 does not carry the agreement that its digest names")
    return tuple(statement for statement, _ in checked)


def check_receipt(envelope: object, receipt_public_key: bytes) -> Statement:
    """Checks the signature of one receipt by itself; what it says of others, only the whole chain can show.

    Raises ReceiptInvalid.
    """
    read_payload(envelope)  # its shape
    return _check_one(_mapping(envelope), Ed25519PublicKey.from_public_bytes(receipt_public_key))[0]


def _check_one(envelope: Envelope, key: Ed25519PublicKey) -> tuple[Statement, bytes]:
    payload = read_payload(envelope)
    statement = read_statement(payload)
    signatures = envelope["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1 or set(_mapping(signatures[0])) != {"sig"}:
        raise ReceiptInvalid(f"receipt {statement.number} must have one signature, and nothing beside it")
    try:
        key.verify(_base64(signatures[0]["sig"]), _signed_bytes(payload))
    except (InvalidSignature, ReceiptInvalid):
        raise ReceiptInvalid(f"receipt {statement.number} was altered, or another room signed it") from None
    return statement, payload


def read_statement(payload: bytes) -> Statement:
    """A statement from a payload, whose signature is not checked here.

    Raises ReceiptInvalid for any bytes that are not one statement in canonical form.
    """
    if len(payload) > RECEIPT_BYTES_MAX:
        raise ReceiptInvalid(f"a receipt of more than {RECEIPT_BYTES_MAX} bytes")
    try:
        document = _mapping(json.loads(payload))
        # Compared as text: True and 1.0 are 1 to Python.
        if canonical_bytes(document) != payload or repr(document["format"]) != repr(FORMAT_VERSION):
            raise ReceiptInvalid("not a receipt in the one form that this version writes")
        number, previous = document["number"], document["previous"]
        issued_at, digest = document["issued_at"], document["agreement_digest"]
        kind, body = Kind(str(document["kind"])), _mapping(document["body"])
    except (ValueError, KeyError, RecursionError):
        raise ReceiptInvalid("not a receipt: its payload is not a statement") from None
    if isinstance(number, bool) or not isinstance(number, int) or number < 0 or len(document) != 7:  # noqa: PLR2004
        raise ReceiptInvalid("not a receipt: its payload is not a statement")
    if not isinstance(previous, str) or not isinstance(issued_at, str) or not isinstance(digest, str):
        raise ReceiptInvalid("not a receipt: its payload is not a statement")
    return Statement(number, kind, digest, previous, issued_at, body)


def _signed_bytes(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ReceiptInvalid("not a receipt: an object is missing where one is expected")
    return value


def _base64(value: object) -> bytes:
    if not isinstance(value, str) or len(value) > 2 * RECEIPT_BYTES_MAX:
        raise ReceiptInvalid("not a receipt: base64 text is missing where it is expected")
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ReceiptInvalid("not a receipt: its base64 is broken") from None
    if base64.b64encode(decoded).decode() != value:
        raise ReceiptInvalid("not a receipt: its base64 is not canonical")
    return decoded
