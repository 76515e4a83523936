"""Drop-in paths for the enclave PSI sample: the same requests, the same sentences, and a release where it gave an
exact count.

Only where the room was started with a trusted header: these paths know parties by nothing else. A second upload, or a
comparison before all have submitted, is refused with 409 (the sample says 401 to both).
"""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from vesica.errors import BudgetExceeded
from vesica.events import Event, emit
from vesica.release import Question, Release, ask
from vesica.room import LiveRoom, State
from vesica.terms import Statistic
from vesica_routes.auth import party_of_header
from vesica_routes.hosting import Hosting
from vesica_routes.openapi import CSV_BODY, refusals
from vesica_routes.problems import NO_STORE

router = APIRouter(prefix="/psi")
_STATISTIC: Final = Statistic.INTERSECTION_CARDINALITY


def _who(request: Request) -> tuple[Hosting, str]:
    hosting: Hosting = request.app.state.hosting
    if hosting.trusted_header is None:
        raise ValueError("mounted without a trusted header")
    return hosting, party_of_header(request, hosting.room.agreement, hosting.trusted_header)


@router.post(
    "/submit_list",
    response_model=str,
    openapi_extra=CSV_BODY,
    responses=refusals(400, 401, 409, 413, 415, 422),
)
async def submit_list(request: Request) -> Response:
    """Your one CSV, as the form field csv_file."""
    hosting, party = _who(request)
    keys, _ = await hosting.submit(party, request)
    return JSONResponse(f"Successfully saved {keys.rows} values uloaded by {party}.", headers=NO_STORE)


@router.get("/compare", response_model=str, responses=refusals(401, 403, 409, 422))
async def compare(request: Request) -> Response:
    """How many values all lists have in common: one release, made at the first request and returned ever after."""
    hosting, party = _who(request)
    release, new = await _release(hosting)
    emit(Event.RELEASE_MADE if new else Event.RELEASE_REPEATED, party=party, number=release.number)
    *first, last = release.question.parties
    shown = max(0, release.value)  # the draw may be negative; a count that people read is not
    return JSONResponse(f"{', '.join(first)} and {last} have {shown} values in common", headers=NO_STORE)


async def _release(hosting: Hosting) -> tuple[Release, bool]:
    """The room's one comparison: at ``epsilon_default``, or at all that the poorest party has left."""
    await hosting.settle()
    # The question is settled, once the room is open, before it is asked: a second request gets the stored answer.
    question = hosting.comparison or _comparison(hosting.room)
    if hosting.room.state is State.OPEN:
        hosting.comparison = question
    try:
        return await hosting.release(question)
    except BudgetExceeded:
        if hosting.comparison == question:  # somebody else spent meanwhile
            hosting.comparison = None
        raise


def _comparison(room: LiveRoom) -> Question:
    terms = room.agreement.releases
    epsilon = terms.epsilon_default_nano
    if epsilon is None:
        epsilon = min(account.remaining for account in room.ledger().accounts.values())
        if epsilon < terms.epsilon_min_nano:
            raise BudgetExceeded("a party has nothing left to pay for a comparison", short=[], largest_epsilon=None)
    return ask(room.agreement, _STATISTIC, None, epsilon)
