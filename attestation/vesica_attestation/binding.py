"""What evidence commits to. One function, called by the attester inside and by the verifier outside.

Report data is SHA-512 over a domain tag and length-framed fields, so that no two bindings have the same bytes: the
nonce that the relying party chose, the TLS key of the channel, the key that submissions are encrypted to, the key that
signs receipts, and the agreement that the room carries out.
"""

import hashlib
from dataclasses import dataclass, fields
from typing import Final

_DOMAIN: Final = b"vesica-binding-v1"
FIELD_BYTES: Final = 32


@dataclass(frozen=True)
class Binding:
    """Five fields of 32 bytes each. ValueError for any other length: that is a bug, not evidence.

    nonce: the relying party's, fresh. tls_spki_sha256: SHA-256 of the DER SubjectPublicKeyInfo of the server's TLS key.
    hpke_public_key: X25519. receipt_public_key: Ed25519. agreement_digest: SHA-256 of the canonical form.
    """

    nonce: bytes
    tls_spki_sha256: bytes
    hpke_public_key: bytes
    receipt_public_key: bytes
    agreement_digest: bytes

    def __post_init__(self) -> None:
        for field in fields(self):
            if len(getattr(self, field.name)) != FIELD_BYTES:
                raise ValueError(f"{field.name} is not {FIELD_BYTES} bytes")

    def report_data(self) -> bytes:
        """The 64 bytes that hardware signs."""
        hasher = hashlib.sha512()
        for part in (_DOMAIN, *(getattr(self, field.name) for field in fields(self))):
            hasher.update(len(part).to_bytes(8, "big"))
            hasher.update(part)
        return hasher.digest()

    def to_json(self) -> dict[str, str]:
        """JSON-ready, in hex."""
        return {field.name: getattr(self, field.name).hex() for field in fields(self)}


@dataclass(frozen=True)
class Identity:
    """What stays the same in all bindings of one room; ``Binding`` says what each field is."""

    tls_spki_sha256: bytes
    hpke_public_key: bytes
    receipt_public_key: bytes
    agreement_digest: bytes

    def bind(self, nonce: bytes) -> Binding:
        """The binding of this room and a nonce."""
        return Binding(
            nonce, self.tls_spki_sha256, self.hpke_public_key, self.receipt_public_key, self.agreement_digest
        )
