"""What a room answers, as values. Each reader checks the shape and raises RoomAnsweredNonsense where it is
wrong.

Amounts of epsilon are exact ``Decimal``; counts and bounds are rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from vesica._shape import Shape
from vesica.agreement import document_digest
from vesica.limits import NAME_CHARACTERS_MAX, PARTIES_MAX
from vesica.refusals import RoomAnsweredNonsense
from vesica.terms import Statistic

STATES: Final = ("collecting", "open", "closed")
_BOUNDS_MAX: Final = 10


@dataclass(frozen=True)
class RosterEntry:
    """A party as its room's agreement has it. ``epsilon``: its limit."""

    name: str
    token_sha256: str
    epsilon: Decimal


@dataclass(frozen=True)
class AgreementShown:
    """The agreement that a room says it carries out. ``digest`` was recomputed here from ``document``."""

    digest: str
    name: str
    parties: tuple[RosterEntry, ...]
    document: Mapping[str, object]

    def party_of(self, token_sha256: str) -> str | None:
        """Whose token it is, from the token's hash; None where the roster has no such hash."""
        return next((party.name for party in self.parties if party.token_sha256 == token_sha256), None)


@dataclass(frozen=True)
class PartyState:
    """Whether a party's one submission was accepted."""

    name: str
    submitted: bool


@dataclass(frozen=True)
class RoomState:
    """``state``: collecting (not all have submitted), open (it answers) or closed (data destroyed)."""

    state: str
    parties: tuple[PartyState, ...]


@dataclass(frozen=True)
class Submission:
    """An accepted submission.

    ``rows`` were kept; ``dropped`` were repetitions that the agreement says to drop. receipt: the room's signed
    statement of it; whoever reads it checks it (``Room`` does).
    """

    party: str
    rows: int
    dropped: int
    receipt: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True)
class Cost:
    """What one release costs one party."""

    name: str
    epsilon: Decimal


@dataclass(frozen=True)
class Accuracy:
    """The noise is within ``bound`` rows with probability 1 - ``alpha``."""

    alpha: float
    bound: int


@dataclass(frozen=True)
class Plan:
    """What a release would cost and how far off it might be. Nothing was spent and no data touched."""

    statistic: Statistic
    parties: tuple[str, ...]
    epsilon: Decimal
    mechanism: str
    scale: float
    unit: str
    cost: tuple[Cost, ...]
    accuracy: tuple[Accuracy, ...]


@dataclass(frozen=True)
class Release:
    """One differentially private answer.

    value: the draw itself, which may be negative (so that averages stay unbiased). shown: what people look
    at, never below 0. low, high: the interval that holds the true count with probability 1 -
    ``accuracy.alpha``. receipt: the room's signed statement of it; whoever reads it checks it (``Room`` does).
    stored: the room had answered this question before, so that it cost nothing.
    """

    number: int
    statistic: Statistic
    parties: tuple[str, ...]
    value: int
    epsilon: Decimal
    mechanism: str
    scale: float
    accuracy: Accuracy
    unit: str
    agreement_digest: str
    receipt: Mapping[str, object] = field(repr=False)
    stored: bool = False

    @property
    def shown(self) -> int:
        """The value, clamped at 0."""
        return max(0, self.value)

    @property
    def low(self) -> int:
        """Lower end of the interval."""
        return max(0, self.value - self.accuracy.bound)

    @property
    def high(self) -> int:
        """Upper end of the interval."""
        return max(0, self.value + self.accuracy.bound)


@dataclass(frozen=True)
class Budget:
    """What a party allows in all, what releases about its records have cost, and what is left."""

    name: str
    limit: Decimal
    spent: Decimal
    remaining: Decimal


def read_agreement(document: Mapping[str, object]) -> AgreementShown:
    """``GET /agreement``, with the digest recomputed."""
    answer = Shape(document)
    agreement = answer.mapping("agreement")
    claimed = answer.hexadecimal("digest", 64)
    try:
        recomputed = document_digest(agreement)
    except (ValueError, RecursionError):  # a lone surrogate has no UTF-8
        raise RoomAnsweredNonsense("the room's agreement has no canonical form") from None
    if claimed != recomputed:
        raise RoomAnsweredNonsense(
            f"the room says that its agreement has the digest {claimed}, but what it shows has {recomputed}"
        )
    shape = answer.shape("agreement")
    return AgreementShown(
        digest=recomputed,
        name=shape.text("name", NAME_CHARACTERS_MAX),
        parties=tuple(
            RosterEntry(
                party.text("name", NAME_CHARACTERS_MAX),
                party.hexadecimal("token_sha256", 64),
                party.amount("epsilon"),
            )
            for party in shape.shapes("parties", PARTIES_MAX)
        ),
        document=agreement,
    )


def read_room(document: Mapping[str, object]) -> RoomState:
    """``GET /room``."""
    answer = Shape(document)
    return RoomState(
        answer.word("state", STATES),
        tuple(
            PartyState(party.text("name", NAME_CHARACTERS_MAX), party.truth("submitted"))
            for party in answer.shapes("parties", PARTIES_MAX)
        ),
    )


def read_submission(document: Mapping[str, object]) -> Submission:
    """``POST /submissions``."""
    answer = Shape(document)
    return Submission(
        answer.text("party", NAME_CHARACTERS_MAX),
        answer.integer("rows", least=0),
        answer.integer("dropped", least=0),
        answer.mapping("receipt"),
    )


def read_plan(document: Mapping[str, object]) -> Plan:
    """``POST /plan``."""
    answer = Shape(document)
    return Plan(
        statistic=Statistic(answer.word("statistic", [*Statistic])),
        parties=answer.names("parties", PARTIES_MAX),
        epsilon=answer.amount("epsilon"),
        mechanism=answer.text("mechanism"),
        scale=answer.number("scale"),
        unit=answer.text("unit"),
        cost=tuple(
            Cost(cost.text("name", NAME_CHARACTERS_MAX), cost.amount("epsilon"))
            for cost in answer.shapes("cost", PARTIES_MAX)
        ),
        accuracy=tuple(_accuracy(entry) for entry in answer.shapes("accuracy", _BOUNDS_MAX)),
    )


def read_release(document: Mapping[str, object], *, stored: bool = False) -> Release:
    """``POST /releases`` and ``GET /releases/{n}``."""
    return _release(Shape(document), stored=stored)


def read_releases(document: Mapping[str, object]) -> tuple[Release, ...]:
    """``GET /releases``."""
    return tuple(_release(entry, stored=True) for entry in Shape(document).shapes("releases"))


def read_closing(document: Mapping[str, object]) -> Mapping[str, object]:
    """``POST /close``: the receipt of it."""
    answer = Shape(document)
    answer.word("state", ["closed"])
    return answer.mapping("receipt")


def read_receipts(document: Mapping[str, object]) -> tuple[Mapping[str, object], ...]:
    """``GET /receipts``: envelopes, not checked in any way."""
    shapes = document.get("receipts")
    if not isinstance(shapes, list) or not all(isinstance(one, dict) for one in shapes):
        raise RoomAnsweredNonsense("the room's answer cannot be used: receipts is not a list of objects")
    return tuple(shapes)


def read_budgets(document: Mapping[str, object]) -> tuple[Budget, ...]:
    """``GET /budgets``."""
    return tuple(
        Budget(
            party.text("name", NAME_CHARACTERS_MAX),
            party.amount("limit"),
            party.amount("spent"),
            party.amount("remaining"),
        )
        for party in Shape(document).shapes("parties", PARTIES_MAX)
    )


def _accuracy(answer: Shape) -> Accuracy:
    alpha = answer.number("alpha")
    if alpha >= 1:
        raise RoomAnsweredNonsense("the room's answer cannot be used: accuracy.alpha is not below 1")
    return Accuracy(alpha, answer.integer("bound", least=0))


def _release(answer: Shape, *, stored: bool) -> Release:
    return Release(
        number=answer.integer("number", least=0),
        statistic=Statistic(answer.word("statistic", [*Statistic])),
        parties=answer.names("parties", PARTIES_MAX),
        value=answer.integer("value"),
        epsilon=answer.amount("epsilon"),
        mechanism=answer.text("mechanism"),
        scale=answer.number("scale"),
        accuracy=_accuracy(answer.shape("accuracy")),
        unit=answer.text("unit"),
        agreement_digest=answer.hexadecimal("agreement_digest", 64),
        receipt=answer.mapping("receipt"),
        stored=stored,
    )
