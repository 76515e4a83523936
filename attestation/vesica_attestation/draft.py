"""Drafts of appraisal policies from evidence: what was found, and what the reader must confirm of it elsewhere.

A draft names what the evidence says, and evidence says what its maker wants: until somebody who did not make it has
confirmed the values marked CONFIRM, the draft proves nothing. What weakens a policy is never turned on in one. Most
kinds are read without checking signatures; the verifier checks them, by the policy that the reader makes of the draft.
"""

import importlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind

_WIDTH: Final = 100
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
PACKAGES: Final = {
    Kind.SEV_SNP: "sev_snp",
    Kind.TDX: "tdx",
    Kind.NITRO: "nitro",
    Kind.CONFIDENTIAL_SPACE: "confidential_space",
    Kind.AZURE: "azure",
    Kind.TPM: "tpm",
}

Value = str | int | bool | Sequence[str] | Sequence[int] | Sequence[Sequence[str]]


@dataclass(frozen=True)
class Line:
    """A field of a policy.

    why: what it means; nothing where the line before says it. confirm: where the reader learns whether the value is
    right, or None. table: of a table inside the kind's own, or None. off: written as a comment, for the reader to
    turn on.
    """

    name: str
    value: Value
    why: str
    confirm: str | None = None
    table: str | None = None
    off: bool = False


class _Drafting(Protocol):
    def draft(self, evidence: Evidence, at: datetime) -> list[Line]: ...


def draft_policy(evidence: Evidence, made_at: datetime) -> str:
    """The text of a ``policy.toml`` that accepts this evidence, commented.

    Raises Refused where the evidence cannot be read.
    """
    head = [
        f"# A DRAFT, made at {made_at:%Y-%m-%dT%H:%M:%SZ} from evidence that somebody showed. It names what was",
        "# shown, whether that was right or not. No value below has been checked. Before you use it,",
        "# confirm every value marked CONFIRM at the place named, from a source that is not the one who runs",
        "# the room. Then delete the marks.",
        "",
    ]
    if evidence.kind is Kind.INSECURE_SOFTWARE:
        return "\n".join([*head, *_software()])
    return "\n".join([*head, *tables(PACKAGES[evidence.kind], lines_from(evidence, made_at))])


def lines_from(evidence: Evidence, made_at: datetime) -> list[Line]:
    """What a policy would say that accepts this evidence.

    Raises Refused where the evidence cannot be read, or there is no draft for its kind.
    """
    try:
        drafting: _Drafting = importlib.import_module(f"vesica_attestation.{PACKAGES[evidence.kind]}.draft")
    except (KeyError, ModuleNotFoundError):
        raise Refused(evidence.kind, "draft", "there is no draft for this kind; write its table by hand") from None
    return drafting.draft(evidence, made_at)


def tables(package: str, lines: Sequence[Line]) -> list[str]:
    """The text of a kind's table and of those inside it. A table with nothing in force is a comment as a whole."""
    body = [f"[{package}]", *_written([line for line in lines if line.table is None])]
    for table in dict.fromkeys(line.table for line in lines if line.table is not None):
        inside = [line for line in lines if line.table == table]
        mark = "# " if all(line.off for line in inside) else ""
        body += ["", f"{mark}[{package}.{table}]", *_written(inside)]
    return [*body, ""]


def _software() -> list[str]:
    return [
        "# This evidence is of software alone. No hardware stands behind it, and anybody can make it: a policy that",
        "# accepts it proves nothing. Only for trying things out, with made-up data. Delete the # to accept it.",
        "# allow_insecure_software = true",
        "",
    ]


def _written(lines: Sequence[Line]) -> list[str]:
    text: list[str] = []
    for line in lines:
        text += _comment(line.why)
        if line.confirm is not None:
            text += _comment(f"CONFIRM: {line.confirm}")
        name = line.name if _BARE.fullmatch(line.name) else json.dumps(line.name)
        text += [f"{'# ' if line.off else ''}{row}" for row in _assigned(name, line.value)]
    return text


def _assigned(name: str, value: Value) -> list[str]:
    """A field of TOML; a list of several, such as of launch digests, one to a row."""
    if isinstance(value, str | int) or len(value) == 1:
        return [f"{name} = {json.dumps(value, ensure_ascii=True)}"]
    return [f"{name} = [", *(f"    {json.dumps(item, ensure_ascii=True)}," for item in value), "]"]


def _comment(words: str) -> list[str]:
    lines, current = [], "#"
    if not words:
        return []
    for word in words.split():
        if len(current) + len(word) >= _WIDTH:
            lines.append(current)
            current = "#"
        current += f" {word}"
    return [*lines, current]
