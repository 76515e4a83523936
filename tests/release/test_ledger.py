"""No order of requests makes a party spend more than its limit; a refusal changes nothing and says what would fit."""

from dataclasses import FrozenInstanceError
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from opendp.combinators import make_fully_adaptive_composition
from opendp.domains import atom_domain
from opendp.measurements import make_laplace
from opendp.measures import max_divergence
from opendp.metrics import absolute_distance

from support.rooms import INTERSECTION, UNION, agreed, overlap, question
from vesica.epsilon import format_epsilon, parse_epsilon
from vesica.errors import BudgetExceeded
from vesica.ledger import Account, Ledger, opening_ledger
from vesica.limits import NANO
from vesica.linkage import Venn
from vesica.release import Exit, plan

NAMES = ("alice", "bob", "carol")
nano = st.integers(1_000, 3 * NANO)
names = st.lists(st.sampled_from(NAMES), min_size=2, unique=True).map(tuple)


def remaining(ledger: Ledger) -> dict[str, int]:
    return {name: account.remaining for name, account in ledger.accounts.items()}


def test_ten_releases_of_a_tenth_fit_in_one_and_the_eleventh_does_not():
    terms = agreed({"alice": "1.0", "bob": "2"})
    held = Exit(terms)
    # Ten different questions at exactly 0.1 need ten statistics; the ledger sees the cost alone.
    ledger = held.ledger
    cost = plan(question(terms, "0.1")).cost_nano
    for _ in range(10):
        ledger = ledger.debit(("alice", "bob"), cost, 1_000)
    assert remaining(ledger) == {"alice": 0, "bob": NANO}
    with pytest.raises(BudgetExceeded, match=r"alice has 0 left and is 0\.1 short; no epsilon fits any more"):
        ledger.debit(("alice", "bob"), cost, 1_000)


def test_ten_questions_at_a_tenth_are_released_and_the_eleventh_is_not():
    parties = ("a", "b", "c", "d", "e")
    terms = agreed(dict.fromkeys(parties, "1.0"))
    held, venn = Exit(terms), Venn(5, (0,) * 32)
    others = [(x, y) for i, x in enumerate(parties[1:]) for y in parties[i + 2 :]]
    asked = [question(terms, "0.1", INTERSECTION, ("a", *pair)) for pair in others]
    asked += [question(terms, "0.1", UNION, ("a", *pair)) for pair in others]
    granted = 0
    for one in asked[:10]:
        granted += held.release(one, venn)[1]
    assert granted == 10
    assert held.ledger.accounts["a"].remaining == 0
    with pytest.raises(BudgetExceeded) as caught:
        held.release(asked[10], venn)
    assert caught.value.members["short"] == [{"name": "a", "remaining": "0", "missing": "0.1"}]
    assert caught.value.members["largest_epsilon"] is None
    assert len(held.releases()) == 10


def test_a_refusal_names_everybody_who_is_short_by_how_much_and_what_would_fit():
    ledger = opening_ledger({"alice": NANO // 10, "bob": NANO, "carol": NANO // 4})
    with pytest.raises(BudgetExceeded) as caught:
        ledger.debit(("alice", "bob", "carol"), NANO // 2, 1_000)
    assert caught.value.code == "budget-exceeded"
    assert caught.value.members == {
        "short": [
            {"name": "alice", "remaining": "0.1", "missing": "0.4"},
            {"name": "carol", "remaining": "0.25", "missing": "0.25"},
        ],
        "largest_epsilon": "0.1",
    }
    assert remaining(ledger) == {"alice": NANO // 10, "bob": NANO, "carol": NANO // 4}


def test_a_refusal_tells_nothing_of_parties_that_are_not_concerned():
    ledger = opening_ledger({"alice": NANO // 10, "bob": NANO, "carol": 1})
    with pytest.raises(BudgetExceeded) as caught:
        ledger.debit(("alice", "bob"), NANO // 2, 1_000)
    assert "carol" not in caught.value.detail
    assert caught.value.members["largest_epsilon"] == "0.1"


def test_no_epsilon_is_named_that_the_agreement_would_refuse():
    ledger = opening_ledger({"alice": NANO // 10, "bob": NANO})
    with pytest.raises(BudgetExceeded, match="no epsilon fits any more") as caught:
        ledger.debit(("alice", "bob"), NANO // 2, NANO // 5)
    assert caught.value.members["largest_epsilon"] is None


@pytest.mark.parametrize(
    ("parties", "cost"),
    [((), 1), (("alice",), 0), (("alice",), -1), (("alice", "alice"), 1), (("alice", "bob", "alice"), 1)],
)
def test_a_debit_that_no_release_has_is_a_bug_not_an_answer(parties, cost):
    ledger = opening_ledger({"alice": NANO, "bob": NANO})
    with pytest.raises(ValueError, match="positive cost and different parties"):
        ledger.debit(parties, cost, 1)
    assert remaining(ledger) == {"alice": NANO, "bob": NANO}


def test_a_debit_from_somebody_who_is_not_on_the_roster_spends_nothing():
    ledger = opening_ledger({"alice": NANO, "bob": NANO})
    with pytest.raises(KeyError):
        ledger.debit(("alice", "mallory"), 1, 1)
    assert remaining(ledger) == {"alice": NANO, "bob": NANO}


@pytest.mark.parametrize(("limit", "spent"), [(1, 2), (1, -1), (-1, 0)])
def test_an_account_outside_its_limit_cannot_be_made(limit, spent):
    with pytest.raises(ValueError, match="outside its limit"):
        Account(limit, spent)


def test_a_ledger_cannot_be_written_to():
    ledger = opening_ledger({"alice": NANO, "bob": NANO}).debit(("alice", "bob"), 5, 1)
    with pytest.raises(FrozenInstanceError):
        ledger.accounts["alice"].spent = 0
    with pytest.raises(FrozenInstanceError):
        ledger.accounts = {}
    with pytest.raises(TypeError):
        ledger.accounts["alice"] = Account(NANO)


def test_a_ledger_does_not_follow_the_mapping_it_was_opened_with():
    limits = {"alice": NANO, "bob": NANO}
    ledger = opening_ledger(limits)
    limits["alice"] = 100 * NANO
    assert ledger.accounts["alice"].limit == NANO


@given(st.lists(st.tuples(names, nano), max_size=40), nano)
def test_a_debit_is_paid_by_all_concerned_or_by_nobody(debits, limit):
    ledger = opening_ledger(dict.fromkeys(NAMES, limit))
    for parties, cost in debits:
        before = remaining(ledger)
        if all(before[name] >= cost for name in parties):
            ledger = ledger.debit(parties, cost, 1_000)
            assert remaining(ledger) == {n: left - cost * (n in parties) for n, left in before.items()}
        else:
            with pytest.raises(BudgetExceeded):
                ledger.debit(parties, cost, 1_000)
            assert remaining(ledger) == before


class Odometer:
    """OpenDP's own, without data: the measure of what one party lost, as an oracle."""

    def __init__(self) -> None:
        self._space = atom_domain(T="i64"), absolute_distance(T="i64")
        self._queryable = make_fully_adaptive_composition(*self._space, max_divergence())(0)
        self.releases = 0

    def lose(self, scale: float) -> None:
        self._queryable(make_laplace(*self._space, scale))
        self.releases += 1

    def lost(self) -> float:
        return self._queryable.privacy_loss(1)


@settings(max_examples=60, stateful_step_count=40, deadline=None)
class ExitMachine(RuleBasedStateMachine):
    """``Exit`` against a model in fractions, and against OpenDP's odometers."""

    @initialize(limits=st.tuples(nano, nano, nano), least=st.sampled_from(["0.000001", "0.05", "0.3"]))
    def open(self, limits, least):
        limits = dict(zip(NAMES, (max(limit, parse_epsilon(least)) for limit in limits), strict=True))
        self.terms = agreed({name: format_epsilon(limit) for name, limit in limits.items()}, epsilon_min=least)
        self.least = parse_epsilon(least)
        self.exit = Exit(self.terms)
        self.venn = Venn(3, (0, 1, 2, 3, 4, 5, 6, 7))
        self.limits = {name: Fraction(limit, NANO) for name, limit in limits.items()}
        self.spent = dict.fromkeys(NAMES, Fraction(0))
        self.odometers = {name: Odometer() for name in NAMES}
        self.stored = {}

    def fits(self, parties, cost):
        return all(self.spent[name] + cost <= self.limits[name] for name in parties)

    def asks(self, asked):
        cost = Fraction(plan(asked).cost_nano, NANO)
        if asked in self.stored:
            assert self.exit.release(asked, self.venn) == (self.stored[asked], False)
        elif self.fits(asked.parties, cost):
            release, new = self.exit.release(asked, self.venn)
            assert new
            assert (release.question, release.number) == (asked, len(self.stored) + 1)
            self.stored[asked] = release
            for name in asked.parties:
                self.spent[name] += cost
                self.odometers[name].lose(release.scale)
        else:
            self.is_refused(asked, cost)

    def is_refused(self, asked, cost):
        ledger, releases = self.exit.ledger, self.exit.releases()
        with pytest.raises(BudgetExceeded) as caught:
            self.exit.release(asked, self.venn)
        assert self.exit.ledger is ledger
        assert self.exit.releases() == releases
        left = {name: self.limits[name] - self.spent[name] for name in asked.parties}
        told = {
            one["name"]: (Fraction(one["remaining"]), Fraction(one["missing"])) for one in caught.value.members["short"]
        }
        assert told == {name: (rest, cost - rest) for name, rest in left.items() if rest < cost}
        largest = caught.value.members["largest_epsilon"]
        poorest = min(left.values())
        assert (None if largest is None else Fraction(largest)) == (
            poorest if poorest >= Fraction(self.least, NANO) else None
        )

    @rule(epsilon=nano, statistic=st.sampled_from([INTERSECTION, UNION]), parties=names)
    def ask_something(self, epsilon, statistic, parties):
        self.asks(question(self.terms, max(epsilon, self.least), statistic, parties))

    @rule(part=st.integers(1, 12), statistic=st.sampled_from([INTERSECTION, UNION]), parties=names)
    def ask_for_a_part_of_what_is_left(self, part, statistic, parties):
        left = min(self.exit.ledger.accounts[name].remaining for name in parties)
        self.asks(question(self.terms, max(left // part, self.least), statistic, parties))

    @rule(more=st.integers(0, 1), statistic=st.sampled_from([INTERSECTION, UNION]), parties=names)
    def ask_for_all_that_is_left_or_a_billionth_more(self, more, statistic, parties):
        left = min(self.exit.ledger.accounts[name].remaining for name in parties)
        self.asks(question(self.terms, max(left + more, self.least), statistic, parties))

    @rule(data=st.data())
    def ask_again(self, data):
        if self.stored:
            self.asks(data.draw(st.sampled_from(list(self.stored))))

    @invariant()
    def the_ledger_is_the_model(self):
        for name, account in self.exit.ledger.accounts.items():
            assert Fraction(account.spent, NANO) == self.spent[name]
            assert Fraction(account.limit, NANO) == self.limits[name]
            assert self.spent[name] <= self.limits[name]
        assert self.exit.releases() == tuple(self.stored.values())

    def teardown(self):
        for name, odometer in getattr(self, "odometers", {}).items():
            # OpenDP adds floats and rounds up at every step; that is all by which it may be above the ledger.
            slack = 1 + odometer.releases * Fraction(1, 2**50)
            assert Fraction(odometer.lost()) <= self.spent[name] * slack
            assert Fraction(odometer.lost()) <= self.limits[name] * slack


TestExitMachine = ExitMachine.TestCase


def test_the_state_machine_would_notice_a_ledger_that_charges_one_party_only(monkeypatch):
    honest = Ledger.debit

    def cheap(self: Ledger, parties: tuple[str, ...], cost: int, smallest: int) -> Ledger:
        return honest(self, parties[:1], cost, smallest)

    monkeypatch.setattr(Ledger, "debit", cheap)
    machine = ExitMachine()
    machine.open((NANO, NANO, NANO), "0.05")
    machine.ask_something(NANO // 2, INTERSECTION, ("alice", "bob"))
    with pytest.raises(AssertionError):
        machine.the_ledger_is_the_model()


def test_the_ledger_is_kept_by_the_exit_and_not_by_who_asks():
    terms = agreed({"alice": "1", "bob": "1"})
    held = Exit(terms)
    before = held.ledger
    held.release(question(terms, "0.5"), overlap(1))
    assert remaining(before) == {"alice": NANO, "bob": NANO}
    assert remaining(held.ledger) == {"alice": NANO // 2, "bob": NANO // 2}
