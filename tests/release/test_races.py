"""However many ask at once: never more is spent than the limit, exactly as many are granted as fit, and one question
has one draw. Threads in one room, and processes over HTTP.
"""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import httpx
import pytest

from support.rooms import INTERSECTION, UNION, agreed, open_room, question
from support.server import agreement_text, bearer, party_token, running_room
from vesica import measure
from vesica.errors import BudgetExceeded, RoomClosed, RoomNotOpen
from vesica.ledger import Ledger
from vesica.limits import NANO
from vesica.release import plan
from vesica.room import LiveRoom

THREADS = 16
TENTH = NANO // 10
LISTS = {"alice": range(50), "bob": range(40, 99)}


@pytest.fixture
def draws(monkeypatch):
    """One entry a draw."""
    drawn, genuine = [], measure.counting

    def counting(epsilon_nano: int) -> measure.Measurement:
        made = genuine(epsilon_nano)

        def draw(truth: int) -> int:
            drawn.append(epsilon_nano)
            return made.draw(truth)

        return replace(made, draw=draw)

    monkeypatch.setattr(measure, "counting", counting)
    return drawn


@pytest.fixture(autouse=True)
def impatient_interpreter():
    """Threads are switched as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(params=[False, True], ids=["as fast as it can", "pausing inside"])
def pace(request, monkeypatch):
    """Once as it is, and once so that a thread that is let in too early meets another between debit and store."""
    if request.param:
        honest = Ledger.debit

        def slow(self: Ledger, *given: object) -> Ledger:
            paid = honest(self, *given)
            time.sleep(0.001)
            return paid

        monkeypatch.setattr(Ledger, "debit", slow)


def at_once(*jobs: Callable[[], object]) -> list[object]:
    """What each job returned, or the error that it raised; all of them start together."""
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], object]) -> object:
        start.wait()
        try:
            return job()
        except (BudgetExceeded, RoomClosed, RoomNotOpen) as error:
            return error

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def ask_all(room: LiveRoom, questions: list[list[object]]) -> list[object]:
    """One thread for each list; what came of every question."""

    def asking(mine: list[object]) -> Callable[[], object]:
        def job() -> object:
            outcomes = []
            for one in mine:
                try:
                    outcomes.append(room.release(one))
                except BudgetExceeded as error:
                    outcomes.append(error)
            return outcomes

        return job

    return [outcome for outcomes in at_once(*[asking(mine) for mine in questions]) for outcome in outcomes]


def questions_of_a_tenth(room: LiveRoom, count: int, parties: tuple[str, ...] | None = None) -> list[object]:
    """Different questions at 0.1 less next to nothing: ten of them fit in 1, eleven do not."""
    made = [question(room.agreement, TENTH - i, INTERSECTION, parties) for i in range(count)]
    assert all(plan(one).cost_nano == one.epsilon_nano for one in made)
    assert 11 * (TENTH - count) > NANO
    return made


def dealt(things: list[object], hands: int = THREADS) -> list[list[object]]:
    return [things[i::hands] for i in range(hands)]


@pytest.mark.parametrize("again", range(5))
def test_sixteen_threads_with_different_questions_get_exactly_the_grants_that_fit(again, draws, pace):
    room = open_room(agreed({"alice": "1", "bob": "2"}), LISTS)
    outcomes = ask_all(room, dealt(questions_of_a_tenth(room, 10 * THREADS)))
    granted = [outcome[0] for outcome in outcomes if isinstance(outcome, tuple)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, BudgetExceeded)]
    assert (len(granted), len(refused)) == (10, 10 * THREADS - 10)
    assert len(draws) == 10
    accounts = room.ledger().accounts
    assert accounts["alice"].spent == accounts["bob"].spent == sum(one.question.epsilon_nano for one in granted)
    assert accounts["alice"].spent <= NANO
    assert sorted(one.number for one in granted) == list(range(1, 11))
    assert set(room.exit().releases()) == set(granted)


@pytest.mark.parametrize("again", range(5))
def test_threads_that_ask_about_different_pairs_overdraw_nobody(again, draws, pace):
    parties = ("alice", "bob", "carol")
    room = open_room(agreed({"alice": "1", "bob": "0.5", "carol": "0.8"}), {**LISTS, "carol": range(9)})
    pairs = [("alice", "bob"), ("bob", "carol"), ("alice", "carol"), parties]
    asked = [one for pair in pairs for one in questions_of_a_tenth(room, 40, pair)]
    outcomes = ask_all(room, dealt(asked))
    granted = [outcome[0] for outcome in outcomes if isinstance(outcome, tuple)]
    for name, account in room.ledger().accounts.items():
        assert account.spent == sum(one.question.epsilon_nano for one in granted if name in one.question.parties)
        assert account.spent <= account.limit
    assert len(draws) == len(granted)
    # Nothing that fits was refused to the end: of every pair that was asked about, somebody has less than 0.1 left.
    for pair in pairs:
        assert min(room.ledger().accounts[name].remaining for name in pair) < TENTH - 40


@pytest.mark.parametrize("again", range(5))
def test_sixteen_threads_with_one_question_get_one_draw(again, draws, pace):
    room = open_room(agreed({"alice": "1", "bob": "1"}), LISTS)
    asked = question(room.agreement, "0.7")
    outcomes = at_once(*[lambda: room.release(asked)] * THREADS)
    assert draws == [asked.epsilon_nano]
    assert len({release for release, _ in outcomes}) == 1
    assert [new for _, new in outcomes].count(True) == 1
    assert room.ledger().accounts["alice"].spent == asked.epsilon_nano


def test_readers_see_whole_releases_and_a_budget_that_only_falls(draws):
    room = open_room(agreed({"alice": "100", "bob": "100"}), LISTS)
    stop = threading.Event()
    asked = [question(room.agreement, 1_000 + i, statistic) for i in range(300) for statistic in (INTERSECTION, UNION)]

    def read() -> int:
        spent = seen = 0
        while not stop.is_set():
            releases, accounts = room.exit().releases(), room.ledger().accounts
            assert accounts["alice"].spent == accounts["bob"].spent >= spent
            assert len(releases) >= seen
            assert [release.number for release in releases] == list(range(1, len(releases) + 1))
            assert sum(release.question.epsilon_nano for release in releases) <= accounts["alice"].spent
            spent, seen = accounts["alice"].spent, len(releases)
        return seen

    def write() -> None:
        try:
            ask_all(room, dealt(asked, 8))
        finally:
            stop.set()

    at_once(write, read, read, read)
    assert len(draws) == len(room.exit().releases()) == 600


def test_a_room_that_closes_meanwhile_answers_or_says_no_and_then_never_answers_again(draws):
    for _ in range(20):
        room = open_room(agreed({"alice": "1", "bob": "1"}), LISTS)
        asked = questions_of_a_tenth(room, THREADS - 1)
        outcomes = at_once(*[partial(room.release, one) for one in asked], partial(room.close, "alice"))
        answered = [outcome for outcome in outcomes[:-1] if isinstance(outcome, tuple)]
        assert len(answered) <= 10
        with pytest.raises(RoomClosed):
            room.release(asked[0])


@pytest.mark.parametrize("pace", [True], indirect=True)
def test_a_room_without_its_lock_would_be_noticed(draws, pace):
    room = open_room(agreed({"alice": "1", "bob": "2"}), LISTS)
    room.exit()._lock = nullcontext()
    ask_all(room, dealt(questions_of_a_tenth(room, 4 * THREADS)))
    assert len(draws) > 10
    assert sum(draws) > room.ledger().accounts["alice"].spent


# Over HTTP, against a real server process.

CLIENTS = 4
# One process of a party: waits for the others, asks its questions from four threads, prints status and body of each.
CLIENT = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
import httpx
url, token, bodies = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with httpx.Client(base_url=url, headers={"Authorization": "Bearer " + token}, timeout=60) as client:
    client.get("/healthz")
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda body: client.post("/releases", json=body), bodies))
print(json.dumps([[answer.status_code, answer.text] for answer in answers]))
"""


def ask_from_processes(url: str, bodies: list[list[dict[str, str]]]) -> list[tuple[int, str]]:
    """One process for each list of questions, of the two parties in turn; every status and body."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, url, party_token(("alice", "bob")[i % 2]), json.dumps(mine)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i, mine in enumerate(bodies)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [(status, text) for one in printed for status, text in json.loads(one)]


@pytest.fixture
def served():
    with running_room(agreement_text({"alice": "1", "bob": "2"})) as room:
        for party in ("alice", "bob"):
            ids = "\n".join(["id", *map(str, LISTS[party])])
            headers = bearer(party) | {"Content-Type": "text/csv"}
            assert httpx.post(f"{room.url}/submissions", headers=headers, content=ids).status_code == 201
        yield room
        room.stop()
        assert "unexpected-error" not in room.stderr


def spent(url: str) -> dict[str, str]:
    budgets = httpx.get(f"{url}/budgets", headers=bearer("alice")).json()["parties"]
    return {budget["name"]: budget["spent"] for budget in budgets}


def test_four_processes_with_different_questions_get_exactly_the_grants_that_fit(served):
    bodies = [{"statistic": INTERSECTION, "epsilon": f"0.0999999{i:02}"} for i in range(80)]
    answers = ask_from_processes(served.url, dealt(bodies, CLIENTS))
    granted = [json.loads(text) for status, text in answers if status == 201]
    refused = [json.loads(text) for status, text in answers if status == 403]
    assert (len(granted), len(refused)) == (10, 70)
    assert {problem["code"] for problem in refused} == {"budget-exceeded"}
    nano = sum(round(float(one["epsilon"]) * NANO) for one in granted)
    assert nano <= NANO
    assert spent(served.url) == dict.fromkeys(("alice", "bob"), f"{nano / NANO:.9f}".rstrip("0"))
    stored = httpx.get(f"{served.url}/releases", headers=bearer("bob")).json()["releases"]
    assert stored == sorted(granted, key=lambda one: one["number"])
    assert [one["number"] for one in stored] == list(range(1, 11))


def test_four_processes_with_one_question_get_one_draw_and_the_same_bytes(served):
    body = {"statistic": UNION, "epsilon": "0.6"}
    answers = ask_from_processes(served.url, [[body] * 5] * CLIENTS)
    assert sorted(status for status, _ in answers) == [200] * 19 + [201]
    assert len({text for _, text in answers}) == 1
    assert spent(served.url) == {"alice": "0.6", "bob": "0.6"}


def test_the_first_comparisons_of_both_parties_are_one_release():
    limits = {"alice": "1", "bob": "2"}
    with running_room(agreement_text(limits), trusted_header="X-Party") as room:
        for party in limits:
            headers = {"X-Party": party, "Content-Type": "text/csv"}
            assert httpx.post(f"{room.url}/psi/submit_list", headers=headers, content="id\n1\n2\n").is_success

        async def compare() -> set[str]:
            async with httpx.AsyncClient(base_url=room.url, timeout=60) as client:
                asked = [client.get("/psi/compare", headers={"X-Party": party}) for party in [*limits] * 8]
                answers = await asyncio.gather(*asked)
                assert {answer.status_code for answer in answers} == {200}
                return {answer.text for answer in answers}

        assert len(asyncio.run(compare())) == 1
        assert spent(room.url) == {"alice": "1", "bob": "1"}
