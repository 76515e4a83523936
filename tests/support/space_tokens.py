"""A stand-in for Google: a chain like the one that signs Confidential Space PKI tokens, under its own root, and tokens.

Tokens are made with PyJWT where they are well formed, and by hand where they must not be.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

ISSUED_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
IMAGE = bytes([0xD1]) * 32
COMMAND = ("/usr/local/bin/vesica", "serve")
AUDIENCE = "vesica"
REPORT_DATA = bytes(range(64))
NONCE = base64.urlsafe_b64encode(REPORT_DATA).rstrip(b"=").decode("ascii")
ISSUING = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
SIGNING = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
IDLE = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
UNKNOWN_CRITICAL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00"), True)

Extensions = tuple[tuple[x509.ExtensionType, bool], ...]


@dataclass(frozen=True)
class Authority:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def text(self) -> str:
        """As x5c carries it."""
        return base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode("ascii")


@cache
def rsa_key(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One of a few keys; making them takes time."""
    del number
    return rsa.generate_private_key(65537, bits)


def issue(
    name: str,
    issuer: Authority | None,
    key: rsa.RSAPrivateKey,
    *,
    ca: bool,
    usage: x509.KeyUsage | None = None,
    basic: bool = True,
    extra: Extensions = (),
    start: datetime = ISSUED_AT - timedelta(days=30),
    end: datetime = ISSUED_AT + timedelta(days=30),
) -> Authority:
    """A certificate as Google makes them; without an issuer it signs itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if basic:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return Authority(builder.sign(key if issuer is None else issuer.key, SHA256()), key)


@dataclass(frozen=True)
class FakeGoogle:
    """Root, intermediate and leaf, the same in shape as the real ones."""

    root: Authority
    intermediate: Authority
    leaf: Authority

    @property
    def chain(self) -> list[str]:
        """As x5c carries it."""
        return [self.leaf.text, self.intermediate.text, self.root.text]

    def token(self, claims: Mapping[str, Any] | None = None, **headers: Any) -> bytes:
        """A token signed by the leaf. headers: added; None leaves one out."""
        header = {"kid": "leaf", "x5c": self.chain} | headers
        kept = {name: value for name, value in header.items() if value is not None}
        return jwt.encode(dict(claims or claims_of()), self.leaf.key, algorithm="RS256", headers=kept).encode("ascii")


@cache
def fake_google() -> FakeGoogle:
    """One chain for all tests."""
    return make_google()


def make_google(
    first_key: int = 0,
    intermediate: Mapping[str, Any] | None = None,
    leaf: Mapping[str, Any] | None = None,
    leaf_bits: int = 2048,
) -> FakeGoogle:
    """A chain. intermediate, leaf: what to issue otherwise. first_key: of three; others make a stranger's chain."""
    keys = [rsa_key(first_key), rsa_key(first_key + 1), rsa_key(first_key + 2, leaf_bits)]
    root = issue("Confidential Space Root CA", None, keys[0], ca=True, usage=ISSUING)
    between_terms: dict[str, Any] = {"ca": True, "usage": ISSUING} | dict(intermediate or {})
    between = issue("Confidential Space Intermediate CA", root, keys[1], **between_terms)
    leaf_terms: dict[str, Any] = {"ca": False} | dict(leaf or {})
    end = issue("Confidential Space Leaf Certificate", between, keys[2], **leaf_terms)
    return FakeGoogle(root, between, end)


def claims_of(drop: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    """The claims of a good token. changes: by name; a name with "__" reaches inside ("submods__container__args")."""
    now = int(ISSUED_AT.timestamp())
    claims: dict[str, Any] = {
        "aud": AUDIENCE,
        "iss": "https://confidentialcomputing.googleapis.com",
        "sub": "https://www.googleapis.com/compute/v1/projects/p/zones/z/instances/i",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "eat_nonce": NONCE,
        "secboot": True,
        "oemid": 11129,
        "hwmodel": "GCP_AMD_SEV",
        "swname": "CONFIDENTIAL_SPACE",
        "swversion": ["260301"],
        "dbgstat": "disabled-since-boot",
        "submods": {
            "confidential_space": {
                "support_attributes": ["LATEST", "STABLE", "USABLE"],
                "monitoring_enabled": {"memory": False},
            },
            "container": {
                "image_reference": "registry.example/vesica@sha256:" + IMAGE.hex(),
                "image_digest": "sha256:" + IMAGE.hex(),
                "image_id": "sha256:" + "00" * 32,
                "restart_policy": "Never",
                "args": list(COMMAND),
                "env": {"HOSTNAME": "i", "PATH": "/usr/bin"},
            },
            "gce": {"zone": "z", "project_id": "p", "project_number": "1", "instance_name": "i", "instance_id": "42"},
        },
    }
    for path, value in changes.items():
        *outer, last = path.split("__")
        _inside(claims, outer)[last] = value
    for path in drop:
        *outer, last = path.split("__")
        del _inside(claims, outer)[last]
    return claims


def by_hand(header: bytes, payload: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """A token of any header and payload, signed with RS256."""
    signed = b".".join([_encoded(header), _encoded(payload)])
    return signed + b"." + _encoded(key.sign(signed, padding.PKCS1v15(), SHA256()))


def as_json(value: object) -> bytes:
    """JSON, as bytes."""
    return json.dumps(value).encode("utf-8")


def jwks_of(key: rsa.RSAPrivateKey, key_id: str) -> dict[str, Any]:
    """A JWKS with one key, in the form that Google publishes."""
    numbers = key.public_key().public_numbers()
    modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
    member = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": key_id, "e": "AQAB", "n": _encoded(modulus).decode()}
    return {"keys": [member]}


def _encoded(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def _inside(claims: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for name in path:
        claims = claims.setdefault(name, {})
    return claims
