"""The room's keys: made at start, held in memory only, and gone with the process.

Three keys with one use each: TLS (who is at the other end), HPKE (who can read a submission), receipts (who made a
statement). Evidence is bound to all three.
"""

import datetime as dt
import hashlib
import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import NameOID

from vesica_attestation.binding import Identity

_VALID_DAYS: Final = 366  # a room lives shorter than this; who verifies evidence pins the key and not the certificate


@dataclass(frozen=True)
class RoomKeys:
    """The private keys of one room. Never printed."""

    tls: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False)
    hpke: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)
    receipt: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)

    def identity(self, agreement_digest: str) -> Identity:
        """What evidence says of these keys."""
        spki = self.tls.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return Identity(
            tls_spki_sha256=hashlib.sha256(spki).digest(),
            hpke_public_key=self.hpke.public_key().public_bytes_raw(),
            receipt_public_key=self.receipt.public_key().public_bytes_raw(),
            agreement_digest=bytes.fromhex(agreement_digest),
        )


def tls_context(key: ec.EllipticCurvePrivateKey, host: str) -> ssl.SSLContext:
    """TLS 1.3 with a self-signed certificate of this key. host: the name or address that the room listens on.

    Python's ``ssl`` reads certificate and key from a path only; they pass through an anonymous file in memory (memfd),
    so that the key is never on a disk.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    pem = _certificate(key, host).public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.memfd_create("vesica-tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.ftruncate(descriptor, 0)
        os.close(descriptor)
    return context


def _certificate(key: ec.EllipticCurvePrivateKey, host: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vesica room")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")), _general_name(host)]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
