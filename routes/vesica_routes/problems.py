"""Errors as problem documents (RFC 9457), made in this one place.

A problem says what was wrong, where and what to do, with a stable ``code``. It quotes nothing that was sent: no cell,
no header, no token, no path.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from vesica import errors
from vesica.events import Event, emit

PROBLEM: Final = "application/problem+json"
NO_STORE: Final = {"Cache-Control": "no-store"}

_STATUS: Final[Mapping[type[errors.VesicaError], HTTPStatus]] = {
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.BudgetExceeded: HTTPStatus.FORBIDDEN,
    errors.ReleaseNotFound: HTTPStatus.NOT_FOUND,
    errors.RequestTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.UploadIncomplete: HTTPStatus.BAD_REQUEST,
    errors.AlreadySubmitted: HTTPStatus.CONFLICT,
    errors.SubmissionInProgress: HTTPStatus.CONFLICT,
    errors.RoomNotOpen: HTTPStatus.CONFLICT,
    errors.RoomClosed: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus(413),
    errors.RequestTooLarge: HTTPStatus(413),
    errors.MediaTypeUnsupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.NonceInvalid: HTTPStatus(422),
    errors.EvidenceUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.SubmissionRejected: HTTPStatus(422),
    errors.EpsilonInvalid: HTTPStatus(422),
    errors.QuestionInvalid: HTTPStatus(422),
    errors.RequestInvalid: HTTPStatus(422),
}


class ProblemAnswer(Response):
    """A problem document as an HTTP response."""

    media_type = PROBLEM


def status_of(error: errors.VesicaError) -> HTTPStatus:
    """The status of an error: its own, or that of the nearest class it comes from."""
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    raise ValueError("an error without a status") from error


def problem(status: HTTPStatus, code: str, detail: str, members: Mapping[str, object] | None = None) -> Response:
    """A problem document. members: extras, the empty ones left out."""
    document: dict[str, object] = {
        "type": f"urn:vesica:problem:{code}",
        "title": status.phrase,
        "status": int(status),
        "code": code,
        "detail": detail,
    }
    document |= {name: value for name, value in (members or {}).items() if value is not None}
    if "largest_epsilon" in (members or {}):
        document.setdefault("largest_epsilon", None)
    headers = dict(NO_STORE)
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return ProblemAnswer(json.dumps(document), status_code=int(status), headers=headers)


def install(app: FastAPI) -> None:
    """Makes every error that the app can meet a problem document."""
    app.add_exception_handler(errors.VesicaError, _ours)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


async def _ours(_: Request, error: Exception) -> Response:
    if not isinstance(error, errors.VesicaError):
        raise TypeError("registered for another error") from error
    return problem(status_of(error), error.code, error.detail, error.members)


async def _validation(_: Request, error: Exception) -> Response:  # noqa: ARG001 (it quotes what was sent)
    # FastAPI's own answer quotes the input; only path and query parameters get here, and they are numbers.
    return problem(HTTPStatus(422), "request-invalid", "a path or query parameter is not what this endpoint takes")


async def _http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise TypeError("registered for another error") from error
    status = HTTPStatus(error.status_code)
    answer = problem(
        status,
        status.phrase.lower().replace(" ", "-"),
        f"{status.phrase}; GET /openapi.json lists what there is",
    )
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _bug(_: Request, error: Exception) -> Response:  # noqa: ARG001 (what it says may hold data)
    emit(Event.UNEXPECTED_ERROR, level=40)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "a fault of the room, not of your request; nothing of it is shown",
    )
