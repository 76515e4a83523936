"""Whatever breaks, and wherever: a release is charged and readable, or charged and lost, or was not drawn at all. A
draw without its charge never happens, and the next request works.
"""

import asyncio
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import httpx
import pytest

import vesica
import vesica_routes.hosting
from support.rooms import INTERSECTION, UNION, agreed, app_of, live_room, open_room, overlap, question, submit
from support.rooms import hosting_of as _hosting
from support.server import agreement_text, bearer, party_token, running_room
from vesica import measure
from vesica.agreement import parse_agreement
from vesica.epsilon import parse_epsilon
from vesica.errors import BudgetExceeded, RoomNotOpen
from vesica.ledger import Ledger
from vesica.limits import NANO
from vesica.linkage import Venn
from vesica.release import Exit, Question, Release
from vesica.room import LiveRoom
from vesica_routes import wire
from vesica_routes.hosting import Hosting

RICH = {"alice": "100", "bob": "100"}
HUNDREDTH = NANO // 100
FAULTS = 1000


class Vanished(BaseException):
    """Nothing that ``except Exception`` would stop."""


KINDS = [RuntimeError, MemoryError, OSError, KeyboardInterrupt, SystemExit, asyncio.CancelledError, Vanished]


@dataclass
class Watch:
    """Counts draws, and objects to one that is not paid for. ``exit``: whose ledger to look at."""

    exit: Exit | None = None
    draws: int = 0
    paid_draws_nano: int = 0

    def spent(self) -> int:
        amounts = {account.spent for account in self.exit.ledger.accounts.values()}
        assert len(amounts) == 1, "one party paid and the other did not"
        return amounts.pop()

    def drawing(self, cost: int) -> None:
        self.draws += 1
        self.paid_draws_nano += cost
        # Not pytest.fail: the code under test may swallow anything; this stays.
        if self.paid_draws_nano > self.spent():
            self.draws = 10**9


@pytest.fixture
def watch(monkeypatch):
    """Every draw of every measurement is counted, and compared with what was spent at that moment."""
    watching, genuine = Watch(), measure.counting

    def counting(epsilon_nano: int) -> measure.Measurement:
        made = genuine(epsilon_nano)

        def draw(truth: int) -> int:
            watching.drawing(made.d_out_nano)
            return made.draw(truth)

        return replace(made, draw=draw)

    monkeypatch.setattr(measure, "counting", counting)
    return watching


def check_after_fault(watch: Watch, asked: Question, venn: Venn, before: tuple[int, int, int], answer: Release | None):
    """What must hold after a request that met a fault; then asks again, and asks something else."""
    spent, draws, stored = before
    held = watch.exit
    charged = watch.spent() - spent
    assert charged in (0, asked.epsilon_nano)
    assert watch.draws - draws <= (charged > 0), "a draw without its charge"
    readable = [release for release in held.releases() if release.question == asked]
    assert len(held.releases()) - stored == len(readable) <= watch.draws - draws
    assert answer is None or readable == [answer]
    again, new = held.release(asked, venn)
    assert new == (not readable)
    assert watch.spent() - spent == charged + (asked.epsilon_nano if new else 0)
    assert held.get(again.number) == again
    other = replace(asked, epsilon_nano=asked.epsilon_nano + NANO)
    assert held.release(other, venn)[1], "the next request does not work"
    numbers = [release.number for release in held.releases()]
    assert numbers == sorted(set(numbers))


# Faults at every instruction of every function that takes part in a release.

SOURCE = str(Path(vesica.__file__).parent)
Place = tuple[str, int]


@contextmanager
def fault_at(step: int, kind: type[BaseException]) -> Iterator[list[Place]]:
    """Raises ``kind`` before the ``step``-th bytecode instruction that vesica executes in this thread. Yields a list
    that then holds the place; it stays empty when there were fewer.
    """
    seen, places = 0, []

    def local(frame: FrameType, event: str, _: object) -> Callable[..., object]:
        nonlocal seen
        if event == "opcode" and not places:
            if seen == step:
                places.append((frame.f_code.co_name, frame.f_lineno))
                raise kind
            seen += 1
        return local

    def enter(frame: FrameType, _event: str, _: object) -> Callable[..., object] | None:
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return local

    outer = sys.gettrace()
    sys.settrace(enter)
    try:
        yield places
    finally:
        sys.settrace(outer)


@contextmanager
def traced() -> Iterator[None]:
    """The tracer without a fault. Python 3.12 and 3.13 tell about the instructions of a function only after it was
    entered once with a tracer that asks for them; 3.13 forgets it again whenever the function runs without.
    """
    with fault_at(-1, Vanished):
        yield


def gives_the_lock_back(place: Place) -> bool:
    """Whether a fault was put between the end of ``with self._lock`` and its ``__exit__``. Python delivers nothing
    there (signals and asynchronous exceptions come at calls and jumps back); only a tracer does, and the lock stays
    taken.
    """
    name, line = place
    first = Exit.release.__code__.co_firstlineno
    source = Path(Exit.release.__code__.co_filename).read_text().splitlines()
    return name == "release" and line >= first and source[line - 1].strip() == "with self._lock:"


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, asyncio.CancelledError, Vanished])
def test_a_fault_at_any_instruction_gives_no_free_draw_and_the_next_request_works(kind, watch):
    terms, venn = agreed(RICH), overlap(5)
    asked = question(terms, "0.01")
    step = skipped = 0
    reached = set()
    while True:
        watch.exit = held = Exit(terms)
        watch.draws = watch.paid_draws_nano = 0
        with traced():
            held.release(question(terms, "0.5", UNION), venn)
        before = (watch.spent(), watch.draws, 1)
        answer = None
        with fault_at(step, kind) as places, suppress(kind):
            answer, _ = held.release(asked, venn)
        if not places:
            break
        if held._lock.locked():
            assert gives_the_lock_back(places[0]), f"the room is locked for ever after a fault in {places[0]}"
            skipped += 1
        else:
            check_after_fault(watch, asked, venn, before, answer)
        reached.add(places[0][0])
        step += 1
    assert step >= 300
    assert skipped <= 10
    assert {"release", "_draw", "plan", "debit", "count", "_members", "bound", "__post_init__"} <= reached


def test_a_fault_at_any_instruction_of_a_refusal_changes_nothing(watch):
    terms = agreed({"alice": "1", "bob": "1"})
    asked, step = question(terms, "2"), 0
    reached = set()
    while True:
        with traced(), suppress(BudgetExceeded):
            Exit(terms).release(asked, overlap(5))
        watch.exit = held = Exit(terms)
        before = held.ledger
        with fault_at(step, Vanished) as places, pytest.raises((BudgetExceeded, Vanished)):
            held.release(asked, overlap(5))
        assert held.ledger is before
        assert (held.releases(), watch.draws) == ((), 0)
        if not places:
            break
        assert not held._lock.locked() or gives_the_lock_back(places[0])
        reached.add(places[0][0])
        step += 1
    assert step >= 300
    assert {"release", "_draw", "plan", "debit", "_refusal", "format_epsilon"} <= reached


# A thousand faults in one room, between the steps of a release.


class FragileVenn(Venn):
    """Data that may break when they are read."""

    breaks = None

    def count(self, statistic, members):
        if self.breaks:
            raise self.breaks
        return super().count(statistic, members)


class FragileStore(dict):
    """A store that may break before it has stored, or after."""

    before = after = None

    def __setitem__(self, key, value):
        if self.before:
            raise self.before
        super().__setitem__(key, value)
        if self.after:
            raise self.after


@dataclass
class Breaker:
    """Breaks one step of a release."""

    monkeypatch: pytest.MonkeyPatch
    venn: FragileVenn
    store: FragileStore

    def plan(self, kind):
        self.monkeypatch.setattr("vesica.release.plan", lambda _: throw(kind))

    def debit_before(self, kind):
        self.monkeypatch.setattr(Ledger, "debit", lambda *_: throw(kind))

    def debit_after(self, kind):
        honest = Ledger.debit
        self.monkeypatch.setattr(Ledger, "debit", lambda *given: (honest(*given), throw(kind)))

    def members(self, kind):
        self.monkeypatch.setattr(Exit, "_members", lambda *_: throw(kind))

    def count(self, kind):
        object.__setattr__(self.venn, "breaks", kind)

    def measurement(self, kind):
        """The second time that a measurement is asked for: after the debit."""
        genuine, calls = measure.counting, []

        def counting(epsilon_nano):
            calls.append(None)
            return genuine(epsilon_nano) if len(calls) == 1 else throw(kind)

        self.monkeypatch.setattr(measure, "counting", counting)

    def draw_before(self, kind):
        self._draw(lambda _: lambda _: throw(kind))

    def draw_after(self, kind):
        self._draw(lambda draw: lambda truth: (draw(truth), throw(kind)))

    def _draw(self, wrap):
        genuine = measure.counting

        def counting(epsilon_nano):
            made = genuine(epsilon_nano)
            return replace(made, draw=wrap(made.draw))

        self.monkeypatch.setattr(measure, "counting", counting)

    def bound(self, kind):
        genuine, calls = vesica.release.bound, []

        def bound(*given):
            calls.append(None)
            return genuine(*given) if len(calls) <= 3 else throw(kind)  # three are of the plan

        self.monkeypatch.setattr("vesica.release.bound", bound)

    def release(self, kind):
        self.monkeypatch.setattr("vesica.release.Release", lambda *_: throw(kind))

    def store_before(self, kind):
        self.store.before = kind

    def store_after(self, kind):
        self.store.after = kind


def throw(kind):
    raise kind


# What must have happened by then: charged, drawn, stored.
STEPS = {
    "plan": (0, 0, 0),
    "debit_before": (0, 0, 0),
    "debit_after": (0, 0, 0),
    "members": (1, 0, 0),
    "count": (1, 0, 0),
    "measurement": (1, 0, 0),
    "draw_before": (1, 0, 0),
    "draw_after": (1, 1, 0),
    "bound": (1, 1, 0),
    "release": (1, 1, 0),
    "store_before": (1, 1, 0),
    "store_after": (1, 1, 1),
}


def test_a_thousand_faults_between_the_steps_of_a_release_in_one_room(watch):
    terms = agreed(RICH)
    watch.exit = held = Exit(terms)
    venn, store = FragileVenn(2, (0, 5, 5, 5)), FragileStore()
    held._released = store
    rng = random.Random(11)
    charged = 0
    for i in range(FAULTS):
        step, kind = rng.choice([*STEPS]), rng.choice(KINDS)
        asked = question(terms, 10_000 + i, rng.choice([INTERSECTION, UNION]))
        before = watch.spent(), watch.draws, len(held.releases())
        with pytest.MonkeyPatch.context() as patched:
            getattr(Breaker(patched, venn, store), step)(kind)
            with pytest.raises(kind):
                held.release(asked, venn)
        object.__setattr__(venn, "breaks", None)
        store.before = store.after = None
        after = watch.spent(), watch.draws, len(held.releases())
        changes = after[0] - before[0], after[1] - before[1], after[2] - before[2]
        assert changes == (STEPS[step][0] * asked.epsilon_nano, *STEPS[step][1:]), step
        assert held.release(asked, venn)[1] == (not STEPS[step][2]), step
        charged += asked.epsilon_nano * (1 + STEPS[step][0] - STEPS[step][2])
    assert watch.spent() == charged
    assert watch.draws < 10**9, "a draw without its charge"
    assert len(held.releases()) == FAULTS


def test_a_draw_before_its_debit_would_be_noticed(watch, monkeypatch):
    terms = agreed(RICH)
    watch.exit = held = Exit(terms)

    def draw_first(self, asked, venn):
        value = measure.counting(asked.epsilon_nano).draw(venn.count(asked.statistic, 3))
        self._ledger = self._ledger.debit(asked.parties, asked.epsilon_nano, 1)
        return value

    monkeypatch.setattr(Exit, "_draw", draw_first)
    asked = question(terms, "0.01")
    held.release(asked, overlap(5))
    with pytest.raises(AssertionError, match="a draw without its charge"):
        check_after_fault(watch, asked, overlap(5), (0, 0, 0), None)


# Clients that go, and deadlines that pass.


@pytest.fixture
def fast(monkeypatch):
    """Answers leave every two milliseconds, so that hundreds of them are soon over."""
    monkeypatch.setattr(vesica_routes.hosting, "RELEASE_STEP_SECONDS", 0.002)


def small_room() -> LiveRoom:
    return open_room(agreed(RICH), {"alice": range(50), "bob": range(40, 99)})


def hosting_of(room: LiveRoom) -> Hosting:
    hosting = _hosting(room)
    hosting._settled.set()
    return hosting


async def all_threads_done(hosting: Hosting, last: Question) -> None:
    """Returns when every draw that had begun is stored: there is one lock, and a queue before it."""
    await asyncio.gather(*[hosting.release(replace(last, epsilon_nano=last.epsilon_nano + i)) for i in range(40)])
    await asyncio.get_running_loop().shutdown_default_executor()


@pytest.mark.parametrize("deadline", [False, True], ids=["cancelled", "deadline"])
def test_a_release_whose_client_has_gone_is_charged_and_readable_or_not_drawn(deadline, fast, watch):
    room = small_room()
    watch.exit = room.exit()
    terms, rng = room.agreement, random.Random(5)
    outcomes = {"answered": 0, "gone": 0}

    async def ask_and_leave(hosting: Hosting, i: int) -> None:
        task = asyncio.ensure_future(hosting.release(question(terms, 10_000 + i)))
        patience = rng.choice([0.0, 0.0, 0.0005, 0.001, 0.003, 0.01])
        try:
            if deadline:
                async with asyncio.timeout(patience):
                    await task
            else:
                for _ in range(rng.randrange(3)):
                    await asyncio.sleep(0)
                await asyncio.sleep(patience)
                task.cancel()
                await task
            outcomes["answered"] += 1
        except (asyncio.CancelledError, TimeoutError):
            outcomes["gone"] += 1

    async def main() -> None:
        hosting = hosting_of(room)
        for i in range(0, 300, 5):
            await asyncio.gather(*[ask_and_leave(hosting, i + j) for j in range(5)])
        await all_threads_done(hosting, question(terms, NANO // 10))

    asyncio.run(main())
    releases = room.exit().releases()
    assert outcomes["gone"] >= 50
    assert outcomes["answered"] + outcomes["gone"] == 300
    assert watch.draws == len(releases) == len({release.question for release in releases})
    assert watch.spent() == sum(release.question.epsilon_nano for release in releases)
    assert len(releases) >= outcomes["answered"] + 40


def test_a_deadline_while_the_room_links_spends_nothing_and_the_room_still_opens(monkeypatch, fast, watch):
    monkeypatch.setattr(vesica_routes.hosting, "OPEN_WAIT_SECONDS_MAX", 0.02)
    terms = agreed(RICH)
    room = live_room(terms)
    watch.exit = room.exit()
    submit(room, "alice", range(10))
    submit(room, "bob", range(5, 20))
    asked = question(terms, "0.5")

    async def main() -> None:
        hosting = _hosting(room)
        for _ in range(3):
            with pytest.raises(RoomNotOpen, match="still linking"):
                await hosting.release(asked)
        assert (watch.spent(), watch.draws) == (0, 0)
        waiting = asyncio.ensure_future(hosting.release(asked))
        await asyncio.sleep(0)
        room.link()
        room.open()
        hosting._settled.set()
        assert (await waiting)[1]

    asyncio.run(main())
    assert watch.spent() == NANO // 2


def test_a_fault_in_the_thread_reaches_the_client_at_a_step_and_the_next_request_works(fast, watch, monkeypatch):
    room = small_room()
    watch.exit = room.exit()
    honest = Venn.count

    async def main() -> None:
        hosting = hosting_of(room)
        for i, kind in enumerate([RuntimeError, MemoryError, OSError, Vanished] * 25):
            with monkeypatch.context() as patched:
                patched.setattr(Venn, "count", lambda *_, kind=kind: throw(kind))
                with pytest.raises(kind):
                    await hosting.release(question(room.agreement, 10_000 + i))
            assert Venn.count is honest
            assert (await hosting.release(question(room.agreement, 20_000 + i)))[1]

    asyncio.run(main())
    assert watch.draws == len(room.exit().releases()) == 100
    assert watch.spent() == sum(30_000 + 2 * i for i in range(100))


def test_an_answer_that_cannot_be_written_is_charged_and_readable(fast, watch, monkeypatch):
    room = open_room(parse_agreement(agreement_text(RICH).encode()), {"alice": range(50), "bob": range(40, 99)})
    watch.exit = room.exit()
    honest = wire.ReleaseDocument.of

    async def main() -> None:
        app = app_of(room)
        app.state.hosting._settled.set()
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://room") as client:
            for i in range(50):
                body = {"statistic": INTERSECTION, "epsilon": f"0.00{i + 100}"}
                with monkeypatch.context() as patched:
                    patched.setattr(wire.ReleaseDocument, "of", lambda *_: throw(RuntimeError("cell 4711")))
                    lost = await client.post("/releases", json=body, headers=bearer("alice"))
                assert lost.status_code == 500
                assert lost.json()["code"] == "internal-error"
                assert "4711" not in lost.text
                assert wire.ReleaseDocument.of == honest
                stored = (await client.get("/releases", headers=bearer("bob"))).json()["releases"][-1]
                again = await client.post("/releases", json=body, headers=bearer("bob"))
                assert (again.status_code, again.json()) == (200, stored)

    asyncio.run(main())
    assert watch.draws == len(room.exit().releases()) == 50
    assert watch.spent() == sum(10_000 * (i + 100) for i in range(50))


async def _ask_and_hang_up(url: httpx.URL, epsilon: str, rng: random.Random) -> None:
    body = f'{{"statistic": "{INTERSECTION}", "epsilon": "{epsilon}"}}'.encode()
    head = (
        f"POST /releases HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {party_token('alice')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    message = head + body
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(message[: rng.choice([len(message), len(message), len(message) - 3, len(head)])])
    await writer.drain()
    await asyncio.sleep(rng.choice([0, 0.01, 0.03, 0.05, 0.11]))
    writer.transport.abort()


def test_a_real_server_whose_clients_hang_up_charges_what_it_stored_and_goes_on():
    rng = random.Random(3)
    with running_room(agreement_text({"alice": "50", "bob": "50"})) as room:
        for party in ("alice", "bob"):
            headers = bearer(party) | {"Content-Type": "text/csv"}
            assert httpx.post(f"{room.url}/submissions", headers=headers, content="id\n1\n").status_code == 201

        async def leave() -> None:
            for i in range(0, 100, 10):
                at_once = [_ask_and_hang_up(httpx.URL(room.url), f"0.0{i + j + 100}", rng) for j in range(10)]
                await asyncio.gather(*at_once)

        asyncio.run(leave())
        last = {"statistic": INTERSECTION, "epsilon": "0.5"}
        assert httpx.post(f"{room.url}/releases", json=last, headers=bearer("bob")).status_code == 201
        releases = httpx.get(f"{room.url}/releases", headers=bearer("bob")).json()["releases"]
        budgets = httpx.get(f"{room.url}/budgets", headers=bearer("bob")).json()["parties"]
        room.stop()
        assert "unexpected-error" not in room.stderr
    assert 20 <= len(releases) <= 101
    costs = sum(parse_epsilon(release["epsilon"]) for release in releases)
    assert [parse_epsilon(budget["spent"]) for budget in budgets] == [costs, costs]
