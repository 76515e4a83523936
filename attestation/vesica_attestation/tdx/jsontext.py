"""JSON of unknown origin, read so that it has one meaning: UTF-8, and no name twice in an object."""

import json

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind


def read_json(text: bytes, what: str) -> object:
    """A JSON value.

    Raises Refused (check "format").
    """
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_without_doubles, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(Kind.TDX, "format", f"the {what} is not JSON, or says something twice") from None


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name that stands twice")
    return fields


def _no_constant(_name: str) -> object:
    raise ValueError("NaN and infinities are not JSON")
