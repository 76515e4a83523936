"""The text of a commented ``agreement.toml``: what all parties read before they sign up to its digest."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vesica.agreement import Agreement, parse_agreement
from vesica.terms import Duplicates, Statistic


@dataclass(frozen=True)
class PartyDraft:
    """One party, as somebody typed it."""

    name: str
    epsilon: str
    token_sha256: str


@dataclass(frozen=True)
class Draft:
    """An agreement, as somebody typed it; ``write`` has it checked. No columns: exactly one, whatever its
    name.

    normalise: by column name, or under "" where no column is named.
    """

    name: str
    parties: Sequence[PartyDraft]
    columns: Sequence[str] = ()
    normalise: Mapping[str, Sequence[str]] = field(default_factory=dict)
    duplicates: str = Duplicates.REFUSE
    statistics: Sequence[str] = tuple(Statistic)
    epsilon_min: str | None = None
    epsilon_default: str | None = None
    closes_at: str | None = None


def write(draft: Draft) -> tuple[str, Agreement]:
    """The file's text, and the agreement that it parses to.

    Raises AgreementInvalid, naming the place, where the draft cannot be an agreement.
    """
    text = "\n".join([*_head(draft), *_keys(draft), *_parties(draft), *_releases(draft)])
    return text, parse_agreement(text.encode("utf-8", "surrogatepass"))


def _head(draft: Draft) -> list[str]:
    lines = [
        "# An agreement of Vesica: the terms that all parties sign up to.",
        "# `vesica agreement check FILE` prints its digest; comments, order and white space do not change",
        "# the digest, anything else does.",
        "",
        f"name = {_quoted(draft.name)}",
    ]
    if draft.closes_at is not None:
        lines += [
            "",
            "# When the room closes by itself and destroys everything.",
            f"closes_at = {_bare(draft.closes_at)}",
        ]
    return lines


def _keys(draft: Draft) -> list[str]:
    lines = ["", "# What makes a row the same in two lists. Values are text: 007 is not 7.", "[keys]"]
    if draft.columns:
        lines.append(f"columns = {_list(draft.columns)}")
    else:
        lines.append("# No columns named: every file has exactly one, whatever its header says.")
    if draft.normalise:
        lines.append("# Done to each value, in this order, before values are compared.")
        if draft.columns or "" not in draft.normalise:
            entries = (f"{_quoted(column)} = {_list(words)}" for column, words in draft.normalise.items())
            lines.append(f"normalise = {{ {', '.join(entries)} }}")
        else:
            lines.append(f"normalise = {_list(draft.normalise[''])}")
    else:
        lines.append("# Not normalised: values are the same when their bytes are.")
    lines += [
        '# A file in which two rows have the same key: "refuse" it, or "drop" the repetition.',
        f"duplicates = {_quoted(draft.duplicates)}",
    ]
    return lines


def _parties(draft: Draft) -> list[str]:
    lines = [
        "",
        "# The parties. token_sha256: what `vesica token` prints; the token itself stays with its party.",
        "# epsilon: the limit on everything ever released here about that party's records. It is the",
        "# party's own choice; 0.5 to 4 is usual.",
    ]
    for party in draft.parties:
        lines += [
            "[[parties]]",
            f"name = {_quoted(party.name)}",
            f"token_sha256 = {_quoted(party.token_sha256)}",
            f"epsilon = {_quoted(party.epsilon)}",
            "",
        ]
    return lines


def _releases(draft: Draft) -> list[str]:
    lines = ["# What may be released.", "[releases]", f"statistics = {_list(draft.statistics)}"]
    if draft.epsilon_min is not None:
        lines += ["# No release below this.", f"epsilon_min = {_quoted(draft.epsilon_min)}"]
    if draft.epsilon_default is not None:
        lines += [
            "# What a release costs when nobody says.",
            f"epsilon_default = {_quoted(draft.epsilon_default)}",
        ]
    return [*lines, ""]


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which no name or column may have anyway.
    return json.dumps(text, ensure_ascii=False)


def _bare(text: str) -> str:
    # A date stands without quotes; anything that could be more than a date must not become more TOML.
    return text if all(c.isalnum() or c in "+-:. " for c in text) else _quoted(text)


def _list(words: Sequence[str]) -> str:
    return f"[{', '.join(_quoted(word) for word in words)}]"
