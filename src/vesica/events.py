"""The log: a closed set of events. No sizes, no counts, no values, no text that anybody sent (promise P6).

An event may name a party, a release's number and an error's code, and nothing else: ``emit`` has no other parameters.
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
    INSECURE_PLAIN_HTTP = "insecure-plain-http"
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
    _LOG.log(level, "%s%s", event, extra)
