"""TPMT_SIGNATURE: parsing, and whether a key made it. SHA-256 throughout.

Source: Trusted Computing Group, "TPM 2.0 Library", part 2: TPMT_SIGNATURE (11.3.4), TPMS_SIGNATURE_RSA (11.3.1),
TPMS_SIGNATURE_ECC (11.3.2).
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from vesica_attestation._tpm.constants import ALG_SHA256
from vesica_attestation._tpm.reader import Reader
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

SIGNATURE_BYTES_MAX: Final = 8 + 512  # RSA 4096
_RSA_BYTES_MAX: Final = 512
_COORDINATE_BYTES_MAX: Final = 48  # P-384

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class Scheme(IntEnum):
    """TPM_ALG_ID of the signature schemes that are accepted."""

    RSASSA = 0x0014
    RSAPSS = 0x0016
    ECDSA = 0x0018


@dataclass(frozen=True)
class Signature:
    """value: an RSA signature, big-endian; for ECDSA the DER of r and s."""

    scheme: Scheme
    value: bytes


def parse_signature(kind: Kind, data: bytes) -> Signature:
    """Raises Refused (checks "format", "trailing-bytes", "algorithm")."""
    reader = Reader(data, "the TPM's signature", partial(Refused, kind))
    algorithm, digest = reader.number(2), reader.number(2)
    if algorithm not in set(Scheme) or digest != ALG_SHA256:
        raise reader.fail("not RSASSA, RSAPSS or ECDSA with SHA-256", "algorithm")
    scheme = Scheme(algorithm)
    if scheme is Scheme.ECDSA:
        r, s = (int.from_bytes(reader.sized(_COORDINATE_BYTES_MAX), "big") for _ in range(2))
        value = encode_dss_signature(r, s)
    else:
        value = reader.sized(_RSA_BYTES_MAX)
    reader.end()
    return Signature(scheme, value)


def require_signed(kind: Kind, key: PublicKey, signature: Signature, message: bytes) -> None:
    """Raises Refused (check "tpm-signature")."""
    try:
        match key, signature.scheme:
            case rsa.RSAPublicKey(), Scheme.RSASSA:
                key.verify(signature.value, message, padding.PKCS1v15(), hashes.SHA256())
                return
            case rsa.RSAPublicKey(), Scheme.RSAPSS:
                # TPMs differ in how long they make the salt.
                pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
                key.verify(signature.value, message, pss, hashes.SHA256())
                return
            case ec.EllipticCurvePublicKey(), Scheme.ECDSA:
                key.verify(signature.value, message, ec.ECDSA(hashes.SHA256()))
                return
    except (InvalidSignature, ValueError):
        pass
    raise Refused(kind, "tpm-signature", "the quote was not signed by the TPM's attestation key")
