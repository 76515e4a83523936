"""Whether a Nitro document is AWS's: its signature, and its chain to AWS's root for Nitro Enclaves.

Certificates are judged at the document's own time, because the signing one lives for three hours; whether that time
is recent is for appraisal. What is signed is the payload. The document's bytes are no identity: ECDSA signatures have
a twin, (r, n - s), that verifies too, and AWS's own are of both kinds.

Source: aws-nitro-enclaves-nsm-api, docs/attestation_process.md, section 3.2; RFC 9052 section 4.4; RFC 9053 section
2.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from vesica_attestation import _pki
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind
from vesica_attestation.nitro import abi
from vesica_attestation.nitro._cbor import byte_string

ROOT: Final = _pki.pinned_root(
    "aws_nitro_enclaves_root_g1.pem", "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
)
_LEAF: Final = _pki.signing_leaf(key_usage=True)
_SIGNATURE1: Final = b"\x84\x6aSignature1" + byte_string(abi.PROTECTED) + byte_string(b"")


@dataclass(frozen=True)
class Claims:
    """What AWS signed. Fields as in ``abi.Payload``."""

    module_id: str
    timestamp: datetime
    pcrs: Mapping[int, bytes]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None


def authenticate(document: abi.Document) -> Claims:
    """The claims of a document that AWS signed.

    Raises Refused (check "root", "validity", "chain", "signature" or "format").
    """
    payload = document.payload
    ders = (payload.certificate, *reversed(payload.cabundle))
    chain = [_pki.certificate(Kind.NITRO, der) for der in ders]
    _pki.require_chain(Kind.NITRO, chain, ROOT, payload.timestamp, _LEAF)
    key = chain[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise Refused(Kind.NITRO, "algorithm", "the signing key is not on P-384")
    _require_signature(key, document)
    return Claims(
        payload.module_id, payload.timestamp, payload.pcrs, payload.public_key, payload.user_data, payload.nonce
    )


def _require_signature(key: ec.EllipticCurvePublicKey, document: abi.Document) -> None:
    half = abi.SIGNATURE_BYTES // 2
    r, s = (int.from_bytes(part, "big") for part in (document.signature[:half], document.signature[half:]))
    try:
        key.verify(encode_dss_signature(r, s), _SIGNATURE1 + byte_string(document.signed), ec.ECDSA(SHA384()))
    except InvalidSignature:
        raise Refused(Kind.NITRO, "signature", "not signed by the certificate that it carries") from None
