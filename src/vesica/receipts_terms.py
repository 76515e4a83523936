"""What receipts state, held against the agreement that they are about: statement by statement, in exact arithmetic.

A room whose evidence was accepted runs code that the reader trusts. This is the second pair of eyes: had that code a
flaw, or were its budgets kept wrongly, the receipts themselves would show it.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Protocol, assert_never

from vesica.accuracy import ALPHA, bound
from vesica.answers import AgreementShown
from vesica.epsilon import format_epsilon, parse_epsilon
from vesica.errors import EpsilonInvalid, ReceiptInvalid
from vesica.limits import EPSILON_LIMIT_NANO_MAX, EPSILON_RELEASE_NANO_MIN, NANO, PARTIES_MIN
from vesica.receipt import Kind, Statement
from vesica.terms import Statistic

ARITHMETIC: Final = "plain arithmetic (OpenDP is not installed here)"
OPENDP: Final = "OpenDP"
_MECHANISM: Final = "discrete_laplace"
_UNIT: Final = "one row of one party's submission"
_RELEASE: Final = frozenset(
    {
        "accuracy", "charged", "epsilon", "mechanism", "number", "parties", "scale", "statistic", "unit", "value",
    }
)  # fmt: skip
_WORDS_MAX: Final = 32


class _Measurement(Protocol):
    @property
    def scale(self) -> float: ...


class _Measure(Protocol):
    """What is used of ``vesica.measure``, where that can be imported."""

    def counting(self, epsilon_nano: int) -> _Measurement: ...


@dataclass
class _Told:
    """What the statements so far have told."""

    limits: Mapping[str, int]
    statistics: frozenset[str]
    epsilon_min: int
    measure: _Measure | None
    submitted: set[str] = field(default_factory=set)
    spent: dict[str, int] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)
    questions: set[tuple[str, tuple[str, ...], int]] = field(default_factory=set)


def check_terms(statements: Sequence[Statement], agreement: AgreementShown) -> str:
    """Checks what the statements of a chain say, in order; returns what recomputed the noise: OPENDP or ARITHMETIC.

    Raises ReceiptInvalid, naming the receipt.
    """
    told = _begin(agreement)
    for statement in statements:
        try:
            _check(statement, told)
        except (KeyError, TypeError, ValueError, AttributeError, EpsilonInvalid):
            raise _wrong(statement, "does not say what a receipt of its kind says") from None
    return ARITHMETIC if told.measure is None else OPENDP


def load_measure() -> _Measure | None:
    """``vesica.measure``, the only module that imports OpenDP; None where OpenDP is not installed.

    By name, so that a party's side never depends on it.
    """
    try:
        module: _Measure = importlib.import_module("vesica.measure")
    except ImportError:
        return None
    return module


def _begin(agreement: AgreementShown) -> _Told:
    limits = {party.name: int(party.epsilon * NANO) for party in agreement.parties}
    if not PARTIES_MIN <= len(limits) == len(agreement.parties):
        raise ReceiptInvalid("receipt 0: its agreement has too few parties, or one of them twice")
    terms = agreement.document.get("releases")
    try:
        if not isinstance(terms, dict) or not set(terms["statistics"]) <= {*Statistic}:
            raise ReceiptInvalid("receipt 0: its agreement does not say what may be released")
        return _Told(limits, frozenset(terms["statistics"]), parse_epsilon(terms["epsilon_min"]), load_measure())
    except (KeyError, TypeError, EpsilonInvalid):
        raise ReceiptInvalid("receipt 0: its agreement does not say what may be released") from None


def _check(statement: Statement, told: _Told) -> None:
    match statement.kind:
        case Kind.OPENING:
            pass  # its fields were read before anything else was
        case Kind.SUBMISSION:
            _submission(statement, told)
        case Kind.RELEASE:
            _release(statement, told)
        case Kind.CLOSING:
            _closing(statement)
        case _:
            assert_never(statement.kind)


def _submission(statement: Statement, told: _Told) -> None:
    party = statement.body["party"]
    if set(statement.body) != {"party"} or party not in told.limits:
        raise _wrong(statement, "is about the submission of somebody who is not on the roster, or says more than that")
    if party in told.submitted:
        raise _wrong(statement, f"is about a second submission of {party}")
    told.submitted.add(str(party))


def _closing(statement: Statement) -> None:
    by, destroyed = statement.body["by"], statement.body["destroyed"]
    words = [by, *destroyed] if isinstance(destroyed, list) and len(destroyed) <= _WORDS_MAX else [None]
    if set(statement.body) != {"by", "destroyed"} or not all(isinstance(word, str) for word in words):
        raise _wrong(statement, "does not say who closed the room and what was destroyed")


def _release(statement: Statement, told: _Told) -> None:
    body = statement.body
    if set(body) != _RELEASE or body["mechanism"] != _MECHANISM or body["unit"] != _UNIT:
        raise _wrong(statement, "does not say what a release says")
    if told.submitted != set(told.limits):
        raise _wrong(statement, "is about a release made before every party had submitted")
    parties = _parties(statement, told)
    epsilon = _exact(statement, body["epsilon"])
    _question(statement, told, parties, epsilon)
    _numbers(statement, told, epsilon)
    scale = _scale(statement)
    _noise(statement, told, scale, epsilon)
    _charge(statement, told, parties, scale, epsilon)


def _parties(statement: Statement, told: _Told) -> tuple[str, ...]:
    parties = statement.body["parties"]
    if not isinstance(parties, list) or len(parties) < PARTIES_MIN:
        raise _wrong(statement, "does not name two or more parties")
    if parties != sorted(set(parties) & set(told.limits)):
        raise _wrong(statement, "names a party twice, or one that is not on the roster")
    return tuple(parties)


def _question(statement: Statement, told: _Told, parties: tuple[str, ...], epsilon: int) -> None:
    statistic = str(statement.body["statistic"])
    if statistic not in told.statistics or not told.epsilon_min <= epsilon <= EPSILON_LIMIT_NANO_MAX:
        raise _wrong(statement, "is about a release that the agreement does not allow")
    if (statistic, parties, epsilon) in told.questions:
        raise _wrong(statement, "gives a second answer to a question that was answered before")
    told.questions.add((statistic, parties, epsilon))


def _numbers(statement: Statement, told: _Told, epsilon: int) -> None:
    _whole(statement, "value")  # any: it is a draw
    number = _whole(statement, "number")
    if number < 1 or number in told.numbers:
        raise _wrong(statement, "has a number of a release that another has, or that none can have")
    told.numbers.add(number)
    if statement.body["accuracy"] != {"alpha": str(ALPHA), "bound": bound(epsilon, ALPHA)}:
        raise _wrong(statement, "states another error bound than its epsilon gives")


def _whole(statement: Statement, name: str) -> int:
    value = statement.body[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(statement, f"has no whole number as its {name}")
    return value


def _exact(statement: Statement, text: object) -> int:
    """Nano-epsilon of its one spelling, within what any release may have."""
    nano = parse_epsilon(text)
    if not isinstance(text, str) or format_epsilon(nano) != text or nano < EPSILON_RELEASE_NANO_MIN:
        raise _wrong(statement, "has an epsilon that is not written in its one way")
    return nano


def _scale(statement: Statement) -> float:
    text = statement.body["scale"]
    scale = float(text) if isinstance(text, str) else 0.0
    if repr(scale) != text or not 0 < scale < float("inf"):
        raise _wrong(statement, "has a scale that is not a positive number in its one spelling")
    return scale


def _noise(statement: Statement, told: _Told, scale: float, epsilon: int) -> None:
    """A cardinality moves by at most 1 with one row, so that noise of this scale loses 1/scale."""
    if 1 / Fraction(scale) > Fraction(epsilon, NANO):
        raise _wrong(statement, "states a noise too narrow for its epsilon")
    if told.measure is not None and scale < told.measure.counting(epsilon).scale:
        raise _wrong(statement, "states a noise narrower than OpenDP computes for its epsilon")


def _charge(statement: Statement, told: _Told, parties: tuple[str, ...], scale: float, epsilon: int) -> None:
    charged = statement.body["charged"]
    if not isinstance(charged, list) or any(set(entry) != {"epsilon", "name"} for entry in charged):
        raise _wrong(statement, "does not say whom it cost how much")
    if [entry["name"] for entry in charged] != list(parties):
        raise _wrong(statement, "charges others than the parties that it is about")
    for entry in charged:
        name, cost = entry["name"], _exact(statement, entry["epsilon"])
        if not 1 / Fraction(scale) <= Fraction(cost, NANO) <= Fraction(epsilon, NANO):
            raise _wrong(statement, f"charges {name} another amount than it cost")
        told.spent[name] = told.spent.get(name, 0) + cost
        if told.spent[name] > told.limits[name]:
            raise _wrong(statement, f"takes {name} past its limit in the agreement")


def _wrong(statement: Statement, why: str) -> ReceiptInvalid:
    return ReceiptInvalid(f"receipt {statement.number} {why}")
