"""Agreements, questions and rooms without HTTP, for tests."""

from collections.abc import Iterable, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fastapi import FastAPI

from support.server import agreement_text
from vesica.agreement import Agreement, as_document, digest, parse_agreement
from vesica.epsilon import parse_epsilon
from vesica.linkage import Venn
from vesica.receipt import ReceiptLog
from vesica.release import Question, ask
from vesica.room import LiveRoom
from vesica_attestation.software import InsecureSoftwareAttester
from vesica_enclave.identity import RoomKeys
from vesica_routes.app import create_app
from vesica_routes.hosting import Hosting
from vesica_routes.proving import Proving

INTERSECTION = "intersection_cardinality"
UNION = "union_cardinality"


def agreed(limits: Mapping[str, str], **options: object) -> Agreement:
    """An agreement. limits: epsilon by party. options: those of ``support.server.agreement_text``."""
    return parse_agreement(agreement_text(limits, **options).encode())


def question(
    agreement: Agreement, epsilon: str | int, statistic: str = INTERSECTION, parties: tuple[str, ...] | None = None
) -> Question:
    """A question that the agreement allows. epsilon: a decimal, or nano-epsilon."""
    return ask(agreement, statistic, parties, epsilon if isinstance(epsilon, int) else parse_epsilon(epsilon))


def overlap(both: int, only: int = 5) -> Venn:
    """Two parties' lists: ``both`` ids on both, ``only`` more on either."""
    return Venn(2, (0, only, only, both))


def live_room(agreement: Agreement) -> LiveRoom:
    """A room with fresh keys, and without evidence: nobody looks at it here."""
    receipts = ReceiptLog(Ed25519PrivateKey.generate(), digest(agreement), {"agreement": as_document(agreement)})
    return LiveRoom(agreement, receipts, X25519PrivateKey.generate())


def proving(room: LiveRoom) -> Proving:
    """Software evidence for a room."""
    return Proving(InsecureSoftwareAttester(), RoomKeys().identity(room.digest))


def app_of(room: LiveRoom, *, trusted_header: str | None = None) -> FastAPI:
    """The room's app."""
    return create_app(room, proving(room), trusted_header=trusted_header)


def hosting_of(room: LiveRoom) -> Hosting:
    """The room as the event loop sees it."""
    return Hosting(room, proving(room))


def submit(room: LiveRoom, party: str, ids: Iterable[object]) -> bool:
    """One party's submission; whether it was the last."""
    intake = room.claim(party)
    intake.feed("\n".join(["id", *map(str, ids)]).encode())
    _, last = room.accept(party, intake.finish())
    return last


def open_room(agreement: Agreement, lists: Mapping[str, Iterable[object]]) -> LiveRoom:
    """A room in which everybody has submitted."""
    room = live_room(agreement)
    for party, ids in lists.items():
        submit(room, party, ids)
    room.link()
    room.open()
    return room
