"""What goes wrong on a party's own side, and what a room's refusal becomes there.

A room says why it refused in a problem document (RFC 9457). Its ``code`` names a class of ``vesica.errors``,
so that the same ``except BudgetExceeded`` works in the room and on a party's machine. Nothing in it is
trusted: text is bounded and escaped.
"""

import types
from collections.abc import Mapping
from typing import Final

from vesica import errors
from vesica.errors import AgreementInvalid, NotHardened, SubmissionRejected, VesicaError

TEXT_CHARACTERS_MAX: Final = 2_000
_ENTRIES_MAX: Final = 100
_DEPTH_MAX: Final = 4
_STANDARD_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "code", "instance"})


class RoomUnreachable(VesicaError):
    """No answer: nothing listens there, or the connection ended or stalled."""

    code = "room-unreachable"


class RoomAnsweredNonsense(VesicaError):
    """An answer that no room of this version gives. Nothing of it was used."""

    code = "room-answered-nonsense"


class RoomRefused(VesicaError):
    """A refusal with a code that this version does not know: ``members["room_code"]``."""

    code = "room-refused"


class AddressRefused(VesicaError):
    """Not the address of a room, or one to which a secret or a file would travel in the clear."""

    code = "address-refused"


class AgreementMismatch(VesicaError):
    """The room carries out another agreement than the one that this party signed up to."""

    code = "agreement-mismatch"


class AttestationRefused(VesicaError):
    """Evidence that this party's policy does not accept. Nothing was sent to the room."""

    code = "attestation-refused"

    def __init__(self, kind: str, check: str, detail: str) -> None:
        super().__init__(
            f"the room's evidence is refused ({kind}, check {check}): {printable(detail, 500)}; nothing was sent",
            kind=kind,
            check=check,
        )


class PolicyMissing(VesicaError):
    """Something that only a verified room gets, and no policy to verify it with. Nothing was sent."""

    code = "policy-missing"


class Contradiction(VesicaError):
    """Two options that cannot both be meant."""

    code = "contradiction"


class PolicyUnusable(VesicaError):
    """An appraisal policy that cannot be used as written. The detail says where in the file."""

    code = "policy-invalid"


class ReferenceValuesUnusable(VesicaError):
    """A file of reference values that cannot be used. The detail says where in it."""

    code = "reference-values-invalid"


class DataSetLimitReached(VesicaError):
    """The owner's own limit on everything that rooms may release about one data set. Nothing was sent."""

    code = "data-set-limit-reached"


class JournalUnusable(VesicaError):
    """The journal cannot be read or written, and without it nobody knows what a data set was used for."""

    code = "journal-unusable"


class FileUnreadable(VesicaError):
    """A file on this machine that could not be read or written."""

    code = "file-unreadable"


class NotText(SubmissionRejected):
    """A DataFrame with something else than text in it."""

    code = "not-text"


class PandasMissing(VesicaError):
    """Only what needs pandas needs pandas."""

    code = "pandas-missing"


def _tree(root: type[VesicaError]) -> list[type[VesicaError]]:
    return [root, *(found for child in root.__subclasses__() for found in _tree(child))]


# Only what vesica.errors defines: a room cannot make a party's own refusals (or a library's) appear here. An
# agreement is read, and a process hardened, before a room exists, so a room never refuses with either, and their
# constructors differ.
REGISTRY: Final[Mapping[str, type[VesicaError]]] = types.MappingProxyType(
    {
        kind.code: kind
        for kind in _tree(VesicaError)
        if kind.__module__ == errors.__name__ and kind not in {VesicaError, AgreementInvalid, NotHardened}
    }
)


def printable(text: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str:
    """Text that is safe on a terminal.

    Control, format and bidirectional characters escaped, and cut to a length.
    """
    cut = text if len(text) <= characters_max else text[:characters_max] + "..."
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut)


def from_problem(document: Mapping[str, object], status: int) -> VesicaError:
    """The error that a problem document stands for. It is returned, not raised."""
    code, detail = document.get("code"), document.get("detail")
    if not isinstance(code, str) or not isinstance(detail, str):
        return RoomAnsweredNonsense(f"the room refused (HTTP {status}) without saying why in a form that Vesica knows")
    detail = printable(detail)
    members = {printable(key, 64): _clean(value, 1) for key, value in document.items() if key not in _STANDARD_MEMBERS}
    kind = REGISTRY.get(code)
    if kind is None:
        return RoomRefused(detail, room_code=printable(code, 64), status=status)
    if issubclass(kind, SubmissionRejected):
        line, column = members.get("line"), members.get("column")
        return kind(
            detail,
            line=line if isinstance(line, int) and not isinstance(line, bool) else None,
            column=column if isinstance(column, str) else None,
        )
    members.pop("self", None)  # the one name that a constructor's keywords cannot have
    return kind(detail, **members)


def _clean(value: object, depth: int) -> object:
    match value:
        case str():
            return printable(value)
        case list() if depth < _DEPTH_MAX:
            return [_clean(item, depth + 1) for item in value[:_ENTRIES_MAX]]
        case dict() if depth < _DEPTH_MAX:
            return {printable(str(k), 64): _clean(v, depth + 1) for k, v in list(value.items())[:_ENTRIES_MAX]}
        case bool() | int() | float() | None:
            return value
        case _:
            return None
