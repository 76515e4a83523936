"""Reading one table of a policy strictly. What is not named is refused; what nobody reads is an error."""

import re
from collections.abc import Mapping
from typing import Final

from vesica_attestation.errors import PolicyInvalid

_HEX: Final = re.compile(r"[0-9a-f]*", re.ASCII)
TEXT_CHARACTERS_MAX: Final = 1024
LIST_MAX: Final = 256


class Table:
    """A TOML table being read; every field is taken once. Every method raises PolicyInvalid, naming the place."""

    def __init__(self, path: str, fields: Mapping[str, object]) -> None:
        self.path = path
        self._left = dict(fields)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def place(self, name: str) -> str:
        """Where a field stands."""
        return f"{self.path}.{name}" if self.path else name

    def take(self, name: str) -> object:
        """A field that must be there."""
        if name not in self._left:
            raise PolicyInvalid(self.place(name), "missing, and what a policy does not say is refused")
        return self._left.pop(name)

    def nothing_else(self) -> None:
        """Refuses fields that nobody took: a misspelt condition must not be a condition left out."""
        for name in self._left:
            raise PolicyInvalid(self.place(name), "not a field of a policy")

    def table(self, name: str) -> "Table":
        """A table inside this one."""
        value = self.take(name)
        if not isinstance(value, dict):
            raise PolicyInvalid(self.place(name), "must be a table")
        return Table(self.place(name), value)

    def names(self) -> tuple[str, ...]:
        """Fields that are still to be read."""
        return tuple(self._left)

    def flag(self, name: str) -> bool:
        """true or false; left out, false."""
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise PolicyInvalid(self.place(name), "must be true or false")
        return value

    def integer(self, name: str, *, least: int = 0, most: int = 2**63 - 1) -> int:
        """A whole number within bounds."""
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise PolicyInvalid(self.place(name), f"must be a whole number from {least} to {most}")
        return value

    def texts(self, name: str, *, least: int = 1) -> frozenset[str]:
        """A list of different texts."""
        value = self.take(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise PolicyInvalid(self.place(name), "must be a list of texts")
        if not least <= len(value) <= LIST_MAX or any(not 0 < len(item) <= TEXT_CHARACTERS_MAX for item in value):
            raise PolicyInvalid(self.place(name), f"must have {least} to {LIST_MAX} entries, none of them empty")
        if len(set(value)) != len(value):
            raise PolicyInvalid(self.place(name), "an entry stands in the list twice")
        return frozenset(value)

    def digests(self, name: str, size: int, *, least: int = 1) -> frozenset[bytes]:
        """A list of values of ``size`` bytes in hex, such as launch digests."""
        values = set()
        for item in self.texts(name, least=least):
            if len(item) != 2 * size or _HEX.fullmatch(item.lower()) is None:
                raise PolicyInvalid(self.place(name), f"each entry must be {2 * size} hex digits")
            values.add(bytes.fromhex(item))
        return frozenset(values)

    def integers(self, name: str, *, least: int = 0, most: int = 2**63 - 1) -> frozenset[int]:
        """A list of whole numbers, at least one."""
        value = self.take(name)
        if not isinstance(value, list) or not value or len(value) > LIST_MAX:
            raise PolicyInvalid(self.place(name), f"must be a list of 1 to {LIST_MAX} whole numbers")
        if any(isinstance(item, bool) or not isinstance(item, int) or not least <= item <= most for item in value):
            raise PolicyInvalid(self.place(name), f"each entry must be a whole number from {least} to {most}")
        return frozenset(value)
