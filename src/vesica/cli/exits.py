"""Exit codes by cause, and a hint for each kind of refusal."""

from enum import IntEnum, unique
from typing import Final

from vesica import errors, refusals
from vesica.errors import VesicaError


@unique
class Exit(IntEnum):
    """What a script learns from a command.

    130 and 141 are those of a shell: Ctrl-C, and a reader that went away.
    """

    OK = 0
    BUG = 1
    USAGE = 2
    INPUT = 3
    UNAUTHENTICATED = 4
    STATE = 5
    BUDGET = 6
    UNREACHABLE = 7
    ATTESTATION = 8
    RECEIPT = 9
    HARDENING = 10
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXITS_HELP: Final = """exit codes:
  0  done
  1  a bug in vesica
  2  the command line is wrong, a policy is missing, or the address is not one to send anything to
  3  the input is wrong: agreement, file or question
  4  not authenticated
  5  the room is in another state: submitted already, not open yet, closed
  6  a budget, or your own limit for a data set, does not allow it
  7  the room cannot be reached, or answered nonsense
  8  attestation refused: the evidence is not what the policy accepts
  9  receipt invalid
  10 this machine does not let a room protect its memory"""

# The first kind that an error is decides, so that a subclass stands above its base.
_BY_KIND: Final[tuple[tuple[type[VesicaError], Exit], ...]] = (
    (refusals.AddressRefused, Exit.USAGE),
    (refusals.PolicyMissing, Exit.USAGE),
    (refusals.Contradiction, Exit.USAGE),
    (refusals.AttestationRefused, Exit.ATTESTATION),
    (errors.ReceiptInvalid, Exit.RECEIPT),
    (errors.NotHardened, Exit.HARDENING),
    (errors.Unauthenticated, Exit.UNAUTHENTICATED),
    (errors.AlreadySubmitted, Exit.STATE),
    (errors.SubmissionInProgress, Exit.STATE),
    (errors.RoomNotOpen, Exit.STATE),
    (errors.RoomClosed, Exit.STATE),
    (errors.BudgetExceeded, Exit.BUDGET),
    (refusals.DataSetLimitReached, Exit.BUDGET),
    (errors.UploadIncomplete, Exit.UNREACHABLE),
    (errors.RequestTooSlow, Exit.UNREACHABLE),
    (refusals.RoomUnreachable, Exit.UNREACHABLE),
    (refusals.RoomAnsweredNonsense, Exit.UNREACHABLE),
    (refusals.RoomRefused, Exit.UNREACHABLE),
    (VesicaError, Exit.INPUT),
)

_HINTS: Final[dict[type[VesicaError], str]] = {
    errors.Unauthenticated: "set VESICA_TOKEN, or use --token-file FILE",
    errors.RoomNotOpen: "see who has not submitted yet: vesica room URL",
    errors.AlreadySubmitted: "a submission is final; the state of the room: vesica room URL",
    errors.SubmissionInProgress: "wait for the other upload to end; vesica room URL shows whether it was accepted",
    errors.BudgetExceeded: "what is left: vesica budget URL; what was answered before stays free: vesica releases URL",
    errors.QuestionInvalid: "see what the agreement allows: vesica room URL --json",
    errors.SubmissionRejected: "nothing was kept; mend the file and submit again",
    errors.AgreementInvalid: "an example: vesica agreement new --help",
    errors.NotHardened: "see what holds: vesica doctor; with made-up data on a laptop: vesica serve --allow-unhardened",
    refusals.RoomUnreachable: "is the room running, and is this its address?",
    refusals.AgreementMismatch: "compare with the other parties: vesica agreement check FILE, vesica room URL",
    refusals.PolicyMissing: "--policy FILE, or VESICA_POLICY with its path; to draft one: vesica policy new --help",
    refusals.AttestationRefused: "do not send anything there; see what the room shows: vesica verify URL --policy FILE",
    refusals.DataSetLimitReached: "what it was fed to: vesica journal; your own limit: vesica journal limit EPSILON",
    refusals.JournalUnusable: "another file: --journal FILE; or none, and nobody adds up: --no-journal",
    refusals.PandasMissing: "pip install 'vesica[pandas]'",
}


def exit_of(error: VesicaError) -> Exit:
    """The exit code of a refusal."""
    return next(code for kind, code in _BY_KIND if isinstance(error, kind))


def hint_of(error: VesicaError) -> str | None:
    """What to do about a refusal, where its own text does not say."""
    return next((hint for kind, hint in _HINTS.items() if isinstance(error, kind)), None)
