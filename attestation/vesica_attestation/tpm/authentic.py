"""Authenticity of a TPM's quote: from a pinned CA, over the attestation key's certificate, to the PCR values."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vesica_attestation import _pki
from vesica_attestation._tpm.quote import TpmQuote, parse_quote, require_pcrs
from vesica_attestation._tpm.signature import PublicKey, parse_signature, require_signed
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence
from vesica_attestation.tpm.abi import KIND, AttestationKey, parse_public
from vesica_attestation.tpm.event_log import EventLog, parse_log

# tcg-kp-AIKCertificate: TCG, "Infrastructure Working Group: AIK Certificate Profile". Google's have no such extension.
ATTESTATION_KEY_USAGE: Final = x509.ObjectIdentifier("2.23.133.8.3")
_LEAF: Final = _pki.dedicated_leaf(ATTESTATION_KEY_USAGE, signs=True)


@dataclass(frozen=True)
class TpmClaims:
    """What a TPM signed whose key a pinned CA certified, not appraised.

    certificate: the attestation key's. authority: SHA-256 of the CA's certificate. hierarchy: of the key. event_log:
    one that gives the quoted PCRs; None if there was none.
    """

    key: AttestationKey
    certificate: x509.Certificate
    authority: bytes
    hierarchy: str
    quote: TpmQuote
    pcrs: tuple[bytes, ...]
    event_log: EventLog | None


def authenticate(evidence: Evidence, authorities: AbstractSet[bytes], at: datetime) -> TpmClaims:
    """What the evidence says, once the signatures lead up to one of ``authorities``: SHA-256 of certificates.

    at: the time at which the certificates must be valid.

    Raises Refused: the checks of the parsers; "root", "validity", "chain" (``_pki.require_chain``); "attestation-key",
    "algorithm", "tpm-signature", "pcr-digest", "event-log".
    """
    evidence.only("quote_message", "quote_signature", "pcrs", "attestation_key", "certificates", "event_log")
    key = parse_public(evidence.part("attestation_key"))
    chain = [_pki.certificate(KIND, der) for der in evidence.many("certificates")]
    authority = _require_certified(key, chain, authorities, at)
    quote = parse_quote(KIND, evidence.part("quote_message"))
    signature = parse_signature(KIND, evidence.part("quote_signature"))
    if signature.scheme is not key.scheme:
        raise Refused(KIND, "algorithm", "signed by another scheme than the attestation key's own")
    require_signed(KIND, key.key, signature, quote.signed)
    hierarchy = key.hierarchy(quote.signer)
    if hierarchy is None:
        raise Refused(
            KIND, "attestation-key", "the quote names another key than this, or one that is not a primary key"
        )
    pcrs = evidence.many("pcrs")
    require_pcrs(KIND, pcrs, quote)
    return TpmClaims(key, chain[0], authority, hierarchy, quote, pcrs, _event_log(evidence, pcrs))


def _require_certified(
    key: AttestationKey, chain: Sequence[x509.Certificate], authorities: AbstractSet[bytes], at: datetime
) -> bytes:
    if not chain:
        raise Refused(KIND, "chain", "no certificate of the attestation key")
    authority = chain[-1].fingerprint(SHA256())
    if authority not in authorities:
        raise Refused(KIND, "root", f"the policy does not name the CA certificate {authority.hex()}")
    _pki.require_chain(KIND, chain, chain[-1], at, _LEAF)
    if _certified(chain[0]) != _spki(key.key):
        raise Refused(KIND, "attestation-key", "the certificate is of another key than the attestation key")
    return authority


def _certified(certificate: x509.Certificate) -> bytes | None:
    """The key that a certificate is of; None for one of a kind that no TPM here has."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):  # read no sooner than here
        return None
    return _spki(key) if isinstance(key, PublicKey) else None


def _spki(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _event_log(evidence: Evidence, pcrs: Sequence[bytes]) -> EventLog | None:
    data = evidence.optional("event_log")
    if data is None:
        return None
    log = parse_log(data)
    log.require_replayed(pcrs)
    return log
