"""Bearer tokens: 256 bits from the operating system; an agreement holds only their SHA-256."""

import hashlib
import secrets

from vesica.limits import TOKEN_BITS


def new_token() -> str:
    """A fresh token: 43 characters that are safe in a header and in a shell."""
    return secrets.token_urlsafe(TOKEN_BITS // 8)


def token_sha256(token: str) -> str:
    """What an agreement holds of a token: SHA-256 of its UTF-8 bytes, 64 hex digits."""
    return hashlib.sha256(token.encode()).hexdigest()
