"""The one exit: who pays, what is free, what is refused, and that the debit comes before anything is read."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.rooms import INTERSECTION, UNION, agreed, live_room, open_room, overlap, question, submit
from vesica import measure
from vesica.errors import BudgetExceeded, QuestionInvalid, ReleaseNotFound, RoomClosed, RoomNotOpen
from vesica.limits import EPSILON_LIMIT_NANO_MAX, NANO
from vesica.linkage import Venn
from vesica.release import Exit, ask
from vesica.terms import Statistic

PAIR = {"alice": "1", "bob": "0.5"}
TRIO = {"alice": "1", "bob": "1", "carol": "1"}
SURE = "50"  # at this epsilon the noise is 0 but for 2e-22


class Untouchable(Venn):
    """Data that says so when it is read."""

    def count(self, statistic: Statistic, members: int) -> int:
        raise AssertionError("the data were read")


UNTOUCHABLE = Untouchable(2, (0, 1, 1, 1))


def spent(held: Exit) -> dict[str, int]:
    return {name: account.spent for name, account in held.ledger.accounts.items()}


def test_every_party_concerned_pays_the_same_and_nobody_else_pays():
    terms = agreed(TRIO)
    held = Exit(terms)
    held.release(question(terms, "0.25", parties=("carol", "alice")), Venn(3, (0,) * 8))
    assert spent(held) == {"alice": NANO // 4, "bob": 0, "carol": NANO // 4}


@pytest.mark.parametrize("statistic", [INTERSECTION, UNION])
def test_a_party_that_does_not_pay_does_not_move_the_answer(statistic):
    terms = agreed({"alice": "60", "bob": "60", "carol": "60"})
    asked = question(terms, SURE, statistic, ("alice", "carol"))
    without_bob = Venn(3, (0, 3, 0, 0, 5, 7, 0, 0))  # alice is bit 0, bob bit 1, carol bit 2
    with_bob = Venn(3, (0, 1, 9, 2, 4, 6, 1, 1))  # the same lists of alice's and carol's, and some of bob's
    values = {Exit(terms).release(asked, venn)[0].value for venn in (without_bob, with_bob)}
    assert values == {7 if statistic == INTERSECTION else 15}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 7), max_size=30), st.integers(1, 7), st.sampled_from([*Statistic]), st.integers(1, 7))
def test_one_row_of_one_party_moves_a_count_by_at_most_one(rows, row, statistic, members):
    """``rows``: for each person, the mask of the parties that list them; ``row``: parties that list one person more."""
    cells, more = [0] * 8, [0] * 8
    for mask in rows:
        cells[mask] += 1
        more[mask] += 1
    more[row] += 1
    moved = Venn(3, tuple(more)).count(statistic, members) - Venn(3, tuple(cells)).count(statistic, members)
    assert moved in (0, 1)
    for joins in range(3):  # the person also appears on one more party's list
        if not row & 1 << joins:
            joined = list(more)
            joined[row] -= 1
            joined[row | 1 << joins] += 1
            moved = Venn(3, tuple(joined)).count(statistic, members) - Venn(3, tuple(more)).count(statistic, members)
            assert moved in (0, 1)


def test_the_same_question_again_is_free_and_has_the_same_answer():
    terms = agreed(PAIR)
    held, asked = Exit(terms), question(terms, "0.3")
    first, new = held.release(asked, overlap(10))
    before = spent(held)
    for _ in range(20):
        again, new_again = held.release(asked, UNTOUCHABLE)
        assert again is first
        assert not new_again
    assert new
    assert spent(held) == before == {"alice": 3 * NANO // 10, "bob": 3 * NANO // 10}
    assert held.releases() == (first,)


def test_a_stored_answer_is_given_even_when_nothing_is_left():
    terms = agreed(PAIR)
    held, asked = Exit(terms), question(terms, "0.5")
    first, _ = held.release(asked, overlap(10))
    assert held.ledger.accounts["bob"].remaining == 0
    assert held.release(asked, UNTOUCHABLE) == (first, False)


def test_the_order_in_which_parties_are_named_makes_no_new_question():
    terms = agreed(TRIO)
    held = Exit(terms)
    answers = {
        held.release(question(terms, "0.4", parties=named), Venn(3, (0,) * 8))[0].number for named in permutations(TRIO)
    }
    answers.add(held.release(question(terms, "0.4"), Venn(3, (0,) * 8))[0].number)
    assert answers == {1}
    assert spent(held) == dict.fromkeys(TRIO, 4 * NANO // 10)


@pytest.mark.parametrize("spelling", ["0.5", "0.50", "5e-1", "00.5", "0.500000000"])
def test_the_spelling_of_an_epsilon_makes_no_new_question(spelling):
    terms = agreed(PAIR)
    assert question(terms, spelling) == question(terms, "0.5")


@pytest.mark.parametrize(
    "other",
    [
        {"epsilon": "0.200000001"},
        {"epsilon": "0.2", "statistic": UNION},
        {"epsilon": "0.2", "parties": ("alice", "bob")},
    ],
    ids=str,
)
def test_another_epsilon_statistic_or_subset_is_another_question_and_is_paid(other):
    terms = agreed(TRIO)
    held = Exit(terms)
    held.release(question(terms, "0.2"), Venn(3, (0,) * 8))
    release, new = held.release(question(terms, **other), Venn(3, (0,) * 8))
    assert new
    assert release.number == 2
    assert spent(held)["alice"] >= 4 * NANO // 10


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"statistic": "size_of_alice"}, "allows the statistics: intersection_cardinality"),
        ({"statistic": UNION}, "allows the statistics: intersection_cardinality"),
        ({"parties": ("alice",)}, "at least 2"),
        ({"parties": ()}, "at least 2"),
        ({"parties": ("alice", "alice")}, "at least 2"),
        ({"parties": ("alice", "bob", "bob")}, "at least 2"),
        ({"parties": ("alice", "mallory")}, "not on the roster"),
        ({"parties": ("alice", "ALICE")}, "not on the roster"),
        ({"epsilon_nano": None}, "no epsilon_default"),
        ({"epsilon_nano": NANO // 100 - 1}, "between 0.01 and 100"),
        ({"epsilon_nano": 0}, "between 0.01 and 100"),
        ({"epsilon_nano": -NANO}, "between 0.01 and 100"),
        ({"epsilon_nano": EPSILON_LIMIT_NANO_MAX + 1}, "between 0.01 and 100"),
    ],
)
def test_a_question_that_the_agreement_does_not_allow_is_refused(asked, says):
    terms = agreed(TRIO, statistics=(INTERSECTION,), epsilon_min="0.01")
    usual = {"statistic": INTERSECTION, "parties": None, "epsilon_nano": NANO // 10}
    with pytest.raises(QuestionInvalid, match=says) as caught:
        ask(terms, **usual | asked)
    assert "mallory" not in caught.value.detail
    assert "size_of_alice" not in caught.value.detail


def test_an_epsilon_left_out_is_the_default_of_the_agreement():
    terms = agreed(PAIR, epsilon_default="0.25")
    assert ask(terms, INTERSECTION, None, None) == question(terms, "0.25")


def test_a_question_that_no_ask_has_checked_reads_no_data():
    terms = agreed(PAIR)
    made = question(terms, "0.2")
    for forged in (replace(made, parties=()), replace(made, parties=("alice", "alice")), replace(made, epsilon_nano=0)):
        held = Exit(terms)
        with pytest.raises(ValueError, match=r"different parties|outside limits"):
            held.release(forged, UNTOUCHABLE)
        assert spent(held) == {"alice": 0, "bob": 0}


def test_a_refusal_for_lack_of_budget_reads_no_data_and_draws_nothing(monkeypatch):
    terms = agreed(PAIR)
    held = Exit(terms)
    genuine = measure.counting

    def undrawable(epsilon_nano: int) -> measure.Measurement:
        return replace(genuine(epsilon_nano), draw=lambda truth: pytest.fail("a draw"))

    monkeypatch.setattr(measure, "counting", undrawable)
    before = held.ledger
    with pytest.raises(BudgetExceeded, match=r"bob has 0\.5 left and is 0\.1 short"):
        held.release(question(terms, "0.6"), UNTOUCHABLE)
    assert held.ledger is before
    assert held.releases() == ()


def test_a_refusal_for_too_many_releases_reads_no_data(monkeypatch):
    monkeypatch.setattr("vesica.release.RELEASES_MAX", 2)
    terms = agreed(PAIR)
    held = Exit(terms)
    for epsilon in ("0.1", "0.11"):
        held.release(question(terms, epsilon), overlap(3))
    before = held.ledger
    with pytest.raises(QuestionInvalid, match="2 releases"):
        held.release(question(terms, "0.12"), UNTOUCHABLE)
    assert held.ledger is before
    assert len(held.releases()) == 2
    assert held.release(question(terms, "0.11"), UNTOUCHABLE)[1] is False


@pytest.mark.parametrize("cells", [(0, 0, 0, 0), (0, 10**6, 10**6, 0), (0, 0, 0, 10**6)])
def test_a_refusal_is_the_same_whatever_the_data(cells):
    terms = agreed(PAIR)
    with pytest.raises(BudgetExceeded) as caught:
        Exit(terms).release(question(terms, "0.6"), Venn(2, cells))
    assert caught.value.detail == (
        "this release costs every party concerned 0.6: bob has 0.5 left and is 0.1 short; "
        "the largest epsilon that fits is 0.5. Nothing was spent"
    )


def test_the_debit_is_made_before_the_data_are_read_and_before_the_draw(monkeypatch):
    terms = agreed(PAIR)
    held, asked = Exit(terms), question(terms, "0.2")
    paid = {"alice": NANO // 5, "bob": NANO // 5}
    seen = []

    class Watching(Venn):
        def count(self, statistic: Statistic, members: int) -> int:
            seen.append(("count", spent(held)))
            return super().count(statistic, members)

    genuine = measure.counting

    def watched(epsilon_nano: int) -> measure.Measurement:
        made = genuine(epsilon_nano)

        def draw(truth: int) -> int:
            seen.append(("draw", spent(held)))
            return made.draw(truth)

        return replace(made, draw=draw)

    monkeypatch.setattr(measure, "counting", watched)
    held.release(asked, Watching(2, (0, 1, 1, 1)))
    assert seen == [("count", paid), ("draw", paid)]


def test_a_value_below_zero_is_stored_as_it_was_drawn(monkeypatch):
    genuine = measure.counting
    monkeypatch.setattr(measure, "counting", lambda e: replace(genuine(e), draw=lambda truth: truth - 7))
    terms = agreed(PAIR)
    held = Exit(terms)
    assert held.release(question(terms, "0.5"), overlap(0))[0].value == -7
    assert held.releases()[0].value == held.get(1).value == -7


def test_a_release_carries_its_scale_and_its_exact_bound():
    terms = agreed(PAIR)
    release, _ = Exit(terms).release(question(terms, "0.5"), overlap(0))
    assert (release.number, release.scale) == (1, 2.0)
    assert (release.accuracy.alpha, release.accuracy.bound) == (0.05, 6)


def test_releases_are_numbered_and_found_in_their_order():
    terms = agreed({"alice": "10", "bob": "10"})
    held = Exit(terms)
    made = [held.release(question(terms, NANO // 10 + i), overlap(3))[0] for i in range(20)]
    assert [release.number for release in made] == list(range(1, 21))
    assert held.releases() == tuple(made)
    assert [held.get(number) for number in range(1, 21)] == made
    for missing in (0, 21, -1):
        with pytest.raises(ReleaseNotFound):
            held.get(missing)


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_linked_data_show_no_count_when_printed(show):
    shown = show(Venn(2, (0, 71_001, 72_002, 73_003)))
    assert shown == "Venn(parties=2)"


def test_nothing_that_holds_data_shows_a_count_when_printed():
    terms = agreed(PAIR)
    room = open_room(terms, {"alice": range(777), "bob": range(700, 4321)})
    held = room.exit()
    held.release(question(terms, "0.5"), room._venn)
    for shown in (repr(room), repr(held), repr(vars(held)["_ledger"]), repr(room._venn)):
        assert not any(size in shown for size in ("777", "3621", "3544", "77,"))


def test_a_room_answers_nothing_before_all_have_submitted_and_nothing_after_it_closed():
    terms = agreed({"alice": "60", "bob": "60"})
    room, asked = live_room(terms), question(terms, SURE)
    with pytest.raises(RoomNotOpen):
        room.release(asked)
    assert not submit(room, "alice", range(10))
    with pytest.raises(RoomNotOpen):
        room.release(asked)
    assert submit(room, "bob", range(5, 20))
    room.link()
    with pytest.raises(RoomNotOpen):
        room.release(asked)
    assert all(account.spent == 0 for account in room.ledger().accounts.values())
    room.open()
    assert room.release(asked)[0].value == 5
    room.close("alice")
    for closed in (lambda: room.release(asked), room.exit, room.ledger):
        with pytest.raises(RoomClosed):
            closed()


def test_a_room_of_three_counts_the_parties_that_are_named_and_no_others():
    terms = agreed({"carol": "99", "alice": "99", "bob": "99"})
    lists = {"alice": range(100), "bob": range(50, 150), "carol": range(90, 300)}
    expected = {
        (INTERSECTION, ("alice", "bob")): 50,
        (INTERSECTION, ("alice", "carol")): 10,
        (INTERSECTION, ("bob", "carol")): 60,
        (INTERSECTION, ("alice", "bob", "carol")): 10,
        (UNION, ("alice", "bob")): 150,
        (UNION, ("alice", "carol")): 300,
        (UNION, ("bob", "carol")): 250,
        (UNION, ("alice", "bob", "carol")): 300,
    }
    for (statistic, parties), count in expected.items():
        release, _ = open_room(terms, lists).release(question(terms, SURE, statistic, parties))
        assert release.value == count, (statistic, parties)
