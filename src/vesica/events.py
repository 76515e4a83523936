"""The log: a closed set of events. No sizes, no counts, no values, no text that anybody sent (promise P6).

An event may name a party, a release's number and an error's code, and nothing else: ``emit`` has no other parameters.
Those that somebody can cause as often as they like carry their ``kind``, so that the log can be kept from filling up.
"""

import logging
from enum import StrEnum, unique
from typing import Final

_LOG: Final = logging.getLogger("vesica")


@unique
class Event(StrEnum):
    """Everything that a room ever logs."""

    SERVING = "serving"
    STOPPING = "stopping"
    TRUSTED_HEADER_ON = "trusted-header-on"
    INSECURE_SOFTWARE_ATTESTER = "insecure-software-attester"
    TPM_ATTESTER = "tpm-attester"
    INSECURE_PLAIN_HTTP = "insecure-plain-http"
    NOT_HARDENED = "not-hardened"
    SEALED = "sealed"
    AUTHENTICATION_FAILED = "authentication-failed"
    SUBMISSION_STARTED = "submission-started"
    SUBMISSION_ACCEPTED = "submission-accepted"
    SUBMISSION_REFUSED = "submission-refused"
    ATTESTATION_FAILED = "attestation-failed"
    LINKING_FAILED = "linking-failed"
    ROOM_OPENED = "room-opened"
    ROOM_CLOSED = "room-closed"
    RELEASE_MADE = "release-made"
    RELEASE_REPEATED = "release-repeated"
    RELEASE_REFUSED = "release-refused"
    UNEXPECTED_ERROR = "unexpected-error"
    CONNECTIONS_FULL = "connections-full"
    ACCEPT_FAILED = "accept-failed"


_REPEATABLE: Final = frozenset(
    {
        Event.AUTHENTICATION_FAILED,
        Event.SUBMISSION_STARTED,
        Event.SUBMISSION_REFUSED,
        Event.ATTESTATION_FAILED,
        Event.RELEASE_REPEATED,
        Event.RELEASE_REFUSED,
        Event.UNEXPECTED_ERROR,
        Event.CONNECTIONS_FULL,
        Event.ACCEPT_FAILED,
    }
)


def emit(
    event: Event,
    *,
    party: str | None = None,
    number: int | None = None,
    code: str | None = None,
    level: int = logging.INFO,
) -> None:
    """Logs one event. party: a name from the roster. number: of a release. code: of an error in ``errors.py``."""
    parts = {"party": party, "number": number, "code": code}
    extra = "".join(f" {name}={value}" for name, value in parts.items() if value is not None)
    # By party, so that one party's noise hides nothing of another's.
    kind = {"kind": f"{event} {party}"} if event in _REPEATABLE else None
    _LOG.log(level, "%s%s", event, extra, extra=kind)
