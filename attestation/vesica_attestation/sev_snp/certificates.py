"""AMD's certificates: from a VCEK or VLEK up to the embedded root, at a stated time.

Sources: AMD, "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification", document 57230,
section 3 (certificate profiles, extensions under 1.3.6.1.4.1.3704.1); "VLEK Certificate" profile in the same
document.

Revocation is not checked: AMD publishes its lists over the network only, and a verifier here never opens a socket. A
key that AMD revokes is told by its TCB, so raise ``minimum_tcb`` when AMD publishes a bulletin.
"""

import hashlib
import re
import threading
import warnings
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import SignatureAlgorithmOID

from vesica_attestation.errors import Refused
from vesica_attestation.sev_snp.abi import KIND, Product, SigningKey, Tcb

CERTIFICATES_MAX: Final = 3
CERTIFICATE_BYTES_MAX: Final = 8192
# SHA-256 of the DER. The roots first: everything else could be checked from them.
ARK_SHA256: Final = {
    Product.MILAN: "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
    Product.GENOA: "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
    Product.TURIN: "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
}
INTERMEDIATE_SHA256: Final = {
    (Product.MILAN, SigningKey.VCEK): "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
    (Product.GENOA, SigningKey.VCEK): "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
    (Product.TURIN, SigningKey.VCEK): "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
    (Product.MILAN, SigningKey.VLEK): "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5",
    (Product.GENOA, SigningKey.VLEK): "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372",
    (Product.TURIN, SigningKey.VLEK): "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c",
}
_FILES: Final = {SigningKey.VCEK: "amd_ask_ark_{}.pem", SigningKey.VLEK: "amd_asvk_ark_{}_vlek.pem"}
_AMD: Final = "1.3.6.1.4.1.3704.1."
_PRODUCT_NAME: Final = f"{_AMD}2"
_BOOTLOADER, _TEE, _SNP, _MICROCODE, _FMC = (f"{_AMD}3.{number}" for number in (1, 2, 3, 8, 9))
_UNUSED: Final = {
    Product.MILAN: tuple(f"{_AMD}3.{number}" for number in (4, 5, 6, 7)),
    Product.GENOA: tuple(f"{_AMD}3.{number}" for number in (4, 5, 6, 7)),
    Product.TURIN: tuple(f"{_AMD}3.{number}" for number in (5, 6, 7)),
}
_HWID: Final = f"{_AMD}4"
_CSP_ID: Final = f"{_AMD}5"
_HWID_BYTES: Final = {Product.MILAN: 64, Product.GENOA: 64, Product.TURIN: 8}
_DER_INTEGER, _DER_OCTETS, _DER_IA5 = 0x02, 0x04, 0x16
_DER_SHORT_MAX: Final = 0x7F
_BYTE_MAX: Final = 0xFF
_SERIAL_WARNING: Final = re.escape("Parsed a serial number which wasn't positive")
_warnings_lock: Final = threading.Lock()


@dataclass(frozen=True)
class Endorsement:
    """What AMD certified about the key that signs reports.

    hwid: of the chip, for a VCEK; None for a VLEK. csp_id: of the cloud provider, for a VLEK; None for a VCEK.
    """

    product: Product
    signing_key: SigningKey
    tcb: Tcb
    hwid: bytes | None
    csp_id: str | None
    public_key: ec.EllipticCurvePublicKey


@dataclass(frozen=True)
class Authority:
    """The embedded certificates above one kind of key of one product."""

    product: Product
    signing_key: SigningKey
    intermediate: x509.Certificate
    root: x509.Certificate


def endorse(certificates: tuple[bytes, ...], at: datetime) -> Endorsement:
    """What the first certificate, a VCEK or VLEK in DER, says: issued under an embedded root, and valid at ``at``.

    The others may be left out. Those that are sent along must be the embedded ones, byte for byte: they prove
    nothing, and what proves nothing must not ride along.

    Raises Refused (checks "format", "trailing-bytes", "chain", "signature", "validity", "certificate").
    """
    if not 1 <= len(certificates) <= CERTIFICATES_MAX or any(len(one) > CERTIFICATE_BYTES_MAX for one in certificates):
        raise Refused(KIND, "format", f"needs 1 to {CERTIFICATES_MAX} certificates, the VCEK or VLEK first")
    leaf = _load(certificates[0])
    if not certificates[0].endswith(b"\0" + leaf.signature):
        # A BIT STRING may claim that its last bits are unused; the signature would be the same, the bytes would not.
        raise Refused(KIND, "format", "the first certificate's signature is not whole bytes")
    authority = _issuer_of(leaf)
    embedded = {one.public_bytes(Encoding.DER) for one in (authority.intermediate, authority.root)}
    rest = certificates[1:]
    if len(set(rest)) != len(rest) or not embedded.issuperset(rest):
        raise Refused(KIND, "chain", "a certificate sent along is not AMD's embedded one for this product and key")
    for one in (leaf, authority.intermediate, authority.root):
        if not one.not_valid_before_utc <= at <= one.not_valid_after_utc:
            raise Refused(KIND, "validity", f"{one.subject.rfc4514_string()} is not valid at {at.isoformat()}")
    return _endorsement(leaf, authority)


@cache
def authorities() -> tuple[Authority, ...]:
    """The embedded certificates, checked against their pins.

    Raises ValueError where a file is not what was pinned: a broken installation, not evidence.
    """
    return tuple(_authority(product, signing_key) for product, signing_key in INTERMEDIATE_SHA256)


def _authority(product: Product, signing_key: SigningKey) -> Authority:
    name = _FILES[signing_key].format(product)
    pem = resources.files("vesica_attestation").joinpath("trust", name).read_bytes()
    intermediate, root = x509.load_pem_x509_certificates(pem)
    pins = (INTERMEDIATE_SHA256[product, signing_key], ARK_SHA256[product])
    if tuple(hashlib.sha256(one.public_bytes(Encoding.DER)).hexdigest() for one in (intermediate, root)) != pins:
        raise ValueError(f"{name} is not the file that was pinned")
    # The root signs itself, which proves nothing: its pin does.
    intermediate.verify_directly_issued_by(root)
    return Authority(product, signing_key, intermediate, root)


def _load(der: bytes) -> x509.Certificate:
    """A certificate from DER.

    AMD numbers every VCEK and VLEK 0, against RFC 5280; ``cryptography`` warns of that and announces an exception.
    Only that one warning is silenced, here and under a lock (the filters are the process's); any other is a refusal.
    Should the exception come, each of these certificates is refused as "format": safe, and useless; tests on real
    certificates fail on that day, and the parts needed here (see ``_endorsement``) can then be read with
    ``cryptography.hazmat.asn1``.
    """
    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            warnings.filterwarnings("ignore", _SERIAL_WARNING, CryptographyDeprecationWarning)
            return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion, CryptographyDeprecationWarning):
        raise Refused(KIND, "format", "a certificate that is not one in DER") from None


def _issuer_of(leaf: x509.Certificate) -> Authority:
    # Nothing of the certificate is read before one of the embedded keys vouches for it.
    for authority in authorities():
        try:
            leaf.verify_directly_issued_by(authority.intermediate)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
            continue
        if leaf.signature_algorithm_oid != SignatureAlgorithmOID.RSASSA_PSS or not isinstance(
            leaf.signature_hash_algorithm, hashes.SHA384
        ):
            raise Refused(KIND, "chain", "the first certificate is not signed with RSASSA-PSS and SHA-384")
        return authority
    raise Refused(KIND, "chain", "the first certificate is no VCEK or VLEK that AMD issued under an embedded root")


def _endorsement(leaf: x509.Certificate, authority: Authority) -> Endorsement:
    product, signing_key = authority.product, authority.signing_key
    try:
        public_key = leaf.public_key()
        extensions = {one.oid.dotted_string: one for one in leaf.extensions}
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        raise Refused(KIND, "certificate", "its key or its extensions cannot be read") from None
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(public_key.curve, ec.SECP384R1):
        raise Refused(KIND, "certificate", "its key is not on P-384")
    values: dict[str, bytes] = {}
    for oid, extension in extensions.items():
        if extension.critical:
            raise Refused(KIND, "certificate", f"an extension that must be understood, and is not: {oid}")
        if isinstance(extension.value, x509.UnrecognizedExtension):
            values[oid] = extension.value.value
    # "Milan-B0": the generation, then the stepping of the silicon.
    if _text(values, _PRODUCT_NAME).partition("-")[0].lower() != product.value:
        raise Refused(KIND, "product", f"the certificate's product is not {product}")
    if any(_svn(values, oid) for oid in _UNUSED[product] if oid in values):
        raise Refused(KIND, "certificate", "it certifies a TCB component that nobody here knows")
    tcb = Tcb(
        bootloader=_svn(values, _BOOTLOADER),
        tee=_svn(values, _TEE),
        snp=_svn(values, _SNP),
        microcode=_svn(values, _MICROCODE),
        fmc=_svn(values, _FMC) if product is Product.TURIN else 0,
    )
    vcek = signing_key is SigningKey.VCEK
    if (_HWID in values) is not vcek or (_CSP_ID in values) is vcek:
        raise Refused(KIND, "certificate", f"its identifiers are not those of a {signing_key}")
    hwid = _hwid(values, product) if vcek else None
    csp_id = None if vcek else _text(values, _CSP_ID)
    return Endorsement(product, signing_key, tcb, hwid, csp_id, public_key)


def _value(values: dict[str, bytes], oid: str, tag: int) -> bytes:
    raw = values.get(oid, b"")
    if len(raw) < 3 or raw[0] != tag or raw[1] > _DER_SHORT_MAX or raw[1] != len(raw) - 2:  # noqa: PLR2004 (tag, length, value)
        raise Refused(KIND, "certificate", f"its extension {oid} is missing, or not of the right type")
    return raw[2:]


def _svn(values: dict[str, bytes], oid: str) -> int:
    number = int.from_bytes(_value(values, oid, _DER_INTEGER), "big", signed=True)
    if not 0 <= number <= _BYTE_MAX:
        raise Refused(KIND, "certificate", f"its extension {oid} is not 0 to {_BYTE_MAX}")
    return number


def _text(values: dict[str, bytes], oid: str) -> str:
    text = _value(values, oid, _DER_IA5).decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        raise Refused(KIND, "certificate", f"its extension {oid} is not printable text")
    return text


def _hwid(values: dict[str, bytes], product: Product) -> bytes:
    # AMD has issued it both bare and as an OCTET STRING; the lengths tell which.
    size, raw = _HWID_BYTES[product], values[_HWID]
    value = raw if len(raw) == size else _value(values, _HWID, _DER_OCTETS)
    if len(value) != size:
        raise Refused(KIND, "certificate", f"its hardware id is not {size} bytes")
    return value
