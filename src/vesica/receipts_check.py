"""Receipts, checked later and offline by somebody who was not there: from the vendor's root down to each release's
noise.

1. Receipt 0 carries the agreement, what the room's keys are bound to, and evidence. The evidence is appraised with the
   reader's own policy.
2. The key that this evidence is bound to must have signed every receipt, and each must name the one before it.
3. What each states is held against the agreement: who submitted, which questions are allowed, that the noise is wide
   enough for its epsilon, who paid, and that nobody paid more than its limit.

Nothing here opens a socket. Without a time of the reader's own the evidence is judged at the time that receipt 0
names, and that is the room's own clock, which its operator can set: ``CheckedReceipts.room_clock`` says so.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vesica.answers import AgreementShown, read_agreement
from vesica.errors import ReceiptInvalid, VesicaError
from vesica.jsontext import different_names, no_constant
from vesica.limits import PARTIES_MAX, RELEASES_MAX
from vesica.receipt import Envelope, Kind, Statement, check_chain, read_payload, read_statement
from vesica.receipts_terms import check_terms
from vesica.refusals import AttestationRefused, FileUnreadable, RoomAnsweredNonsense, printable
from vesica.verified import read_binding
from vesica_attestation.binding import Binding
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import from_json
from vesica_attestation.policy import Policy
from vesica_attestation.result import AttestationResult
from vesica_attestation.verifier import verify

RECEIPTS_MAX: Final = RELEASES_MAX + PARTIES_MAX + 2
FILE_BYTES_MAX: Final = 2**28  # RELEASES_MAX receipts of releases in one list
_OPENING: Final = frozenset({"agreement", "binding", "evidence"})
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)


@dataclass(frozen=True)
class CheckedReceipts:
    """A chain of receipts that holds. There is no such object for one that does not.

    result: of appraising the room's evidence. complete: whether the chain ends with a closing; where it does not, later
    receipts may exist that are not here. room_clock: whether the evidence was judged at the room's own time.
    recomputed_with: what recomputed the noise of each release.
    """

    statements: tuple[Statement, ...]
    result: AttestationResult
    agreement: AgreementShown
    binding: Binding
    complete: bool
    room_clock: bool
    recomputed_with: str


class ReceiptEvidenceRefused(AttestationRefused):
    """The evidence in receipt 0 is not what the reader's policy accepts, so that nothing here is proved."""

    def __init__(self, refused: Refused) -> None:
        detail = printable(refused.detail, 500)
        VesicaError.__init__(
            self,
            f"receipt 0: its evidence is refused ({refused.kind}, check {refused.check}): {detail}",
            kind=refused.kind,
            check=refused.check,
            receipt=0,
        )


def check_receipts(
    envelopes: Sequence[Envelope], policy: Policy, *, at: datetime | None = None, agreement_digest: str | None = None
) -> CheckedReceipts:
    """Checks the receipts of one room, in any order.

    at: the time to judge the evidence at; None: the one that receipt 0 names, which is the room's own clock.
    agreement_digest: of the agreement that the reader signed up to, 64 hex digits; None: whichever the room carried
    out.

    Raises ReceiptInvalid or ReceiptEvidenceRefused, naming the receipt. ValueError for a time without a zone: a bug.
    """
    if len(envelopes) > RECEIPTS_MAX:
        raise ReceiptInvalid(f"more than {RECEIPTS_MAX} receipts, which no room makes")
    opening = _opening(envelopes)
    agreement = _agreement(opening)
    if agreement_digest is not None and agreement.digest != agreement_digest.lower():
        raise ReceiptInvalid(
            f"receipt 0 is of another agreement (digest {agreement.digest}) than yours ({agreement_digest.lower()})"
        )
    binding = _binding(opening, agreement)
    result = _appraise(opening, binding, policy, at or _time(opening))
    statements = check_chain(envelopes, binding.receipt_public_key)
    for statement in statements:
        _time(statement)
    recomputed_with = check_terms(statements, agreement)
    complete = statements[-1].kind is Kind.CLOSING
    return CheckedReceipts(statements, result, agreement, binding, complete, at is None, recomputed_with)


def read_folder(paths: Iterable[Path]) -> list[Envelope]:
    """Receipts from files, each with one envelope, a list of them, or an answer of ``GET /receipts``; of a folder, all
    ``*.json`` in it. Nothing is checked but that it is JSON.

    Raises FileUnreadable, or ReceiptInvalid naming the file.
    """
    return [envelope for path in paths for file in _files(path) for envelope in _read_file(file)]


def parse_time(text: str) -> datetime:
    """A time as receipts write it, such as ``2027-01-31T17:00:00Z``.

    Raises ValueError.
    """
    if _TIME.fullmatch(text) is None:
        raise ValueError("not a time such as 2027-01-31T17:00:00Z")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _opening(envelopes: Sequence[Envelope]) -> Statement:
    """Statement 0, of which nothing is checked yet but its shape."""
    found = [
        statement
        for statement in (read_statement(read_payload(envelope)) for envelope in envelopes)
        if statement.number == 0
    ]
    if not found:
        raise ReceiptInvalid("receipt 0 is missing: it has the agreement and the evidence that all others rest on")
    if len(found) > 1:
        raise ReceiptInvalid("receipt 0 is here twice: are these the receipts of two rooms?")
    if found[0].kind is not Kind.OPENING or set(found[0].body) != _OPENING:
        raise ReceiptInvalid("receipt 0 is not the opening of a room")
    return found[0]


def _agreement(opening: Statement) -> AgreementShown:
    try:
        return read_agreement({"digest": opening.agreement_digest, "agreement": opening.body["agreement"]})
    except RoomAnsweredNonsense:
        raise ReceiptInvalid("receipt 0 does not carry the agreement that its digest names") from None


def _binding(opening: Statement, agreement: AgreementShown) -> Binding:
    try:
        binding = read_binding(opening.body["binding"])
    except RoomAnsweredNonsense:
        raise ReceiptInvalid("receipt 0 has no binding of keys that can be used") from None
    if binding.agreement_digest.hex() != agreement.digest:
        raise ReceiptInvalid("receipt 0 binds the room's keys to another agreement than the one it carries")
    return binding


def _appraise(opening: Statement, binding: Binding, policy: Policy, at: datetime) -> AttestationResult:
    try:
        return verify(from_json(opening.body["evidence"]), binding.report_data(), policy, at)
    except Refused as refused:
        raise ReceiptEvidenceRefused(refused) from None


def _time(statement: Statement) -> datetime:
    try:
        return parse_time(statement.issued_at)
    except ValueError:
        raise ReceiptInvalid(f"receipt {statement.number} has no time that can be read") from None


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.json"))
    if not found:
        raise FileUnreadable(f"{path} has no receipts: files that end in .json")
    return found


def _read_file(path: Path) -> list[Envelope]:
    shown = printable(path.name, 200)
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}") from None
    if len(text) > FILE_BYTES_MAX:
        raise ReceiptInvalid(f"{shown} is larger than {FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(text.decode("utf-8"), parse_constant=no_constant, object_pairs_hook=different_names)
    except (ValueError, RecursionError):
        raise ReceiptInvalid(f"{shown} is not a receipt: it is not JSON") from None
    if isinstance(document, dict) and set(document) == {"receipts"}:
        document = document["receipts"]
    envelopes = document if isinstance(document, list) else [document]
    for envelope in envelopes:
        _require_receipt(envelope, shown)
    return envelopes


def _require_receipt(envelope: object, shown: str) -> None:
    """Raises ReceiptInvalid, naming the file: what has no number yet has a name."""
    try:
        read_statement(read_payload(envelope))
    except ReceiptInvalid as error:
        raise ReceiptInvalid(f"{shown}: {error.detail}") from None
