"""The agreement: the terms that all parties signed up to, their one canonical form, and its digest.

A file says the same thing in many ways (order of tables, quotes, comments, ``0.50`` for ``0.5``). The canonical form
says it in one way, and its SHA-256 is what evidence and receipts name. It is JSON with sorted keys, no white space and
UTF-8, with strings and integers only (a subset of RFC 8785, where both agree), parties sorted by name.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from vesica._fields import Table, at
from vesica.epsilon import format_epsilon
from vesica.errors import AgreementInvalid
from vesica.limits import (
    AGREEMENT_BYTES_MAX,
    COLUMN_NAME_CHARACTERS_MAX,
    EPSILON_LIMIT_NANO_MAX,
    EPSILON_RELEASE_NANO_MIN,
    KEY_COLUMNS_MAX,
    NORMALISERS_MAX,
    PARTIES_MAX,
    PARTIES_MIN,
)
from vesica.terms import Duplicates, KeyColumn, KeyTerms, Normaliser, Statistic

FORMAT_VERSION: Final = 1
_EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Party:
    """An organisation on the roster. ``epsilon_nano`` limits everything ever released about its records here."""

    name: str
    token_sha256: str
    epsilon_nano: int


@dataclass(frozen=True)
class ReleaseTerms:
    """What may be released, and at which epsilons (nano-epsilon). None: the agreement names no default."""

    statistics: tuple[Statistic, ...]
    epsilon_min_nano: int = EPSILON_RELEASE_NANO_MIN
    epsilon_default_nano: int | None = None


@dataclass(frozen=True)
class Agreement:
    """Checked terms; parties are sorted by name. ``closes_at``: UTC, whole seconds, or None."""

    name: str
    keys: KeyTerms
    parties: tuple[Party, ...]
    releases: ReleaseTerms
    closes_at: datetime | None = None

    def party_names(self) -> tuple[str, ...]:
        """All names on the roster, in the order that the room uses everywhere."""
        return tuple(party.name for party in self.parties)


def parse_agreement(text: bytes) -> Agreement:
    """An agreement from the bytes of an ``agreement.toml``.

    Raises AgreementInvalid, naming the place in the file.
    """
    if len(text) > AGREEMENT_BYTES_MAX:
        raise AgreementInvalid("the file", f"larger than {AGREEMENT_BYTES_MAX} bytes")
    try:
        document = tomllib.loads(text.decode("utf-8"))
    except UnicodeDecodeError:
        raise AgreementInvalid("the file", "not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise AgreementInvalid("the file", f"not TOML: {error}") from None
    root = Table("", document)
    name = root.name("name")
    keys = _keys(root.table("keys", optional=True))
    parties = _parties(root.tables("parties"))
    poorest = min(party.epsilon_nano for party in parties)
    releases = _releases(root.table("releases"), poorest)
    closes_at = _closes_at(root)
    root.nothing_else()
    return Agreement(name, keys, parties, releases, closes_at)


def as_document(agreement: Agreement) -> dict[str, object]:
    """The canonical form as JSON-ready values; ``canonical_bytes`` of it is what is hashed."""
    releases: dict[str, object] = {
        "epsilon_min": format_epsilon(agreement.releases.epsilon_min_nano),
        "statistics": sorted(agreement.releases.statistics),
    }
    if agreement.releases.epsilon_default_nano is not None:
        releases["epsilon_default"] = format_epsilon(agreement.releases.epsilon_default_nano)
    document: dict[str, object] = {
        "format": FORMAT_VERSION,
        "keys": {
            "columns": [
                {"name": column.name, "normalise": list(column.normalise)} for column in agreement.keys.columns
            ],
            "duplicates": agreement.keys.duplicates,
        },
        "name": agreement.name,
        "parties": [
            {"epsilon": format_epsilon(p.epsilon_nano), "name": p.name, "token_sha256": p.token_sha256}
            for p in agreement.parties
        ],
        "releases": releases,
    }
    if agreement.closes_at is not None:
        document["closes_at"] = agreement.closes_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return document


def canonical_bytes(document: Mapping[str, object]) -> bytes:
    """The one spelling of a document. A party that got ``GET /agreement`` hashes this itself."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def document_digest(document: Mapping[str, object]) -> str:
    """SHA-256, 64 hex digits, of the canonical form."""
    return hashlib.sha256(canonical_bytes(document)).hexdigest()


def digest(agreement: Agreement) -> str:
    """SHA-256, 64 hex digits, of the agreement's canonical form."""
    return document_digest(as_document(agreement))


def _keys(table: Table) -> KeyTerms:
    duplicates = Duplicates(table.choice("duplicates", [*Duplicates], default=Duplicates.REFUSE))
    if "columns" in table:
        names = table.strings("columns", least=1, most=KEY_COLUMNS_MAX)
        for i, name in enumerate(names):
            if not name.strip() or len(name) > COLUMN_NAME_CHARACTERS_MAX or not name.isprintable():
                raise AgreementInvalid(
                    table.place(f"columns[{i + 1}]"),
                    f"a column name is 1 to {COLUMN_NAME_CHARACTERS_MAX} printable characters",
                )
        chosen = table.table("normalise", optional=True)
        columns = tuple(KeyColumn(name, _normalisers(chosen, name)) for name in names)
        chosen.nothing_else("not one of the key columns; name it under columns, or leave it out")
    else:
        columns = (KeyColumn(None, _normalisers(table, "normalise")),)
    table.nothing_else()
    return KeyTerms(columns, duplicates)


def _normalisers(table: Table, field: str) -> tuple[Normaliser, ...]:
    if field not in table:
        return ()
    chosen = table.strings(field, least=0, most=NORMALISERS_MAX, choices=[*Normaliser])
    return tuple(Normaliser(word) for word in chosen)


def _parties(tables: list[Table]) -> tuple[Party, ...]:
    if not PARTIES_MIN <= len(tables) <= PARTIES_MAX:
        raise AgreementInvalid(
            "[[parties]]", f"{len(tables)} of them; a room has {PARTIES_MIN} to {PARTIES_MAX} parties"
        )
    parties: list[Party] = []
    for table in tables:
        party = Party(table.name("name"), table.sha256("token_sha256"), table.epsilon("epsilon"))
        if party.epsilon_nano > EPSILON_LIMIT_NANO_MAX:
            raise AgreementInvalid(
                table.place("epsilon"),
                f"above {format_epsilon(EPSILON_LIMIT_NANO_MAX)} a limit protects nobody; 0.5 to 4 is usual",
            )
        if party.token_sha256 == _EMPTY_SHA256:
            raise AgreementInvalid(
                table.place("token_sha256"),
                "this is the hash of an empty token; make one with `vesica token`",
            )
        for other in parties:
            if other.name.casefold() == party.name.casefold():
                raise AgreementInvalid(table.place("name"), "another party has this name already")
            if other.token_sha256 == party.token_sha256:
                raise AgreementInvalid(table.place("token_sha256"), "another party has this token already")
        table.nothing_else()
        parties.append(party)
    return tuple(sorted(parties, key=lambda p: p.name))


def _releases(table: Table, poorest_nano: int) -> ReleaseTerms:
    words = table.strings("statistics", least=1, most=len(Statistic), choices=[*Statistic])
    least = table.epsilon("epsilon_min") if "epsilon_min" in table else EPSILON_RELEASE_NANO_MIN
    if least < EPSILON_RELEASE_NANO_MIN:
        raise AgreementInvalid(
            table.place("epsilon_min"), f"below {format_epsilon(EPSILON_RELEASE_NANO_MIN)}: pure noise"
        )
    if least > poorest_nano:
        raise AgreementInvalid(table.place("epsilon_min"), "above a party's limit, so nothing could ever be released")
    default = table.epsilon("epsilon_default") if "epsilon_default" in table else None
    if default is not None and not least <= default <= poorest_nano:
        raise AgreementInvalid(
            table.place("epsilon_default"), "must be at least epsilon_min and at most every party's limit"
        )
    table.nothing_else()
    return ReleaseTerms(tuple(sorted(Statistic(word) for word in words)), least, default)


def _closes_at(root: Table) -> datetime | None:
    if "closes_at" not in root:
        return None
    value = root.take("closes_at")
    place = at("", "closes_at")
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise AgreementInvalid(place, "write a date and time with its offset, such as 2027-01-31T17:00:00Z")
    if value.microsecond:
        raise AgreementInvalid(place, "whole seconds only")
    return value.astimezone(UTC)
