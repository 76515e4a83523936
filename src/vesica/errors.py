"""One tree of errors. Every error that a user can meet has a stable ``code``; a bug has none (it stays a
``ValueError``).

``detail`` is written for the person who gets it: what was wrong, where, what to do. It never holds a cell, a header or
a token that somebody sent. ``members`` are machine-readable extras, sent along in the problem document (RFC 9457).
"""

from collections.abc import Mapping
from typing import ClassVar


class VesicaError(Exception):
    """Base of everything that Vesica refuses on purpose."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str, **members: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members: Mapping[str, object] = members


class AgreementInvalid(VesicaError):
    """The agreement cannot be carried out as written. ``place`` says where in the file."""

    code = "agreement-invalid"

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}", place=place)


class EpsilonInvalid(VesicaError):
    """An epsilon that is not an exact positive decimal within bounds."""

    code = "epsilon-invalid"


class Unauthenticated(VesicaError):
    """No token, or none that the agreement knows."""

    code = "unauthenticated"


class SubmissionRejected(VesicaError):
    """A file that cannot be accepted. Nothing of it is kept, and the party may try again.

    line: number of the line in the file, from 1, as an editor counts. column: name as written in the agreement, or
    None.
    """

    code = "submission-rejected"

    def __init__(self, detail: str, *, line: int | None = None, column: str | None = None) -> None:
        super().__init__(detail, line=line, column=column)
        self.line = line
        self.column = column


class HeaderMismatch(SubmissionRejected):
    """The first line does not name the columns that were agreed."""

    code = "header-mismatch"


class RaggedRow(SubmissionRejected):
    """A row with more or fewer values than the header."""

    code = "ragged-row"


class BadQuote(SubmissionRejected):
    """Quotes that RFC 4180 does not allow."""

    code = "bad-quote"


class NotUtf8(SubmissionRejected):
    """Bytes that are not UTF-8."""

    code = "not-utf-8"


class NulByte(SubmissionRejected):
    """A NUL byte: the file is not text."""

    code = "nul-byte"


class EmptyValue(SubmissionRejected):
    """A key value that is empty, as sent or after normalising."""

    code = "empty-value"


class ValueTooLong(SubmissionRejected):
    """A value or a row above its bound, most often a quote that is never closed."""

    code = "value-too-long"


class DuplicateRow(SubmissionRejected):
    """Two rows with the same key, and the agreement says ``duplicates = "refuse"``."""

    code = "duplicate-row"


class EmptyFile(SubmissionRejected):
    """No bytes, or a header without rows."""

    code = "empty-file"


class TooLarge(SubmissionRejected):
    """More bytes or rows than a submission may have."""

    code = "too-large"


class UploadIncomplete(SubmissionRejected):
    """The connection ended, or stalled, before the file did."""

    code = "upload-incomplete"


class FormInvalid(SubmissionRejected):
    """A multipart form without exactly one part named ``csv_file``."""

    code = "form-invalid"


class MediaTypeUnsupported(SubmissionRejected):
    """A Content-Type that no submission has."""

    code = "media-type-unsupported"


class AlreadySubmitted(VesicaError):
    """This party's one submission was accepted before; it stays as it is."""

    code = "already-submitted"


class SubmissionInProgress(VesicaError):
    """Another upload by this party is being read at this moment."""

    code = "submission-in-progress"


class RoomNotOpen(VesicaError):
    """Not every party has submitted yet."""

    code = "room-not-open"


class RoomClosed(VesicaError):
    """The room has closed; its data and keys are destroyed."""

    code = "room-closed"


class QuestionInvalid(VesicaError):
    """A release that the agreement does not allow, or that makes no sense. Costs nothing."""

    code = "question-invalid"


class BudgetExceeded(VesicaError):
    """At least one party concerned cannot pay. Nothing was spent and nothing drawn."""

    code = "budget-exceeded"


class ReleaseNotFound(VesicaError):
    """No release has this number."""

    code = "release-not-found"


class RequestInvalid(VesicaError):
    """A request body that is not what the endpoint takes."""

    code = "request-invalid"


class RequestTooLarge(VesicaError):
    """A request body above the bound of its endpoint."""

    code = "request-too-large"


class RequestTooSlow(VesicaError):
    """A request that did not arrive within its time."""

    code = "request-too-slow"


class SealBroken(SubmissionRejected):
    """A sealed submission that does not open: sealed for another room or party, altered, or cut off."""

    code = "seal-broken"


class ReceiptInvalid(VesicaError):
    """A receipt, or a chain of them, that does not prove what it says."""

    code = "receipt-invalid"


class NonceInvalid(VesicaError):
    """A request for evidence without a nonce of 32 bytes in hex."""

    code = "nonce-invalid"


class EvidenceUnavailable(VesicaError):
    """The room cannot give evidence at this moment."""

    code = "evidence-unavailable"


class InsecurePlainHttpRefused(VesicaError):
    """Plain http was asked for on an address that others can reach."""

    code = "insecure-plain-http-refused"


class DescriptorsTooFew(VesicaError):
    """The system allows this process fewer open files than a room may need."""

    code = "descriptors-too-few"


class NotHardened(VesicaError):
    """A measure by which a room protects its memory cannot be taken here. measure: its name. why: in words."""

    code = "not-hardened"

    def __init__(self, measure: str, why: str) -> None:
        super().__init__(f"not hardened ({measure}): {why}", measure=measure)
        self.measure = measure
        self.why = why
