"""Reading one JSON answer of a room strictly.

A room is not trusted to be well made, let alone well meaning.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from vesica.jsontext import no_constant
from vesica.limits import EPSILON_TEXT_CHARACTERS_MAX, NAME_CHARACTERS_MAX
from vesica.refusals import RoomAnsweredNonsense

ENTRIES_MAX: Final = 100_000
_DIGITS_MAX: Final = 24  # a count is below 2**64; noise may double it
_DECIMAL: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?", re.ASCII)


def parse_json(body: bytes) -> Mapping[str, object]:
    """The JSON object in an answer's body.

    Raises RoomAnsweredNonsense when it is not one.
    """
    try:
        document = json.loads(body, parse_constant=no_constant, parse_int=_whole)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise RoomAnsweredNonsense("the answer is not JSON: is this address a room?") from None
    if not isinstance(document, dict):
        raise RoomAnsweredNonsense("the answer is not a JSON object: is this address a room?")
    return document


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise ValueError("an absurdly long number")
    return int(digits)


class Shape:
    """A JSON object whose fields are taken by type. Fields that nobody takes are ignored: a later room may
    say more.

    Every method raises RoomAnsweredNonsense naming the field, never its content.
    """

    def __init__(self, document: object, place: str = "") -> None:
        self._place = place
        if not isinstance(document, dict):
            raise self._wrong("", "an object")
        self._fields: Mapping[str, object] = document

    def _wrong(self, field: str, wanted: str) -> RoomAnsweredNonsense:
        where = f"{self._place}.{field}".strip(".") or "the answer"
        return RoomAnsweredNonsense(f"the room's answer cannot be used: {where} is not {wanted}")

    def text(self, field: str, characters_max: int = 256) -> str:
        """Printable text of bounded length."""
        value = self._fields.get(field)
        if not isinstance(value, str) or not 0 < len(value) <= characters_max or not value.isprintable():
            raise self._wrong(field, f"1 to {characters_max} printable characters")
        return value

    def word(self, field: str, words: Sequence[str]) -> str:
        """One word of a closed set."""
        value = self._fields.get(field)
        if not isinstance(value, str) or value not in words:
            raise self._wrong(field, f"one of {', '.join(words)}")
        return value

    def hexadecimal(self, field: str, digits: int) -> str:
        """Lower-case hex digits, exactly this many."""
        value = self._fields.get(field)
        if not isinstance(value, str) or re.fullmatch(f"[0-9a-f]{{{digits}}}", value, re.ASCII) is None:
            raise self._wrong(field, f"{digits} hex digits")
        return value

    def truth(self, field: str) -> bool:
        """True or false."""
        value = self._fields.get(field)
        if not isinstance(value, bool):
            raise self._wrong(field, "true or false")
        return value

    def integer(self, field: str, *, least: int | None = None) -> int:
        """A whole number."""
        value = self._fields.get(field)
        if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
            raise self._wrong(field, "a whole number" if least is None else f"a whole number from {least}")
        return value

    def number(self, field: str) -> float:
        """A finite number above zero."""
        value = self._fields.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self._wrong(field, "a finite number above zero")
        return float(value)

    def amount(self, field: str) -> Decimal:
        """An amount of epsilon, from zero, as an exact decimal string."""
        value = self._fields.get(field)
        if not isinstance(value, str) or len(value) > EPSILON_TEXT_CHARACTERS_MAX or _DECIMAL.fullmatch(value) is None:
            raise self._wrong(field, 'an exact decimal such as "0.5"')
        return Decimal(value)

    def shape(self, field: str) -> "Shape":
        """An object inside this one."""
        return Shape(self._fields.get(field), f"{self._place}.{field}".strip("."))

    def mapping(self, field: str) -> Mapping[str, object]:
        """An object inside this one, as it is."""
        value = self._fields.get(field)
        if not isinstance(value, dict):
            raise self._wrong(field, "an object")
        return value

    def shapes(self, field: str, entries_max: int = ENTRIES_MAX) -> list["Shape"]:
        """A list of objects."""
        value = self._fields.get(field)
        if not isinstance(value, list) or len(value) > entries_max:
            raise self._wrong(field, f"a list of at most {entries_max}")
        place = f"{self._place}.{field}".strip(".")
        return [Shape(item, f"{place}[{i + 1}]") for i, item in enumerate(value)]

    def names(self, field: str, entries_max: int) -> tuple[str, ...]:
        """A list of names."""
        value = self._fields.get(field)
        if not isinstance(value, list) or not 0 < len(value) <= entries_max:
            raise self._wrong(field, f"a list of 1 to {entries_max} names")
        for item in value:
            if not isinstance(item, str) or not 0 < len(item) <= NAME_CHARACTERS_MAX or not item.isprintable():
                raise self._wrong(field, "a list of names")
        return tuple(value)
