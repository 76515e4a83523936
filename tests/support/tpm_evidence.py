"""Evidence of a TPM of our own, under a CA of our own: right in everything, unless a test wants it otherwise."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from vesica_attestation._tpm.quote import extra_data
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.tpm import TpmPolicy

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
REPORT_DATA = bytes(range(64))
SHA256, NULL, RSASSA, RSAPSS, ECDSA = 0x000B, 0x0010, 0x0014, 0x0016, 0x0018
ENDORSEMENT, OWNER = 0x4000000B, 0x40000001
ATTRIBUTES = 0x00050472
AIK = x509.ObjectIdentifier("2.23.133.8.3")
NO_ACTION, SEPARATOR, APPLICATION, IPL = 3, 4, 0x80000003, 13
ALL_PCRS = bytes.fromhex("00000001000b03ffffff")

CALLING = hashlib.sha256(b"Calling EFI Application from Boot Option").digest()
FOUR_ZEROS = hashlib.sha256(bytes(4)).digest()
IMAGE, KERNEL = hashlib.sha256(b"an image").digest(), hashlib.sha256(b"a kernel").digest()
# PCR and digest, in order, of a machine that started a unified kernel image.
EVENTS: tuple[tuple[int, bytes], ...] = (
    (0, hashlib.sha256(b"firmware").digest()),
    (7, hashlib.sha256(b"secure boot").digest()),
    (4, CALLING),
    (4, FOUR_ZEROS),
    (4, IMAGE),
    (11, hashlib.sha256(b".linux\0").digest()),
    (11, KERNEL),
    (11, hashlib.sha256(b".initrd\0").digest()),
    (11, hashlib.sha256(b"an initial file system").digest()),
    (4, KERNEL),
)


def sized(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def replay(events: Sequence[tuple[int, bytes]]) -> tuple[bytes, ...]:
    """24 PCRs after these events."""
    pcrs = [bytes(32)] * 17 + [b"\xff" * 32] * 6 + [bytes(32)]
    for pcr, digest in events:
        pcrs[pcr] = hashlib.sha256(pcrs[pcr] + digest).digest()
    return tuple(pcrs)


def event(pcr: int, digest: bytes, kind: int = IPL, text: bytes = b"text", algorithms=((SHA256, 32),)) -> bytes:
    """A TCG_PCR_EVENT2. Digests of other algorithms than SHA-256 are made up."""
    digests = b"".join(
        struct.pack("<H", number) + (digest if number == SHA256 else b"\x5a" * size) for number, size in algorithms
    )
    return struct.pack("<III", pcr, kind, len(algorithms)) + digests + struct.pack("<I", len(text)) + text


def log_header(algorithms=((SHA256, 32),), signature: bytes = b"Spec ID Event03\0", vendor: bytes = b"") -> bytes:
    sizes = b"".join(struct.pack("<HH", number, size) for number, size in algorithms)
    spec = signature + struct.pack("<IBBBBI", 0, 0, 2, 105, 2, len(algorithms)) + sizes
    spec += bytes([len(vendor)]) + vendor
    return struct.pack("<II", 0, NO_ACTION) + bytes(20) + struct.pack("<I", len(spec)) + spec


def event_log(events: Sequence[tuple[int, bytes]] = EVENTS, algorithms=((SHA256, 32),)) -> bytes:
    return log_header(algorithms) + b"".join(event(pcr, digest, algorithms=algorithms) for pcr, digest in events)


def startup_locality(locality: bytes) -> bytes:
    return event(0, bytes(32), NO_ACTION, b"StartupLocality\0" + locality)


@cache
def ec_key(number: int, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """The same one for the same number."""
    return ec.derive_private_key(number + 1000, curve())


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: object

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.der).digest()


def usage(*names: str) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: name in names for name in every})


def issue(
    name: str,
    issuer: Issued | None,
    key,
    *,
    basic: x509.BasicConstraints | None,
    key_usage: x509.KeyUsage | None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    days: tuple[int, int] = (-10, 10),
    digest: hashes.HashAlgorithm | None = None,
    subject: x509.Name | None = None,
) -> Issued:
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) if subject is None else subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(AT + timedelta(days=days[0]))
        .not_valid_after(AT + timedelta(days=days[1]))
    )
    if basic is not None:
        builder = builder.add_extension(basic, critical=True)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    signer = key if issuer is None else issuer.key
    return Issued(builder.sign(signer, digest or hashes.SHA256()), key)


def authority(name: str, issuer: Issued | None = None, number: int = 1, **changes) -> Issued:
    fields = {"basic": x509.BasicConstraints(ca=True, path_length=None), "key_usage": usage("key_cert_sign")}
    return issue(name, issuer, ec_key(number), **{**fields, **changes})


def leaf(issuer: Issued | None, key, **changes) -> Issued:
    fields = {
        "basic": x509.BasicConstraints(ca=False, path_length=None),
        "key_usage": usage("digital_signature"),
        "extra": ((x509.ExtendedKeyUsage([AIK]), False),),
    }
    return issue("an attestation key", issuer, key, **{**fields, **changes})


def public_area(
    key, *, attributes: int = ATTRIBUTES, scheme: int | None = None, digest: int = SHA256, **changes
) -> bytes:
    """TPMT_PUBLIC of a key."""
    public = key.public_key()
    start = struct.pack(">HI", changes.get("name_algorithm", SHA256), attributes) + sized(changes.get("policy", b""))
    start += struct.pack(">H", changes.get("symmetric", NULL))
    numbers = public.public_numbers()
    if isinstance(public, rsa.RSAPublicKey):
        modulus = changes.get("modulus", numbers.n.to_bytes(public.key_size // 8, "big"))
        parameters = struct.pack(
            ">HHHI", scheme or RSASSA, digest, changes.get("bits", public.key_size), changes.get("exponent", 0)
        )
        return struct.pack(">H", changes.get("kind", 1)) + start + parameters + sized(modulus)
    size = public.key_size // 8
    curve = changes.get("curve", {256: 3, 384: 4, 521: 5}[public.key_size])
    parameters = struct.pack(">HHHH", scheme or ECDSA, digest, curve, changes.get("derivation", NULL))
    x, y = changes.get("point", (numbers.x, numbers.y))
    unique = sized(x.to_bytes(size, "big")) + sized(y.to_bytes(size, "big"))
    return struct.pack(">H", changes.get("kind", 0x23)) + start + parameters + unique


def name_of(public: bytes) -> bytes:
    return b"\0\x0b" + hashlib.sha256(public).digest()


def qualified(public: bytes, hierarchy: int = ENDORSEMENT) -> bytes:
    return b"\0\x0b" + hashlib.sha256(struct.pack(">I", hierarchy) + name_of(public)).digest()


def quote_message(
    signer: bytes,
    pcrs: Sequence[bytes],
    *,
    extra: bytes | None = None,
    magic: bytes = b"\xffTCG",
    kind: int = 0x8018,
    clock: bytes = bytes(8),
    counts: tuple[int, int] = (3, 1),
    safe: int = 1,
    firmware: bytes = bytes(8),
    selection: bytes = ALL_PCRS,
    digest: bytes | None = None,
) -> bytes:
    """TPMS_ATTEST."""
    found = hashlib.sha256(b"".join(pcrs)).digest() if digest is None else digest
    start = magic + struct.pack(">H", kind) + sized(signer) + sized(extra_data(REPORT_DATA) if extra is None else extra)
    return start + clock + struct.pack(">IIB", *counts, safe) + firmware + selection + sized(found)


def sign(key, message: bytes, scheme: int | None = None) -> bytes:
    """TPMT_SIGNATURE."""
    if isinstance(key, rsa.RSAPrivateKey):
        chosen = scheme or RSASSA
        pad = (
            padding.PKCS1v15()
            if chosen == RSASSA
            else padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        )
        return struct.pack(">HH", chosen, SHA256) + sized(key.sign(message, pad, hashes.SHA256()))
    size = key.key_size // 8
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return struct.pack(">HH", ECDSA, SHA256) + sized(r.to_bytes(size, "big")) + sized(s.to_bytes(size, "big"))


@cache
def usual_authority() -> Issued:
    """One CA for all that do not care."""
    return authority("a CA")


@dataclass
class FakeTpm:
    """A TPM, a machine that booted, and a CA that certified its key."""

    key: object = field(default_factory=lambda: ec_key(7))
    scheme: int | None = None
    hierarchy: int = ENDORSEMENT
    events: Sequence[tuple[int, bytes]] = EVENTS
    ca: Issued = field(default_factory=usual_authority)

    @property
    def public(self) -> bytes:
        return public_area(self.key, scheme=self.scheme)

    @property
    def pcrs(self) -> tuple[bytes, ...]:
        return replay(self.events)

    def certificates(self, **changes) -> tuple[bytes, ...]:
        return (leaf(self.ca, self.key, **changes).der, self.ca.der)

    def evidence(self, *, drop: Sequence[str] = (), quote: dict | None = None, **parts) -> Evidence:
        """quote: changes of the message, which is signed after them. parts: instead of the right ones."""
        public = parts.get("attestation_key", self.public)
        message = parts.get("quote_message") or quote_message(
            **{"signer": qualified(public, self.hierarchy), "pcrs": self.pcrs} | (quote or {})
        )
        made = {
            "quote_message": message,
            "quote_signature": sign(self.key, message, self.scheme),
            "pcrs": self.pcrs,
            "attestation_key": public,
            "certificates": parts.get("certificates") or self.certificates(),
            "event_log": event_log(self.events),
        }
        return Evidence(Kind.TPM, {name: part for name, part in {**made, **parts}.items() if name not in drop})

    def policy(self, **changes) -> TpmPolicy:
        pcrs = {index: frozenset({self.pcrs[index]}) for index in (4, 7, 11, 12, 13)}
        return TpmPolicy(**{"ca_certificate_digests": frozenset({self.ca.digest}), "pcrs": pcrs} | changes)
