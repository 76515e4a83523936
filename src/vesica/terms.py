"""The closed sets that an agreement chooses from. To add to one: here, and wherever mypy then says it is missing."""

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Statistic(StrEnum):
    """What a release may be about. Both are counts that one row can move by at most 1 (unit of privacy: one row)."""

    INTERSECTION_CARDINALITY = "intersection_cardinality"
    UNION_CARDINALITY = "union_cardinality"


@unique
class Normaliser(StrEnum):
    """What may be done to a key value before values are compared. Examples stand in ``normalise.py``."""

    TRIM = "trim"
    NFC = "nfc"
    NFKC = "nfkc"
    CASEFOLD = "casefold"
    EMAIL = "email"
    DIGITS = "digits"


@unique
class Duplicates(StrEnum):
    """What happens to a file in which two rows have the same key."""

    REFUSE = "refuse"
    DROP = "drop"


@dataclass(frozen=True)
class KeyColumn:
    """One column that takes part in the key, and what is done to its values, in this order."""

    name: str | None  # None: the file's only column, whatever its name
    normalise: tuple[Normaliser, ...] = ()


@dataclass(frozen=True)
class KeyTerms:
    """Which columns make a row's key. Exactly one column without a name, or one or more with names, all different."""

    columns: tuple[KeyColumn, ...] = (KeyColumn(None),)
    duplicates: Duplicates = Duplicates.REFUSE
