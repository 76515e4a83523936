"""The public area of a TPM's attestation key: parsing only, no trust.

Source: Trusted Computing Group, "TPM 2.0 Library", part 2: TPMT_PUBLIC (12.2.4), TPMA_OBJECT (8.3), TPMS_RSA_PARMS
(12.2.3.5), TPMS_ECC_PARMS (12.2.3.6); part 1, 16 "Names" and 26.5 "Qualified Name".
"""

import hashlib
from dataclasses import dataclass
from enum import IntFlag
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from vesica_attestation._tpm.constants import ALG_NULL, ALG_SHA256, RH_ENDORSEMENT, RH_OWNER
from vesica_attestation._tpm.reader import Reader
from vesica_attestation._tpm.signature import PublicKey, Scheme
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

KIND: Final = Kind.TPM
PUBLIC_BYTES_MAX: Final = 1024
RSA: Final = 0x0001
ECC: Final = 0x0023
_EXPONENT: Final = 65537
_RSA_BITS: Final = (2048, 3072, 4096)
_POLICY_BYTES: Final = (0, 32)
_CURVES: Final[dict[int, tuple[type[ec.EllipticCurve], int]]] = {3: (ec.SECP256R1, 32), 4: (ec.SECP384R1, 48)}
_HIERARCHIES: Final = {"endorsement": RH_ENDORSEMENT, "owner": RH_OWNER}


class Attribute(IntFlag):
    """TPMA_OBJECT."""

    FIXED_TPM = 1 << 1
    ST_CLEAR = 1 << 2
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    RESTRICTED = 1 << 16
    SIGN = 1 << 18


# Made in this TPM, never to leave it, and signing nothing that only looks like the TPM's own.
_NEEDED: Final = {
    Attribute.FIXED_TPM: "may leave its TPM",
    Attribute.FIXED_PARENT: "may be moved in its TPM",
    Attribute.SENSITIVE_DATA_ORIGIN: "was not made in its TPM",
    Attribute.RESTRICTED: "is not restricted: its holder can have anything signed",
    Attribute.SIGN: "is not for signing",
}
# How it is authorised says nothing about what it signs. All else, such as decrypting, is refused.
_ALLOWED: Final = Attribute.ST_CLEAR | Attribute.USER_WITH_AUTH | Attribute.ADMIN_WITH_POLICY | Attribute.NO_DA
# As a number: a flag's complement has only the bits that are named.
_FORBIDDEN: Final = ~int(_ALLOWED | sum(_NEEDED))


@dataclass(frozen=True)
class AttestationKey:
    """name: SHA-256 of the public area, behind two bytes that say so: 34 bytes, as TPMs name objects."""

    key: PublicKey
    scheme: Scheme
    name: bytes

    def hierarchy(self, qualified_name: bytes) -> str | None:
        """The hierarchy in which this key, as a primary key, has that qualified name; None if there is none."""
        for word, handle in _HIERARCHIES.items():
            if _name(handle.to_bytes(4, "big") + self.name) == qualified_name:
                return word
        return None


def parse_public(data: bytes) -> AttestationKey:
    """An attestation key from its TPMT_PUBLIC.

    Raises Refused (checks "format", "trailing-bytes", "attestation-key", "algorithm").
    """
    reader = Reader(data, "the attestation key's public area", partial(Refused, KIND))
    if len(data) > PUBLIC_BYTES_MAX:
        raise reader.fail(f"more than {PUBLIC_BYTES_MAX} bytes")
    kind, name_algorithm, attributes = reader.number(2), reader.number(2), reader.number(4)
    if name_algorithm != ALG_SHA256:
        raise reader.fail("not named by SHA-256", "algorithm")
    _require_attributes(attributes)
    if len(reader.sized()) not in _POLICY_BYTES:
        raise reader.fail("an authorisation policy that is not SHA-256")
    if reader.number(2) != ALG_NULL:
        raise reader.fail("a signing key with a cipher")
    if kind == RSA:
        scheme = _scheme(reader, Scheme.RSASSA, Scheme.RSAPSS)
        key: PublicKey = _rsa(reader)
    elif kind == ECC:
        scheme = _scheme(reader, Scheme.ECDSA)
        key = _elliptic(reader)
    else:
        raise reader.fail("neither RSA nor an elliptic curve", "algorithm")
    reader.end()
    return AttestationKey(key, scheme, _name(data))


def _require_attributes(attributes: int) -> None:
    for needed, otherwise in _NEEDED.items():
        if not attributes & needed:
            raise Refused(KIND, "attestation-key", f"the attestation key {otherwise}")
    if attributes & _FORBIDDEN:
        raise Refused(
            KIND, "attestation-key", "the attestation key is for more than signing, or has unknown attributes"
        )


def _scheme(reader: Reader, *accepted: Scheme) -> Scheme:
    scheme, digest = reader.number(2), reader.number(2)
    if scheme not in accepted or digest != ALG_SHA256:
        raise reader.fail("signs otherwise than by RSASSA, RSAPSS or ECDSA with SHA-256", "algorithm")
    return Scheme(scheme)


def _rsa(reader: Reader) -> rsa.RSAPublicKey:
    bits, exponent, modulus = reader.number(2), reader.number(4), reader.sized(max(_RSA_BITS) // 8)
    if bits not in _RSA_BITS or exponent not in (0, _EXPONENT):  # 0: the default, 65537
        raise reader.fail("not RSA of 2048, 3072 or 4096 bits with exponent 65537", "algorithm")
    if len(modulus) != bits // 8 or not modulus[0] >> 7 or not modulus[-1] & 1:
        raise reader.fail(f"not an RSA modulus of {bits} bits")
    try:
        return rsa.RSAPublicNumbers(_EXPONENT, int.from_bytes(modulus, "big")).public_key()
    except ValueError:
        raise reader.fail("not an RSA modulus that can be used") from None


def _elliptic(reader: Reader) -> ec.EllipticCurvePublicKey:
    curve, derivation = reader.number(2), reader.number(2)
    if curve not in _CURVES or derivation != ALG_NULL:
        raise reader.fail("not on P-256 or P-384", "algorithm")
    made, size = _CURVES[curve]
    x, y = (int.from_bytes(reader.sized(size), "big") for _ in range(2))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, made()).public_key()
    except ValueError:
        raise reader.fail("a point that is not on its curve") from None


def _name(data: bytes) -> bytes:
    return ALG_SHA256.to_bytes(2, "big") + hashlib.sha256(data).digest()
