"""A small CA for attestation keys, in a folder: ``ca.pem`` and ``ca.key``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import NameOID

from vesica_attestation import _pki
from vesica_attestation.errors import Refused
from vesica_attestation.tpm.abi import AttestationKey
from vesica_attestation.tpm.authentic import ATTESTATION_KEY_USAGE

CERTIFICATE_FILE: Final = "ca.pem"
KEY_FILE: Final = "ca.key"
ENDORSEMENT_KEY_USAGE: Final = x509.ObjectIdentifier("2.23.133.8.1")
_CA_DAYS: Final = 3650
_SKEW: Final = timedelta(minutes=5)


class EnrolmentRefused(Exception):
    """The TPM, or what was given to check it by, is not what it must be. The message says what."""


@dataclass(frozen=True)
class Authority:
    """A CA that can issue."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def digest(self) -> str:
        """As policies name it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def certify(self, key: AttestationKey, days: int, now: datetime) -> x509.Certificate:
        """A certificate of an attestation key, which the caller has seen to be one. days: how long it is valid, if the
        CA's own is for as long.
        """
        until = min(now + timedelta(days=days), self.certificate.not_valid_after_utc)
        builder = _builder(f"vesica attestation key {key.name.hex()[4:20]}", self.certificate.subject, now, until)
        usage = _usage("digital_signature")
        signed = (
            builder.public_key(key.key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ATTESTATION_KEY_USAGE]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        return signed.sign(self.key, hashes.SHA256())


def open_authority(folder: Path, now: datetime) -> Authority:
    """The CA of a folder; a new one where there is none yet.

    Raises EnrolmentRefused for files that are not one, OSError.
    """
    if not (folder / CERTIFICATE_FILE).exists() and not (folder / KEY_FILE).exists():
        _make(folder, now)
    try:
        certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE_FILE).read_bytes())
        key = load_pem_private_key((folder / KEY_FILE).read_bytes(), None)
    except (ValueError, TypeError):
        raise EnrolmentRefused(f"{folder}: {CERTIFICATE_FILE} or {KEY_FILE} cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or _spki(key.public_key()) != _spki(certificate.public_key()):
        raise EnrolmentRefused(f"{folder}: {KEY_FILE} is not the key of {CERTIFICATE_FILE}")
    return Authority(certificate, key)


def require_manufactured(
    certificate: x509.Certificate, key: rsa.RSAPublicKey, authorities: Sequence[x509.Certificate], now: datetime
) -> str:
    """The certificate of an endorsement key must lead to one of the authorities. Gives that one's name.

    Raises EnrolmentRefused.
    """
    if _spki(certificate.public_key()) != _spki(key):
        raise EnrolmentRefused("the TPM's certificate is of another endorsement key than the one it has")
    chain = [certificate]
    while len(chain) <= len(authorities):
        issuer = next((one for one in authorities if one.subject == chain[-1].issuer and one not in chain), None)
        if issuer is None:
            break
        chain.append(issuer)
    try:
        _pki.require_chain(
            "endorsement key", chain, chain[-1], now, _pki.dedicated_leaf(ENDORSEMENT_KEY_USAGE, signs=False)
        )
    except Refused as refusal:
        raise EnrolmentRefused(f"the endorsement key's certificate: {refusal.detail}") from None
    return _pki.subject("endorsement key", chain[-1])


def require_known(key: rsa.RSAPublicKey, pem: bytes) -> None:
    """The endorsement key must be one that is known from elsewhere: a public key or a certificate, PEM.

    Raises EnrolmentRefused.
    """
    try:
        certified = b"BEGIN CERTIFICATE" in pem
        known = x509.load_pem_x509_certificate(pem).public_key() if certified else load_pem_public_key(pem)
    except ValueError:
        raise EnrolmentRefused("the known endorsement key is neither a public key nor a certificate in PEM") from None
    if _spki(known) != _spki(key):
        raise EnrolmentRefused("the TPM has another endorsement key than the one that is known")


def _make(folder: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vesica attestation keys")])
    certificate = (
        _builder("vesica attestation keys", name, now, now + timedelta(days=_CA_DAYS))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / KEY_FILE
    secret.touch(mode=0o600, exist_ok=False)
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / CERTIFICATE_FILE).write_bytes(certificate.public_bytes(Encoding.PEM))


def _builder(subject: str, issuer: x509.Name, now: datetime, until: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(until)
    )


def _usage(only: str) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name == only for name in names})


def _spki(key: object) -> bytes:
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise EnrolmentRefused("a key that is neither RSA nor on an elliptic curve")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)
