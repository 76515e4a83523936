"""The app: every entry point across the trust boundary, in one list."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from vesica import agreement as agreements
from vesica.epsilon import parse_epsilon
from vesica.errors import VesicaError
from vesica.events import Event, emit
from vesica.limits import RELEASES_MAX
from vesica.release import Question, Release, ask, plan
from vesica.room import LiveRoom
from vesica_routes import problems, psi, wire
from vesica_routes.answering import Uncached, listed
from vesica_routes.auth import party_of
from vesica_routes.bodies import read_json
from vesica_routes.hosting import STOPPED, Hosting
from vesica_routes.openapi import CSV_BODY, json_body, refusals
from vesica_routes.proving import Proving, parse_nonce

router = APIRouter(default_response_class=Uncached)
STORED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": wire.ReleaseDocument, "description": "The stored answer to the same question; free."}
}


def create_app(room: LiveRoom, proving: Proving, *, trusted_header: str | None = None) -> FastAPI:
    """The ASGI app of one room. trusted_header: by which an authenticating proxy names the party, or None."""
    hosting = Hosting(room, proving, trusted_header)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        hosting.start()
        yield
        hosting.close(STOPPED)

    app = FastAPI(
        title="Vesica",
        summary="How far do lists overlap? A differentially private count; nobody shows a list.",
        version="1",
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would say the Host header back
        lifespan=lifespan,
    )
    app.state.hosting = hosting
    problems.install(app)
    app.include_router(router)
    if trusted_header is not None:
        app.include_router(psi.router)
    return app


# Coroutines: FastAPI would ask a thread for each of these, and a flood of requests would fill its pool.
async def _hosting(request: Request) -> Hosting:
    hosting = request.app.state.hosting
    if not isinstance(hosting, Hosting):
        raise TypeError("an app without a room")
    return hosting


# For the OpenAPI document alone: ``party_of`` reads the header by itself, and is stricter.
_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="Your party's token.")


async def _party(request: Request, _: Annotated[object, Depends(_bearer)]) -> str:
    hosting = await _hosting(request)
    return party_of(request, hosting.room.agreement, hosting.trusted_header)


Nonce = Annotated[
    str, Query(description="32 random bytes of yours, in hex.", json_schema_extra={"pattern": "^[0-9a-f]{64}$"})
]
Here = Annotated[Hosting, Depends(_hosting)]
Party = Annotated[str, Depends(_party)]


def _answer(document: BaseModel, status: int = 200) -> Response:
    return Uncached(document.model_dump(mode="json"), status)


def _released(hosting: Hosting, release: Release) -> wire.ReleaseDocument:
    return wire.ReleaseDocument.of(release, hosting.room.digest, hosting.room.release_receipt(release))


def _question(hosting: Hosting, body: wire.QuestionBody) -> Question:
    epsilon = None if body.epsilon is None else parse_epsilon(body.epsilon)
    parties = None if body.parties is None else tuple(body.parties)
    return ask(hosting.room.agreement, body.statistic, parties, epsilon)


@router.get("/healthz", responses=refusals())
async def healthz() -> wire.Health:
    """Whether the process answers."""
    return wire.Health()


@router.get("/agreement", responses=refusals())
async def agreement(here: Here) -> wire.AgreementDocument:
    """The terms of this room, in canonical form, and their digest."""
    document = agreements.as_document(here.room.agreement)
    return wire.AgreementDocument(digest=here.room.digest, agreement=document)


@router.get("/attestation", responses=refusals(422, 503))
async def attestation(nonce: Nonce, here: Here) -> wire.AttestationDocument:
    """Evidence of where this room runs, over your nonce, the room's keys and the agreement. Appraise it yourself.

    A closed room answers too: who comes for the receipts wants to know from whom.
    """
    fresh = parse_nonce(nonce)
    evidence, binding = await here.proving.attest(fresh)
    return wire.AttestationDocument(evidence=evidence.to_json(), binding=binding.to_json())


@router.get("/room", responses=refusals())
async def room(here: Here) -> wire.RoomDocument:
    """Where the room is in its life, and who has submitted."""
    return wire.RoomDocument.of(here.room)


@router.post(
    "/submissions", status_code=201, response_model=wire.SubmissionDocument, openapi_extra=CSV_BODY,
    responses=refusals(400, 401, 409, 413, 415, 422),
)  # fmt: skip
async def submissions(request: Request, party: Party, here: Here) -> Response:
    """Your one CSV, as a raw body or as the form field csv_file. A refused one leaves nothing behind; send it again."""
    keys, receipt = await here.submit(party, request)
    document = wire.SubmissionDocument(party=party, rows=keys.rows, dropped=keys.dropped, receipt=dict(receipt))
    return _answer(document, 201)


@router.post(
    "/plan", response_model=wire.PlanDocument, openapi_extra=json_body(wire.QuestionBody),
    responses=refusals(400, 408, 413, 422),
)  # fmt: skip
async def plan_release(request: Request, here: Here) -> Response:
    """What a release would cost, and its exact 50, 95 and 99 % error bounds. Touches no data and no budget."""
    question = _question(here, await read_json(request, wire.QuestionBody))
    return _answer(wire.PlanDocument.of(plan(question)))


@router.post(
    "/releases", status_code=201, response_model=wire.ReleaseDocument, openapi_extra=json_body(wire.QuestionBody),
    responses=STORED | refusals(400, 401, 403, 408, 409, 413, 422),
)  # fmt: skip
async def release(request: Request, party: Party, here: Here) -> Response:
    """One differentially private answer, charged to every party concerned before it is drawn."""
    body = await read_json(request, wire.QuestionBody)
    try:
        made, new = await here.release(_question(here, body))
    except VesicaError as error:
        emit(Event.RELEASE_REFUSED, party=party, code=error.code)
        raise
    emit(Event.RELEASE_MADE if new else Event.RELEASE_REPEATED, party=party, number=made.number)
    return _answer(_released(here, made), 201 if new else 200)


@router.get("/releases", response_model=wire.ReleasesDocument, responses=refusals(401, 409))
async def releases(_: Party, here: Here) -> Response:
    """All releases so far; free."""
    return listed("releases", (_released(here, one).model_dump(mode="json") for one in here.releases()))


@router.get("/releases/{number}", response_model=wire.ReleaseDocument, responses=refusals(401, 404, 409, 422))
async def one_release(number: Annotated[int, Path(ge=1, le=RELEASES_MAX)], _: Party, here: Here) -> Response:
    """One release; the same bytes each time; free."""
    return _answer(_released(here, here.one_release(number)))


@router.get("/budgets", responses=refusals(401, 409))
async def budgets(_: Party, here: Here) -> wire.BudgetsDocument:
    """What each party allows, has spent, and has left."""
    return wire.BudgetsDocument.of(here.room.ledger())


@router.post("/close", responses=refusals(401))
async def close(party: Party, here: Here) -> wire.ClosedDocument:
    """Destroys all data and keys, for good. Afterwards GET /room, /receipts, /agreement and /healthz answer."""
    return wire.ClosedDocument(receipt=dict(here.close(party)))


@router.get("/receipts", response_model=wire.ReceiptsDocument, responses=refusals(401))
async def receipts(_: Party, here: Here) -> Response:
    """Every receipt so far, in order: keep them, they can be checked offline. They answer after closing, too."""
    return listed("receipts", (dict(receipt) for receipt in here.room.receipts.all()))
