"""Evidence on request: what the room's attester says about a nonce and the room's keys."""

import asyncio
from typing import Final

from vesica.errors import EvidenceUnavailable, NonceInvalid
from vesica.events import Event, emit
from vesica.limits import ATTESTATIONS_WAITING_MAX
from vesica_attestation.attester import Attester
from vesica_attestation.binding import FIELD_BYTES, Binding, Identity
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import Evidence


class Proving:
    """Asks the attester, one request at a time: hardware is slow, and anyone may ask."""

    def __init__(self, attester: Attester, identity: Identity) -> None:
        self.identity: Final = identity
        self._attester = attester
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def attest(self, nonce: bytes) -> tuple[Evidence, Binding]:
        """Evidence over this nonce and the room's keys, and what it is bound to.

        Raises EvidenceUnavailable when too many ask at once, or when the attester fails.
        """
        if self._waiting >= ATTESTATIONS_WAITING_MAX:
            raise EvidenceUnavailable("too many ask for evidence at this moment; ask again")
        binding = self.identity.bind(nonce)
        self._waiting += 1
        try:
            async with self._lock:
                evidence = await asyncio.to_thread(self._attester.attest, binding.report_data())
        except AttesterUnavailable:
            emit(Event.ATTESTATION_FAILED, level=40)
            raise EvidenceUnavailable("this room's hardware gave no evidence; ask again, or ask who runs it") from None
        finally:
            self._waiting -= 1
        return evidence, binding


def parse_nonce(text: str) -> bytes:
    """The 32 bytes of a nonce in hex.

    Raises NonceInvalid.
    """
    try:
        nonce = bytes.fromhex(text)
    except ValueError:
        nonce = b""
    if len(nonce) != FIELD_BYTES or nonce.hex() != text:
        raise NonceInvalid("nonce must be 64 lower-case hex digits that you made at random for this request")
    return nonce
