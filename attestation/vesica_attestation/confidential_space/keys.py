"""RSA keys that a policy supplies for OIDC tokens: a JWKS, as Google publishes it, fetched and looked at by the
policy's author.

Nothing here is fetched. Such keys are trusted because the policy says so, and for as long as it does: they carry no
dates.

Source: RFC 7517 sections 4 and 5, RFC 7518 section 6.3.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from vesica_attestation.confidential_space._json import Malformed, from_base64url, read_object
from vesica_attestation.confidential_space.abi import KEY_ID_CHARACTERS_MAX
from vesica_attestation.errors import PolicyInvalid

KEYS_MAX: Final = 16
JWKS_BYTES_MAX: Final = 64 * 2**10
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 8192
RSA_EXPONENT: Final = 65537
_MEMBERS: Final = frozenset({"kty", "alg", "use", "kid", "n", "e"})  # above all, no private ones
_FIXED: Final = {"kty": "RSA", "alg": "RS256", "use": "sig"}


@dataclass(frozen=True)
class TokenKey:
    """A public RSA key with the exponent 65537, and the id that tokens name it by."""

    key_id: str
    modulus: int

    def public_key(self) -> rsa.RSAPublicKey:
        """The key, ready for use."""
        return rsa.RSAPublicNumbers(RSA_EXPONENT, self.modulus).public_key()


def read_jwks(value: object, place: str) -> tuple[TokenKey, ...]:
    """The keys of a JWKS, given as a table or as JSON text: 1 to 16, no id twice.

    Raises PolicyInvalid.
    """
    document = _document(value, place)
    listed = document.get("keys")
    if document.keys() != {"keys"} or not isinstance(listed, list) or not 0 < len(listed) <= KEYS_MAX:
        raise PolicyInvalid(place, f"must hold a list of 1 to {KEYS_MAX} keys, and nothing else")
    keys = tuple(_key(entry, place) for entry in listed)
    if len({key.key_id for key in keys}) != len(keys):
        raise PolicyInvalid(place, "has a key id twice")
    return keys


def _document(value: object, place: str) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    if not isinstance(value, str) or len(value) > JWKS_BYTES_MAX:
        raise PolicyInvalid(place, f"must be a table, or a JSON text of at most {JWKS_BYTES_MAX} characters")
    try:
        return read_object(value.encode("utf-8"))
    except (Malformed, UnicodeEncodeError):
        raise PolicyInvalid(place, "not a JSON object, or one that two readers could read differently") from None


def _key(entry: object, place: str) -> TokenKey:
    if not isinstance(entry, dict) or entry.keys() != _MEMBERS or any(entry[k] != v for k, v in _FIXED.items()):
        raise PolicyInvalid(
            place, "each key must be a public RSA key for RS256 signatures: kty, alg, use, kid, n and e"
        )
    key_id = entry["kid"]
    if not isinstance(key_id, str) or not 0 < len(key_id) <= KEY_ID_CHARACTERS_MAX:
        raise PolicyInvalid(place, "each key must have an id")
    modulus, exponent = (_number(entry[name], place) for name in ("n", "e"))
    if not RSA_BITS_MIN <= modulus.bit_length() <= RSA_BITS_MAX or modulus % 2 == 0 or exponent != RSA_EXPONENT:
        raise PolicyInvalid(
            place, f"each key must have {RSA_BITS_MIN} to {RSA_BITS_MAX} bits and the exponent {RSA_EXPONENT}"
        )
    return TokenKey(key_id, modulus)


def _number(text: object, place: str) -> int:
    try:
        encoded = from_base64url(text) if isinstance(text, str) else b""
    except Malformed:
        encoded = b""
    if not encoded or encoded[0] == 0:
        raise PolicyInvalid(place, "n and e must be base64url of a number without leading zeros")
    return int.from_bytes(encoded, "big")
