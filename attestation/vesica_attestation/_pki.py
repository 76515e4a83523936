"""Certificate chains to a pinned root, at a stated time. Shared by the kinds whose vendors use plain X.509 (Nitro,
Confidential Space); AMD and Intel have rules of their own.

Revocation is not checked: lists would have to be fetched, and nothing here opens a socket.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from vesica_attestation.errors import Refused

CHAIN_CERTIFICATES_MAX: Final = 8


def pinned_root(file: str, sha256: str) -> x509.Certificate:
    """A trust anchor of this package. sha256: of its DER, hex.

    RuntimeError if the file is not the certificate that the pin names: the installation is broken, or worse.
    """
    pem = resources.files("vesica_attestation").joinpath("trust", file).read_bytes()
    root = x509.load_pem_x509_certificate(pem)
    if hashlib.sha256(_der(root)).hexdigest() != sha256:
        raise RuntimeError(f"{file} is not the root that this version pins")
    return root


def certificate(kind: str, der: bytes) -> x509.Certificate:
    """A certificate from its DER, which must end where the certificate ends.

    Raises Refused (check "format").
    """
    try:
        loaded = x509.load_der_x509_certificate(der)
        serial = loaded.serial_number
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm, CryptographyDeprecationWarning):
        raise Refused(kind, "format", "a certificate that cannot be read") from None
    if serial <= 0:  # RFC 5280 section 4.1.2.2
        raise Refused(kind, "format", "a certificate without a positive serial number")
    return loaded


def subject(kind: str, of: x509.Certificate) -> str:
    """Whose certificate it is, as RFC 4514 writes names. Whoever issued it chose the characters.

    Raises Refused (check "format").
    """
    try:
        return of.subject.rfc4514_string()
    except ValueError:  # read no sooner than here
        raise Refused(kind, "format", "a certificate whose subject cannot be read") from None


def require_chain(
    kind: str, chain: Sequence[x509.Certificate], root: x509.Certificate, at: datetime, leaf: ExtensionPolicy
) -> None:
    """Checks a whole chain, leaf first and root last: every certificate given is a link, and the last one is ``root``.

    leaf: the rules for the extensions of the first certificate. at: the time at which all of them must be valid.

    Raises Refused (check "root", "validity" or "chain"). Source: RFC 5280 section 6.
    """
    if not 1 < len(chain) <= CHAIN_CERTIFICATES_MAX:
        raise Refused(kind, "chain", f"a chain has 2 to {CHAIN_CERTIFICATES_MAX} certificates")
    if _der(chain[-1]) != _der(root):
        raise Refused(kind, "root", "the chain does not end in the vendor's root")
    if any(not link.not_valid_before_utc <= at <= link.not_valid_after_utc for link in chain):
        raise Refused(kind, "validity", f"a certificate is not valid at {at.isoformat()}")
    verifier = (
        PolicyBuilder()
        .store(Store([root]))
        .time(at)
        .max_chain_depth(CHAIN_CERTIFICATES_MAX)
        .extension_policies(ca_policy=_AUTHORITY, ee_policy=leaf)
        .build_client_verifier()
    )
    try:
        verified = verifier.verify(chain[0], list(chain[1:-1])).chain
    except VerificationError:
        raise Refused(kind, "chain", "a certificate was not issued by the next one, or not for this use") from None
    if [_der(link) for link in verified] != [_der(link) for link in chain]:
        raise Refused(kind, "chain", "the chain has another path than the one given")


def signing_leaf(*, key_usage: bool) -> ExtensionPolicy:
    """Rules for a leaf that signs and is no authority. key_usage: whether it must say so, or may be silent."""
    policy = ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, Criticality.CRITICAL, _require_no_authority
    )
    if key_usage:
        return policy.require_present(x509.KeyUsage, Criticality.AGNOSTIC, _require_signing)
    return policy.may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _require_signing)


def dedicated_leaf(usage: x509.ObjectIdentifier, *, signs: bool) -> ExtensionPolicy:
    """Rules for a leaf that is no authority, and is for ``usage`` if it says what for. A certificate that is silent is
    for whatever its authority issues certificates for: pin authorities that issue no others. signs: whether its key
    signs, or keys are sent to it.
    """

    def require_usage(_: Policy, __: x509.Certificate, extension: x509.ExtendedKeyUsage | None) -> None:
        if extension is not None and usage not in extension:
            raise ValueError("the leaf is for another use")

    return (
        ExtensionPolicy.permit_all()
        .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, _require_no_authority)
        .require_present(x509.KeyUsage, Criticality.AGNOSTIC, _require_signing if signs else _require_enciphering)
        .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, require_usage)
    )


def _require_no_authority(_: Policy, __: x509.Certificate, extension: x509.BasicConstraints | None) -> None:
    if extension is not None and extension.ca:
        raise ValueError("the leaf is an authority")


def _require_authority(_: Policy, __: x509.Certificate, extension: x509.BasicConstraints) -> None:
    if not extension.ca:
        raise ValueError("an issuer is no authority")


def _require_signing(_: Policy, __: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.digital_signature:
        raise ValueError("the leaf may not sign")


def _require_enciphering(_: Policy, __: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_encipherment:
        raise ValueError("no keys may be sent to the leaf")


def _require_issuing(_: Policy, __: x509.Certificate, extension: x509.KeyUsage) -> None:
    if not extension.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


def _der(of: x509.Certificate) -> bytes:
    return of.public_bytes(Encoding.DER)


# An extension that is critical and not known to the library is refused by it.
_AUTHORITY: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.CRITICAL, _require_authority)
    .require_present(x509.KeyUsage, Criticality.CRITICAL, _require_issuing)
)
