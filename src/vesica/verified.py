"""Verify first, then talk: the one way in which a party's client reaches a room.

1. Connect without trusting anybody, and take the certificate that the other end shows. Nothing of ours is sent.
2. From here on speak TLS 1.3 with the owner of that certificate's key and nobody else.
3. Ask for evidence over a fresh nonce, and for the agreement. Compute what the evidence must be bound to from what we
   know ourselves: our nonce, the key at the other end of this channel, and the agreement's text.
4. Appraise the evidence with the party's own policy, on the party's own machine.

Only then is there a ``VerifiedRoom``, and with it keys to pin and to encrypt to. A machine in the middle either shows
its own key, for which it has no evidence, or passes the room's key on, and then cannot read what it passes.
"""

import base64
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from os import PathLike
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vesica.answers import AgreementShown, read_agreement
from vesica.exchange import Address, Exchange, parse_address, peer_certificate, require_https
from vesica.refusals import (
    AgreementMismatch,
    AttestationRefused,
    FileUnreadable,
    PolicyUnusable,
    RoomAnsweredNonsense,
)
from vesica_attestation.binding import FIELD_BYTES, Binding, Identity
from vesica_attestation.errors import PolicyInvalid, Refused
from vesica_attestation.evidence import Evidence, from_json
from vesica_attestation.policy import POLICY_BYTES_MAX, Policy, parse_policy
from vesica_attestation.result import AttestationResult
from vesica_attestation.verifier import verify


@dataclass(frozen=True)
class VerifiedRoom:
    """A room whose evidence was accepted. There is no such object for any other.

    certificate: DER; ``context`` trusts its key alone. binding: what the evidence was found to be bound to. evidence:
    what was appraised, to be kept.
    """

    address: Address
    certificate: bytes
    identity: Identity
    binding: Binding
    agreement: AgreementShown
    evidence: Evidence
    result: AttestationResult

    def context(self) -> ssl.SSLContext:
        """TLS 1.3 with the owner of this key, and with nobody else."""
        return pinned_context(self.certificate)

    @property
    def pin(self) -> str:
        """The TLS key as curl's ``--pinnedpubkey`` takes it."""
        return f"sha256//{base64.b64encode(self.identity.tls_spki_sha256).decode('ascii')}"

    @property
    def certificate_until(self) -> datetime:
        """When the room's certificate ends, UTC, and with it the last moment at which this room can be talked to."""
        return x509.load_der_x509_certificate(self.certificate).not_valid_after_utc


PolicySource = str | PathLike[str] | bytes | Policy


def read_policy(source: PolicySource) -> Policy:
    """An appraisal policy, from the path of a ``policy.toml``, its bytes, or as it is.

    Raises FileUnreadable, PolicyUnusable.
    """
    if isinstance(source, Policy):
        return source
    if isinstance(source, bytes):
        text, where = source, "the policy"
    else:
        where = str(Path(source))
        try:
            with Path(source).open("rb") as file:
                text = file.read(POLICY_BYTES_MAX + 1)
        except OSError as error:
            raise FileUnreadable(f"cannot read {where}: {error.strerror}") from None
    try:
        return parse_policy(text)
    except PolicyInvalid as error:
        raise PolicyUnusable(f"{where}: {error.place}: {error.detail}", place=error.place) from None


def verify_room(
    url: str, policy: Policy, *, agreement_digest: str | None = None, at: datetime | None = None
) -> VerifiedRoom:
    """Verifies the room at an address.

    agreement_digest: of the agreement that this party signed up to, 64 hex digits; None: whatever the room carries out,
    which the caller then shows to the reader. at: the time to verify at; None: now.

    Raises AddressRefused, AttestationRefused (naming the check), AgreementMismatch, RoomAnsweredNonsense,
    RoomUnreachable.
    """
    address = parse_address(url)
    require_https(address, "a question for evidence")
    certificate = peer_certificate(address)
    exchange = Exchange(address, None, pinned_context(certificate))
    try:
        nonce = secrets.token_bytes(FIELD_BYTES)
        shown = exchange.get(f"/attestation?nonce={nonce.hex()}").document
        agreement = read_agreement(exchange.get("/agreement").document)
    finally:
        exchange.disconnect()
    if agreement_digest is not None and agreement.digest != agreement_digest.lower():
        raise AgreementMismatch(
            f"the room carries out another agreement (digest {agreement.digest}) than yours "
            f"({agreement_digest.lower()}); nothing was sent"
        )
    identity = _claimed_identity(shown, _spki_sha256(certificate), bytes.fromhex(agreement.digest))
    binding = identity.bind(nonce)
    try:
        evidence = from_json(shown.get("evidence"))
        result = verify(evidence, binding.report_data(), policy, at or datetime.now(UTC))
    except Refused as refused:
        raise AttestationRefused(refused.kind, refused.check, refused.detail) from None
    return VerifiedRoom(address, certificate, identity, binding, agreement, evidence, result)


def pinned_context(certificate: bytes) -> ssl.SSLContext:
    """TLS 1.3 in which the other end must hold this certificate's key, now and at every later connection.

    certificate: DER.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # evidence says who is there; the name in the certificate says nothing
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate)
    return context


def read_binding(document: object) -> Binding:
    """A binding as a room or a receipt shows it; nothing of it is to be believed before evidence says the same.

    Raises RoomAnsweredNonsense.
    """
    names = ("nonce", "tls_spki_sha256", "hpke_public_key", "receipt_public_key", "agreement_digest")
    if not isinstance(document, Mapping) or set(document) != set(names):
        raise RoomAnsweredNonsense("the room's binding cannot be used: it has other fields than a binding")
    try:
        return Binding(**{name: _hex(document[name]) for name in names})
    except ValueError:
        raise RoomAnsweredNonsense("the room's binding cannot be used: a field is not 32 bytes in hex") from None


def _hex(value: object) -> bytes:
    decoded = bytes.fromhex(value) if isinstance(value, str) else b""
    if decoded.hex() != value:
        raise ValueError("not plain hex")
    return decoded


def _claimed_identity(shown: Mapping[str, object], tls_spki_sha256: bytes, agreement_digest: bytes) -> Identity:
    """What the evidence must be bound to: the room may name only the two keys that we cannot see for ourselves."""
    binding = read_binding(shown.get("binding"))
    return Identity(tls_spki_sha256, binding.hpke_public_key, binding.receipt_public_key, agreement_digest)


def _spki_sha256(certificate: bytes) -> bytes:
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise RoomAnsweredNonsense("the certificate of the other end cannot be read: is this address a room?") from None
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
