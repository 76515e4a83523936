"""Reading one TOML table strictly: every field is taken once, and one that nobody took is an error."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from vesica.epsilon import parse_epsilon
from vesica.errors import AgreementInvalid, EpsilonInvalid
from vesica.limits import NAME_CHARACTERS_MAX

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._@-]*[A-Za-z0-9])?", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def at(path: str, field: str) -> str:
    """The place of a field as a person would look for it: ``parties[2].epsilon`` (counted from 1)."""
    return f"{path}.{field}" if path else field


class Table:
    """A TOML table being read. ``path`` is its place in the file.

    Every method raises AgreementInvalid naming the place. Values are quoted only where the agreement chose them from a
    closed set; tokens and hashes never are.
    """

    def __init__(self, path: str, fields: Mapping[str, object]) -> None:
        self._path = path
        self._left = dict(fields)

    def __contains__(self, field: str) -> bool:
        return field in self._left

    def place(self, field: str) -> str:
        """Where a field of this table stands."""
        return at(self._path, field)

    def take(self, field: str) -> object:
        """A field's value, which must be there."""
        if field not in self._left:
            raise AgreementInvalid(self.place(field), "missing")
        return self._left.pop(field)

    def nothing_else(self, why: str = "not a field of an agreement") -> None:
        """Refuses fields that nobody took: a misspelt limit must not be a limit left out."""
        for field in self._left:
            raise AgreementInvalid(self.place(field), why)

    def table(self, field: str, *, optional: bool = False) -> "Table":
        """A table inside this one; with ``optional``, an empty one where there is none."""
        value = self.take(field) if not optional or field in self._left else {}
        if not isinstance(value, dict):
            raise AgreementInvalid(self.place(field), f"must be a table, [{self.place(field)}]")
        return Table(self.place(field), value)

    def tables(self, field: str) -> list["Table"]:
        """An array of tables."""
        value = self.take(field)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise AgreementInvalid(self.place(field), f"must be written as [[{self.place(field)}]]")
        return [Table(self.place(f"{field}[{i + 1}]"), item) for i, item in enumerate(value)]

    def string(self, field: str) -> str:
        """A string."""
        value = self.take(field)
        if not isinstance(value, str):
            raise AgreementInvalid(self.place(field), "must be a string in quotes")
        return value

    def name(self, field: str) -> str:
        """A name that is safe in a header, a file name and a table."""
        value = self.string(field)
        if len(value) > NAME_CHARACTERS_MAX or _NAME.fullmatch(value) is None:
            raise AgreementInvalid(
                self.place(field),
                f"must be 1 to {NAME_CHARACTERS_MAX} letters, digits, spaces or . _ @ - and begin and end with a "
                "letter or digit",
            )
        return value

    def sha256(self, field: str) -> str:
        """64 lower-case hex digits."""
        value = self.string(field).lower()
        if _SHA256.fullmatch(value) is None:
            raise AgreementInvalid(self.place(field), "must be 64 hex digits, as `vesica token` prints them")
        return value

    def epsilon(self, field: str) -> int:
        """An exact decimal in quotes, as nano-epsilon."""
        value = self.take(field)
        if isinstance(value, float):
            raise AgreementInvalid(self.place(field), 'write it in quotes, such as "0.5": a bare 0.5 is not exact')
        try:
            return parse_epsilon(value)
        except EpsilonInvalid as error:
            raise AgreementInvalid(self.place(field), error.detail) from None

    def choice(self, field: str, choices: Sequence[str], *, default: str) -> str:
        """One word of a closed set."""
        value = self.string(field) if field in self._left else default
        if value not in choices:
            raise AgreementInvalid(self.place(field), f"must be one of: {', '.join(choices)}")
        return value

    def strings(self, field: str, *, least: int, most: int, choices: Sequence[str] | None = None) -> list[str]:
        """A list of different strings; with ``choices``, of words of a closed set."""
        value = self.take(field)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise AgreementInvalid(self.place(field), "must be a list of strings")
        if not least <= len(value) <= most:
            raise AgreementInvalid(self.place(field), f"must have {least} to {most} entries")
        for i, item in enumerate(value):
            where = self.place(f"{field}[{i + 1}]")
            if choices is not None and item not in choices:
                raise AgreementInvalid(where, f"must be one of: {', '.join(choices)}")
            if item in value[:i]:
                raise AgreementInvalid(where, "stands in the list twice")
        return value
