"""What goes over the wire: one frozen model a document. Domain values become these, and nothing else is ever sent."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vesica.epsilon import format_epsilon
from vesica.ledger import Ledger
from vesica.measure import MECHANISM, UNIT
from vesica.receipt import Envelope
from vesica.release import Accuracy, Plan, Release
from vesica.room import LiveRoom


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Epsilon = Annotated[str, Field(description="An exact decimal.", examples=["0.5"])]
PartyName = Annotated[str, Field(examples=["alice"])]
Receipt = Annotated[dict[str, object], Field(description="A signed statement of the room (a DSSE envelope).")]


class QuestionBody(_Wire):
    """What is asked: a statistic, of whom, at which epsilon."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"statistic": "intersection_cardinality", "epsilon": "0.5"},
                {"statistic": "union_cardinality", "epsilon": "0.25", "parties": ["alice", "bob"]},
            ]
        }
    )

    statistic: str = Field(json_schema_extra={"enum": ["intersection_cardinality", "union_cardinality"]})
    epsilon: str | int | Decimal | None = Field(
        default=None,
        description="A decimal string or a JSON number, read exactly; left out: the agreement's epsilon_default.",
        json_schema_extra={
            "anyOf": [
                {"type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,9})?$"},
                {"type": "number", "minimum": 0.000001, "maximum": 100},
                {"type": "null"},
            ]
        },
    )
    parties: list[str] | None = Field(
        default=None, description="At least two of the roster; left out: all.", min_length=2, max_length=12
    )


class Health(_Wire):
    """The process answers."""

    status: Literal["ok"] = "ok"


class AgreementDocument(_Wire):
    """The agreement in its canonical form, and its digest. Hash the form yourself: that is what evidence will name."""

    digest: str = Field(description="SHA-256, hex, of the canonical form.", min_length=64, max_length=64)
    agreement: dict[str, object]


class PresenceDocument(_Wire):
    """One party."""

    name: PartyName
    submitted: bool


class RoomDocument(_Wire):
    """Where the room is in its life. No sizes."""

    state: Literal["collecting", "open", "closed"]
    parties: list[PresenceDocument]

    @classmethod
    def of(cls, room: LiveRoom) -> "RoomDocument":
        """The room as anyone may see it."""
        return cls(
            state=room.state.value,
            parties=[PresenceDocument(name=p.name, submitted=p.submitted) for p in room.presences()],
        )


class SubmissionDocument(_Wire):
    """An accepted submission. Only the party that sent it gets this."""

    party: PartyName
    rows: int = Field(description="Rows that count.", examples=[34797])
    dropped: int = Field(description='Rows dropped because an earlier one has their key (duplicates = "drop").')
    receipt: Receipt


class AccuracyDocument(_Wire):
    """With probability 1 - alpha the value is at most ``bound`` from the truth."""

    alpha: float
    bound: int

    @classmethod
    def of(cls, accuracy: Accuracy) -> "AccuracyDocument":
        """An accuracy on the wire."""
        return cls(alpha=accuracy.alpha, bound=accuracy.bound)


class CostDocument(_Wire):
    """What a release costs one party."""

    name: PartyName
    epsilon: Epsilon


class PlanDocument(_Wire):
    """What a release would cost and how accurate it would be."""

    statistic: str
    parties: list[PartyName]
    epsilon: Epsilon
    mechanism: str
    scale: float = Field(description="Of the noise, in rows.")
    unit: str
    cost: list[CostDocument]
    accuracy: list[AccuracyDocument]

    @classmethod
    def of(cls, plan: Plan) -> "PlanDocument":
        """A plan on the wire."""
        return cls(
            statistic=plan.question.statistic.value,
            parties=list(plan.question.parties),
            epsilon=format_epsilon(plan.question.epsilon_nano),
            mechanism=MECHANISM,
            scale=plan.scale,
            unit=UNIT,
            cost=[CostDocument(name=name, epsilon=format_epsilon(plan.cost_nano)) for name in plan.question.parties],
            accuracy=[AccuracyDocument.of(accuracy) for accuracy in plan.accuracies],
        )


class ReleaseDocument(_Wire):
    """One differentially private answer. ``value`` is the draw itself: it may be negative, so that averages hold."""

    number: int
    statistic: str
    parties: list[PartyName]
    value: int
    epsilon: Epsilon
    mechanism: str
    scale: float = Field(description="Of the noise, in rows.")
    accuracy: AccuracyDocument
    unit: str
    agreement_digest: str
    receipt: Receipt

    @classmethod
    def of(cls, release: Release, agreement_digest: str, receipt: Envelope) -> "ReleaseDocument":
        """A release on the wire: the same bytes each time."""
        return cls(
            number=release.number,
            statistic=release.question.statistic.value,
            parties=list(release.question.parties),
            value=release.value,
            epsilon=format_epsilon(release.question.epsilon_nano),
            mechanism=MECHANISM,
            scale=release.scale,
            accuracy=AccuracyDocument.of(release.accuracy),
            unit=UNIT,
            agreement_digest=agreement_digest,
            receipt=dict(receipt),
        )


class ReleasesDocument(_Wire):
    """All releases so far, in their order."""

    releases: list[ReleaseDocument]


class BudgetDocument(_Wire):
    """One party's budget."""

    name: PartyName
    limit: Epsilon
    spent: Epsilon
    remaining: Epsilon


class BudgetsDocument(_Wire):
    """Every party's budget."""

    parties: list[BudgetDocument]

    @classmethod
    def of(cls, ledger: Ledger) -> "BudgetsDocument":
        """The ledger on the wire."""
        return cls(
            parties=[
                BudgetDocument(
                    name=name,
                    limit=format_epsilon(account.limit),
                    spent=format_epsilon(account.spent),
                    remaining=format_epsilon(account.remaining),
                )
                for name, account in ledger.accounts.items()
            ]
        )


class ClosedDocument(_Wire):
    """The room has closed; its data and keys are destroyed."""

    state: Literal["closed"] = "closed"
    receipt: Receipt


class ReceiptsDocument(_Wire):
    """Every receipt so far, in order."""

    receipts: list[Receipt]


class AttestationDocument(_Wire):
    """Evidence, and what it says it is bound to. Neither is to be believed before it was appraised."""

    evidence: dict[str, object]
    binding: dict[str, str]


class Problem(BaseModel):
    """A problem document (RFC 9457). Some carry more: line, column, short, largest_epsilon."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str = Field(examples=["budget-exceeded"])
    detail: str
