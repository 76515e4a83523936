"""JSON read strictly, and base64url with one spelling: what RFC 7515 leaves to the reader must not be left to two
readers.
"""

import base64
import binascii
import json
from typing import Final, NoReturn

NESTING_MAX: Final = 16


class Malformed(ValueError):
    """Not JSON as it must be here, or not base64url."""


def read_object(text: bytes) -> dict[str, object]:
    """One JSON object: UTF-8, no name twice, no NaN or Infinity, nested at most ``NESTING_MAX`` deep.

    Raises Malformed.
    """
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_no_name_twice, parse_constant=_no_constant)
    except Malformed:
        raise
    except (ValueError, RecursionError):  # UnicodeDecodeError, JSONDecodeError, and integers of thousands of digits
        raise Malformed("not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("not an object")
    _require_shallow(value)
    return value


def from_base64url(text: str) -> bytes:
    """The bytes of base64url without padding (RFC 7515 section 2), of which there is one spelling.

    Raises Malformed.
    """
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("not base64url") from None
    if to_base64url(value) != text:
        raise Malformed("another spelling of base64url")
    return value


def to_base64url(value: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _no_name_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    read = dict(pairs)
    if len(read) != len(pairs):
        raise Malformed("a name that is there twice")
    return read


def _no_constant(_: str) -> NoReturn:
    raise Malformed("NaN or Infinity")


def _require_shallow(value: dict[str, object]) -> None:
    level: list[object] = [value]
    for _ in range(NESTING_MAX):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return
    raise Malformed("nested too deep")


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
