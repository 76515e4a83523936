"""Agreements, questions and rooms without HTTP, for tests."""

from collections.abc import Iterable, Mapping

from support.server import agreement_text
from vesica.agreement import Agreement, parse_agreement
from vesica.epsilon import parse_epsilon
from vesica.linkage import Venn
from vesica.release import Question, ask
from vesica.room import LiveRoom

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


def submit(room: LiveRoom, party: str, ids: Iterable[object]) -> bool:
    """One party's submission; whether it was the last."""
    intake = room.claim(party)
    intake.feed("\n".join(["id", *map(str, ids)]).encode())
    return room.accept(party, intake.finish())


def open_room(agreement: Agreement, lists: Mapping[str, Iterable[object]]) -> LiveRoom:
    """A room in which everybody has submitted."""
    room = LiveRoom(agreement)
    for party, ids in lists.items():
        submit(room, party, ids)
    room.link()
    room.open()
    return room
