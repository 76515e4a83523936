"""The one exit. Everything that leaves the room about the data leaves through ``Exit.release``: debit first, then
measure.

A crash between the two costs budget and gives no answer; there is no order of events in which an answer is free. A
release is stored and returned unchanged: asking the same question again costs nothing and tells nothing new.
"""

import threading
from dataclasses import dataclass

from vesica import measure
from vesica.accuracy import ALPHA, ALPHAS, bound
from vesica.agreement import Agreement
from vesica.epsilon import format_epsilon
from vesica.errors import QuestionInvalid, ReleaseNotFound, RoomClosed
from vesica.ledger import Ledger, opening_ledger
from vesica.limits import EPSILON_LIMIT_NANO_MAX, PARTIES_MIN, RELEASES_MAX
from vesica.linkage import Venn
from vesica.terms import Statistic


@dataclass(frozen=True)
class Question:
    """What is asked. parties: different names, sorted. Two equal questions have one answer."""

    statistic: Statistic
    parties: tuple[str, ...]
    epsilon_nano: int


@dataclass(frozen=True)
class Accuracy:
    """P(|value - truth| > bound) <= alpha. bound: whole rows."""

    alpha: float
    bound: int


@dataclass(frozen=True)
class Plan:
    """What a release would cost each of the question's parties, and how accurate it would be. Made without any data."""

    question: Question
    cost_nano: int
    scale: float
    accuracies: tuple[Accuracy, ...]


@dataclass(frozen=True)
class Release:
    """One differentially private answer. value: the draw itself, unbiased; it may be negative.

    cost_nano: nano-epsilon that each of the question's parties paid.
    """

    number: int
    question: Question
    value: int
    scale: float
    accuracy: Accuracy
    cost_nano: int


def ask(agreement: Agreement, statistic: str, parties: tuple[str, ...] | None, epsilon_nano: int | None) -> Question:
    """A question that the agreement allows. parties None: all; epsilon None: the agreement's ``epsilon_default``.

    Raises QuestionInvalid. Reads nothing but the agreement, so a refusal says nothing about data or budgets.
    """
    terms = agreement.releases
    if statistic not in terms.statistics:
        raise QuestionInvalid(f"this agreement allows the statistics: {', '.join(terms.statistics)}")
    roster = agreement.party_names()
    chosen = roster if parties is None else parties
    if not set(chosen) <= set(roster):
        raise QuestionInvalid(f"a party that is not on the roster; on it are: {', '.join(roster)}")
    if len(set(chosen)) != len(chosen) or len(chosen) < PARTIES_MIN:
        raise QuestionInvalid(f"name at least {PARTIES_MIN} different parties, or none for all")
    epsilon = terms.epsilon_default_nano if epsilon_nano is None else epsilon_nano
    if epsilon is None:
        raise QuestionInvalid("this agreement names no epsilon_default, so a release needs an epsilon")
    if not terms.epsilon_min_nano <= epsilon <= EPSILON_LIMIT_NANO_MAX:
        raise QuestionInvalid(
            f"epsilon must be between {format_epsilon(terms.epsilon_min_nano)} and "
            f"{format_epsilon(EPSILON_LIMIT_NANO_MAX)} here"
        )
    return Question(Statistic(statistic), tuple(sorted(chosen)), epsilon)


def plan(question: Question) -> Plan:
    """The cost and the exact 50, 95 and 99 % error bounds of a question."""
    measurement = measure.counting(question.epsilon_nano)
    accuracies = tuple(Accuracy(alpha, bound(question.epsilon_nano, alpha)) for alpha in ALPHAS)
    return Plan(question, measurement.d_out_nano, measurement.scale, accuracies)


class Exit:
    """Holds the linked data, the ledger and what was released; one release at a time.

    Invariant: every draw that was ever made was charged before. ``ledger`` only ever moves forward by ``Ledger.debit``.
    """

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement
        self._lock = threading.Lock()
        self._ledger = opening_ledger({party.name: party.epsilon_nano for party in agreement.parties})
        self._closed = False
        self._charged = 0
        self._released: dict[Question, Release] = {}

    @property
    def ledger(self) -> Ledger:
        """What each party has spent so far."""
        return self._ledger

    def releases(self) -> tuple[Release, ...]:
        """All stored releases in their order. A number that is missing was charged and lost."""
        return tuple(self._released.values())

    def get(self, number: int) -> Release:
        """A stored release.

        Raises ReleaseNotFound.
        """
        for release in self.releases():
            if release.number == number:
                return release
        raise ReleaseNotFound("no release has this number; GET /releases lists them")

    def release(self, question: Question, venn: Venn) -> tuple[Release, bool]:
        """The stored release of this question, or a new one, and whether it is new.

        Raises BudgetExceeded or RoomClosed, and then nothing was spent or drawn.
        """
        with self._lock:
            if self._closed:
                raise RoomClosed("this room has closed; nothing is drawn any more")
            stored = self._released.get(question)
            if stored is not None:
                return stored, False
            return self._draw(question, venn), True

    def close(self) -> None:
        """Draws nothing any more. A draw that has begun ends first: none goes on behind a closed door."""
        with self._lock:
            self._closed = True

    def _draw(self, question: Question, venn: Venn) -> Release:
        if self._charged >= RELEASES_MAX:
            raise QuestionInvalid(f"this room has made its {RELEASES_MAX} releases")
        planned = plan(question)
        # Debit first: a crash must cost budget, never give a free answer. From here on the charge stands.
        self._ledger = self._ledger.debit(
            question.parties, planned.cost_nano, self._agreement.releases.epsilon_min_nano
        )
        self._charged += 1
        number = self._charged
        truth = venn.count(question.statistic, self._members(question.parties))
        value = measure.counting(question.epsilon_nano).draw(truth)
        accuracy = Accuracy(ALPHA, bound(question.epsilon_nano, ALPHA))
        release = Release(number, question, value, planned.scale, accuracy, planned.cost_nano)
        self._released[question] = release
        return release

    def _members(self, parties: tuple[str, ...]) -> int:
        """The bits of ``parties`` in a Venn mask: bit i is the i-th name of the roster."""
        return sum(1 << i for i, name in enumerate(self._agreement.party_names()) if name in parties)
