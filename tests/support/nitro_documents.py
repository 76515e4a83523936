"""A stand-in for AWS: a chain like the one that signs Nitro documents, under a root of its own, and documents it signs.

Documents are encoded with cbor2, which the verifier does not use: two readings of the format meet in the tests.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

MADE_AT = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
PCR0 = bytes([0xA0]) * 48
ISSUING = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
SIGNING = x509.KeyUsage(True, True, False, False, False, False, False, False, False)
IDLE = x509.KeyUsage(False, True, False, False, False, False, False, False, False)
UNKNOWN_CRITICAL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00"), True)

Extensions = tuple[tuple[x509.ExtensionType, bool], ...]


@dataclass(frozen=True)
class Authority:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def issue(
    name: str,
    issuer: Authority | None,
    *,
    ca: bool,
    path_length: int | None = None,
    usage: x509.KeyUsage | None = None,
    usage_critical: bool = True,
    basic: bool = True,
    extra: Extensions = (),
    start: datetime = MADE_AT - timedelta(hours=1),
    end: datetime = MADE_AT + timedelta(hours=3),
    curve: ec.EllipticCurve | None = None,
    serial: int | None = None,
) -> Authority:
    """A certificate as AWS makes them; without an issuer it signs itself."""
    key = ec.generate_private_key(curve or ec.SECP384R1())
    subject = _name(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if basic:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if usage is not None:
        builder = builder.add_extension(usage, critical=usage_critical)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return Authority(builder.sign(key if issuer is None else issuer.key, SHA384()), key)


@dataclass(frozen=True)
class FakeAws:
    """A root, three intermediates, and a leaf, the same in shape as the real ones."""

    root: Authority
    regional: Authority
    zonal: Authority
    instance: Authority
    leaf: Authority

    @property
    def bundle(self) -> tuple[bytes, ...]:
        """Root first, as documents carry it."""
        return (self.root.der, self.regional.der, self.zonal.der, self.instance.der)

    def document(self, **changes: Any) -> bytes:
        """A document signed by this chain. changes: to the payload's fields; ``drop`` names those to leave out."""
        return sign(self.leaf, encode(self.fields(**changes)))

    def fields(self, *, drop: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
        """The fields of a payload, ready to be encoded."""
        fields: dict[str, Any] = {
            "module_id": "i-0123456789abcdef0-enc0123456789abcdef",
            "digest": "SHA384",
            "timestamp": int(MADE_AT.timestamp() * 1000),
            "pcrs": {index: PCR0 if index == 0 else bytes([index]) * 48 for index in range(16)},
            "certificate": self.leaf.der,
            "cabundle": list(self.bundle),
            "public_key": None,
            "user_data": bytes(range(64)),
            "nonce": None,
        }
        fields.update(changes)
        return {name: value for name, value in fields.items() if name not in drop}


@cache
def fake_aws() -> FakeAws:
    """One chain for all tests: making keys takes time."""
    return make_aws()


def make_aws(**changed: Callable[[Authority], Authority]) -> FakeAws:
    """A chain. changed: for a member, how to make it from its issuer instead."""
    makers: Mapping[str, Callable[[Authority], Authority]] = {**_MAKERS, **changed}
    root = _root()
    regional = makers["regional"](root)
    zonal = makers["zonal"](regional)
    instance = makers["instance"](zonal)
    return FakeAws(root, regional, zonal, instance, makers["leaf"](instance))


def leaf(issuer: Authority, **changes: Any) -> Authority:
    """The certificate that signs documents."""
    return issue("i-0.aws", issuer, **{"ca": False, "usage": SIGNING, "usage_critical": False, **changes})


def intermediate(name: str, path_length: int | None, **changes: Any) -> Callable[[Authority], Authority]:
    """How to make an authority between."""
    return lambda issuer: issue(name, issuer, **{"ca": True, "path_length": path_length, "usage": ISSUING, **changes})


def encode(value: object) -> bytes:
    """CBOR with definite lengths."""
    return cbor2.dumps(value)


def sign(by: Authority, payload: bytes, protected: bytes = b"\xa1\x01\x38\x22", aad: bytes = b"") -> bytes:
    """A COSE_Sign1, untagged."""
    signature = raw_signature(by, cbor2.dumps(["Signature1", protected, aad, payload]))
    return cbor2.dumps([protected, {}, payload, signature])


def raw_signature(by: Authority, message: bytes) -> bytes:
    """r and s, big-endian, 48 bytes each, whatever the curve."""
    digest = SHA384() if isinstance(by.key.curve, ec.SECP384R1) else SHA256()
    r, s = decode_dss_signature(by.key.sign(message, ec.ECDSA(digest)))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def _root() -> Authority:
    return issue("aws.nitro-enclaves", None, ca=True, usage=ISSUING)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Amazon"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


_MAKERS: Mapping[str, Callable[[Authority], Authority]] = {
    "regional": intermediate("region.aws.nitro-enclaves", 2),
    "zonal": intermediate("zonal.region.aws.nitro-enclaves", 1),
    "instance": intermediate("i-0.region.aws.nitro-enclaves", 0),
    "leaf": leaf,
}
