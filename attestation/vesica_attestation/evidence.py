"""Evidence on the wire: a kind, and named byte strings. The same shape for all kinds; each reads its own names,
strictly.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from vesica_attestation.errors import Refused

EVIDENCE_BYTES_MAX: Final = 256 * 2**10
PARTS_MAX: Final = 64  # in all, in a list, and characters in a name


@unique
class Kind(StrEnum):
    """What evidence is made of.

    ``tpm`` proves what booted, to those who trust the operator of the host; ``insecure-software`` proves nothing. Both
    say so wherever they are met.
    """

    SEV_SNP = "sev-snp"
    TDX = "tdx"
    NITRO = "nitro"
    CONFIDENTIAL_SPACE = "confidential-space"
    AZURE = "azure"
    TPM = "tpm"
    INSECURE_SOFTWARE = "insecure-software"


@dataclass(frozen=True)
class Evidence:
    """Parts by name; a part may be a list of byte strings (certificates). ``to_json`` and ``from_json`` are inverse."""

    kind: Kind
    parts: Mapping[str, bytes | tuple[bytes, ...]]

    def part(self, name: str) -> bytes:
        """A part that must be there and be one byte string.

        Raises Refused (check "format").
        """
        value = self.parts.get(name)
        if not isinstance(value, bytes):
            raise Refused(self.kind, "format", f"no {name} in the evidence")
        return value

    def optional(self, name: str) -> bytes | None:
        """A part that may be left out."""
        return self.part(name) if name in self.parts else None

    def many(self, name: str) -> tuple[bytes, ...]:
        """A part that is a list; left out, it is empty."""
        value = self.parts.get(name, ())
        if isinstance(value, bytes):
            raise Refused(self.kind, "format", f"{name} must be a list")
        return value

    def only(self, *names: str) -> None:
        """Refuses parts that nobody reads: what is not checked must not ride along."""
        extra = set(self.parts) - set(names)
        if extra:
            raise Refused(self.kind, "format", "a part that this kind of evidence does not have")

    def to_json(self) -> dict[str, object]:
        """JSON-ready: base64 for bytes."""
        encoded = {
            name: [_encode(item) for item in value] if isinstance(value, tuple) else _encode(value)
            for name, value in self.parts.items()
        }
        return {"kind": self.kind.value, "parts": encoded}


def from_json(document: object) -> Evidence:
    """Evidence from a JSON value.

    Raises Refused (check "format") for any other shape.
    """
    if not isinstance(document, dict) or set(document) != {"kind", "parts"} or not isinstance(document["parts"], dict):
        raise Refused("evidence", "format", "not an object with kind and parts")
    try:
        kind = Kind(document["kind"])
    except ValueError:
        raise Refused("evidence", "kind", "a kind of evidence that this verifier does not know") from None
    parts: dict[str, bytes | tuple[bytes, ...]] = {}
    size = 0
    if len(document["parts"]) > PARTS_MAX:
        raise Refused(kind, "format", f"more than {PARTS_MAX} parts")
    for name, value in document["parts"].items():
        if not isinstance(name, str) or len(name) > PARTS_MAX or (isinstance(value, list) and len(value) > PARTS_MAX):
            raise Refused(kind, "format", f"a part without a name, or with more than {PARTS_MAX} entries")
        decoded = tuple(_decode(kind, item) for item in value) if isinstance(value, list) else _decode(kind, value)
        parts[name] = decoded
        size += sum(map(len, decoded)) if isinstance(decoded, tuple) else len(decoded)
    if size > EVIDENCE_BYTES_MAX:
        raise Refused(kind, "format", f"more than {EVIDENCE_BYTES_MAX} bytes")
    return Evidence(kind, parts)


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _decode(kind: Kind, value: object) -> bytes:
    if not isinstance(value, str):
        raise Refused(kind, "format", "a part that is not base64 text")
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(kind, "format", "a part that is not base64") from None
    if _encode(decoded) != value:
        raise Refused(kind, "format", "a part whose base64 is not canonical")
    return decoded
