"""The provisioning certification key (PCK): Intel's certificate for the key that certifies a machine's quoting enclave.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, revision 1.5. The chain is
leaf, PCK Platform or Processor CA, Intel SGX Root CA; the root is embedded here and pinned. Revocation is not checked
here: that needs collateral (see ``collateral``).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from vesica_attestation._pki import pinned_root, require_chain, signing_leaf
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

INTEL_SGX_ROOT_SHA256: Final = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"

_SGX_EXTENSION: Final = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
_OID_PREFIX: Final = bytes.fromhex("2a864886f84d010d01")  # the same, in DER; one more arc names a field
_SEQUENCE, _OCTETS, _OID = 0x30, 0x04, 0x06
_PPID, _FMSPC, _PPID_BYTES, _FMSPC_BYTES = 1, 4, 16, 6
_LONG_FORM, _LENGTH_OCTETS_MAX = 0x80, 2
_CHAIN_CERTIFICATES: Final = 3


@dataclass(frozen=True)
class Pck:
    """A PCK whose chain was verified. ppid: of the machine, 16 bytes. fmspc: Intel's name of its model, 6 bytes."""

    key: ec.EllipticCurvePublicKey
    ppid: bytes
    fmspc: bytes


INTEL_SGX_ROOT: Final = pinned_root("intel_sgx_root_ca.pem", INTEL_SGX_ROOT_SHA256)


def verify_chain(pem: bytes, root: x509.Certificate, at: datetime) -> Pck:
    """Verifies the PCK chain of a quote up to ``root`` at a time, and reads the leaf.

    Raises Refused: "format" for PEM text other than three certificates in canonical form, "root" for another root,
    "validity" for a certificate that is not valid at ``at``, "chain" for a chain that does not hold, "pck" for a leaf
    that is no PCK.
    """
    chain = _certificates(pem)
    require_chain(Kind.TDX, chain, root, at, signing_leaf(key_usage=True))
    return _read_leaf(chain[0])


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """Three certificates. Their PEM must be the text that we would write, so no bit is free. A final NUL may stand."""
    text = pem.removesuffix(b"\0")
    try:
        certificates = x509.load_pem_x509_certificates(text)
        canonical = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    except (ValueError, x509.InvalidVersion, CryptographyDeprecationWarning):  # a caller may make warnings errors
        raise Refused(Kind.TDX, "format", "the PCK chain is not certificates in PEM") from None
    if canonical != text:
        raise Refused(Kind.TDX, "format", "the PCK chain's PEM is not in canonical form")
    if len(certificates) != _CHAIN_CERTIFICATES:
        raise Refused(Kind.TDX, "format", f"{len(certificates)} certificates in the PCK chain; 3 are expected")
    return certificates


def _read_leaf(leaf: x509.Certificate) -> Pck:
    """Key, PPID and FMSPC of a leaf that Intel signed."""
    try:
        key = leaf.public_key()
        extension = leaf.extensions.get_extension_for_oid(_SGX_EXTENSION).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, UnsupportedAlgorithm, ValueError):
        raise Refused(Kind.TDX, "pck", "the leaf has no SGX extension, or no key: it is no PCK certificate") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Refused(Kind.TDX, "pck", "the leaf's key is not P-256")
    if not isinstance(extension, x509.UnrecognizedExtension):
        raise Refused(Kind.TDX, "pck", "the leaf's SGX extension cannot be read")
    fields = read_sgx_extension(extension.value)
    ppid, fmspc = fields.get(_PPID), fields.get(_FMSPC)
    if ppid is None or fmspc is None or len(ppid) != _PPID_BYTES or len(fmspc) != _FMSPC_BYTES:
        raise Refused(Kind.TDX, "pck", "the leaf's SGX extension lacks PPID or FMSPC")
    return Pck(key, ppid, fmspc)


def read_sgx_extension(der: bytes) -> dict[int, bytes]:
    """The octet strings of an SGX extension, by the last arc of their OID; 1 is the PPID, 4 the FMSPC.

    Raises Refused (check "pck") for DER of any other shape, and for a field that stands twice.
    """
    fields: dict[int, bytes] = {}
    seen = set()
    for tag, entry in _elements(_only(der, _SEQUENCE)):
        parts = _elements(entry)
        if tag != _SEQUENCE or len(parts) != 2 or parts[0][0] != _OID:  # noqa: PLR2004 (a name and a value)
            raise _no_extension()
        name, (value_tag, value) = parts[0][1], parts[1]
        if name[:-1] != _OID_PREFIX or name in seen:
            raise _no_extension()
        seen.add(name)
        if value_tag == _OCTETS:
            fields[name[-1]] = value
    return fields


def _only(der: bytes, tag: int) -> bytes:
    elements = _elements(der)
    if len(elements) != 1 or elements[0][0] != tag:
        raise _no_extension()
    return elements[0][1]


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """Tags and contents of DER elements that follow one another. Lengths are definite and minimal (X.690, 10.1)."""
    elements, at = [], 0
    while at < len(der):
        tag, length, start = der[at], int.from_bytes(der[at + 1 : at + 2]), at + 2
        if length >= _LONG_FORM:
            octets = length - _LONG_FORM
            length, start = int.from_bytes(der[at + 2 : at + 2 + octets]), at + 2 + octets
            minimal = octets in {1, _LENGTH_OCTETS_MAX} and length >= (_LONG_FORM if octets == 1 else 2**8)
            if not minimal:
                raise _no_extension()
        if start + length > len(der):
            raise _no_extension()
        elements.append((tag, der[start : start + length]))
        at = start + length
    return elements


def _no_extension() -> Refused:
    return Refused(Kind.TDX, "pck", "the SGX extension is not the DER that it should be")
