"""Whether a token is Google's: its signature, by a key that is Google's by its certificates or by the policy's word.

PKI tokens carry their chain, which must end in the Confidential Space root and be valid at the time of verification.
OIDC tokens carry none; they are accepted only where the policy supplies keys.

Source: Confidential Space documentation, "Attestation tokens" (PKI tokens); RFC 7515 section 5.2; RFC 8725.
"""

from datetime import datetime
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from vesica_attestation import _pki
from vesica_attestation.confidential_space.abi import Token
from vesica_attestation.confidential_space.claims import Claims, read_claims
from vesica_attestation.confidential_space.keys import RSA_BITS_MAX, RSA_BITS_MIN, TokenKey
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

ROOT: Final = _pki.pinned_root(
    "confidential_space_root.pem", "148b293821bb0c6a317f413c8ba475814091cb22d49b9e3c94198db8e8f86c39"
)
_LEAF: Final = _pki.signing_leaf(key_usage=False)  # Google's leaves do not say; one that says must say that it signs
_ALGORITHMS: Final = ["RS256"]
# Only the signature is left to PyJWT, on text that ``abi`` has already read its own way. No claim, and no time, is.
_JWS: Final = jwt.PyJWS(algorithms=_ALGORITHMS, options={"enforce_minimum_key_length": True})


def authenticate(token: Token, keys: tuple[TokenKey, ...], at: datetime) -> Claims:
    """The claims of a token that Google signed. keys: the policy's, for tokens without a chain.

    Raises Refused (check "key", "root", "validity", "chain", "algorithm", "signature", "format" or "claims").
    """
    key = _supplied_key(token, keys) if token.chain is None else _certified_key(token.chain, at)
    try:
        payload = _JWS.decode_complete(token.compact, key, algorithms=_ALGORITHMS)["payload"]
    except jwt.PyJWTError:
        raise Refused(Kind.CONFIDENTIAL_SPACE, "signature", "not signed by the key that it names") from None
    if payload != token.payload:
        raise Refused(Kind.CONFIDENTIAL_SPACE, "signature", "what is signed is not what was read")
    return read_claims(token.claims)


def _supplied_key(token: Token, keys: tuple[TokenKey, ...]) -> rsa.RSAPublicKey:
    for key in keys:
        if key.key_id == token.key_id:
            return key.public_key()
    raise Refused(Kind.CONFIDENTIAL_SPACE, "key", "no certificates, and no key of this id in the policy")


def _certified_key(ders: tuple[bytes, ...], at: datetime) -> rsa.RSAPublicKey:
    chain = [_pki.certificate(Kind.CONFIDENTIAL_SPACE, der) for der in ders]
    _pki.require_chain(Kind.CONFIDENTIAL_SPACE, chain, ROOT, at, _LEAF)
    key = chain[0].public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        raise Refused(Kind.CONFIDENTIAL_SPACE, "algorithm", "the signing key is not an RSA key of 2048 to 8192 bits")
    return key
