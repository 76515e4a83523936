"""Claims that once did not hold: each was found by a second reader, failed, and was mended."""

import asyncio
import signal
import threading

import httpx
import pytest

import vesica_routes.hosting
from support.rooms import INTERSECTION, agreed, app_of, live_room, open_room, question
from support.server import agreement_text, bearer, running_room
from vesica.epsilon import parse_epsilon
from vesica.errors import EpsilonInvalid, RoomClosed
from vesica.linkage import Venn
from vesica.release import Exit
from vesica.room import LiveRoom

LIMITS = {"alice": "1", "bob": "2"}
LISTS = {"alice": range(50), "bob": range(40, 99)}
NAMED = {"X-Party": "alice"}


def client_of(room: LiveRoom) -> httpx.AsyncClient:
    app = app_of(room, trusted_header="X-Party")
    app.state.hosting._settled.set()
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://room")


def test_a_stored_comparison_is_returned_ever_after_although_an_older_one_was_refused_meanwhile(monkeypatch):
    monkeypatch.setattr(vesica_routes.hosting, "RELEASE_STEP_SECONDS", 0.2)
    room = open_room(agreed(LIMITS), LISTS)

    async def main() -> int:
        async with client_of(room) as client:
            client_app = client._transport.app.state.hosting
            client_app.comparison = question(room.agreement, "1")  # settled when nothing was spent
            room.release(question(room.agreement, "0.4"))  # and then alice spends
            early = asyncio.ensure_future(client.get("/psi/compare", headers=NAMED))
            await asyncio.sleep(0.1)
            late = asyncio.ensure_future(client.get("/psi/compare", headers=NAMED))
            assert (await early).status_code == 403
            third = asyncio.ensure_future(client.get("/psi/compare", headers=NAMED))  # all that is left: 0.6
            assert (await late).status_code == 403
            assert (await third).status_code == 200
            return (await client.get("/psi/compare", headers=NAMED)).status_code

    assert asyncio.run(main()) == 200


def test_asking_for_a_comparison_too_early_costs_no_refusal_later():
    room = live_room(agreed(LIMITS))

    async def main() -> int:
        async with client_of(room) as client:
            assert (await client.get("/psi/compare", headers=NAMED)).status_code == 409
            for party, ids in LISTS.items():
                intake = room.claim(party)
                intake.feed("\n".join(["id", *map(str, ids)]).encode())
                room.accept(party, intake.finish())
            room.link()
            room.open()
            room.release(question(room.agreement, "0.4"))
            return (await client.get("/psi/compare", headers=NAMED)).status_code

    assert asyncio.run(main()) == 200


def test_no_path_shows_a_release_before_its_fixed_moment(monkeypatch):
    monkeypatch.setattr(vesica_routes.hosting, "RELEASE_STEP_SECONDS", 0.5)
    room = open_room(agreed(LIMITS), LISTS)

    async def main() -> None:
        async with client_of(room) as client:
            body = {"statistic": INTERSECTION, "epsilon": "0.5"}
            asked = asyncio.ensure_future(client.post("/releases", json=body, headers=bearer("alice")))
            await asyncio.sleep(0.1)
            assert not asked.done()
            shown = await client.get("/releases", headers=bearer("alice"))
            one = await client.get("/releases/1", headers=bearer("alice"))
            assert (await asked).status_code == 201
            after = await client.get("/releases/1", headers=bearer("alice"))
            assert (shown.json()["releases"], one.status_code, after.status_code) == ([], 404, 200)

    asyncio.run(main())


def test_nothing_is_drawn_after_close_has_returned(monkeypatch):
    room = open_room(agreed(LIMITS), LISTS)
    reading, closed = threading.Event(), threading.Event()
    honest, seen = Venn.count, []

    def slow(self, statistic, members):
        reading.set()
        seen.append("closed first" if closed.wait(0.3) else "drawn first")
        return honest(self, statistic, members)

    monkeypatch.setattr(Venn, "count", slow)
    asking = threading.Thread(target=room.release, args=(question(room.agreement, "0.5"),))
    asking.start()
    assert reading.wait(5)
    room.close("alice")
    closed.set()
    asking.join()
    assert seen == ["drawn first"]


def test_a_room_that_closes_while_it_is_asked_says_that_it_has_closed(monkeypatch):
    room = open_room(agreed(LIMITS), LISTS)
    honest = Exit.release

    def closing(
        self, question, venn
    ):  # the room closes when the exit and the data were read, and nothing was drawn yet
        room.close("alice")
        return honest(self, question, venn)

    monkeypatch.setattr(Exit, "release", closing)
    with pytest.raises(RoomClosed):
        room.release(question(room.agreement, "0.5"))


@pytest.mark.parametrize("text", ["0.49999999999999999999999999999999999", "0.50000000000000000000000000000000001"])
def test_an_epsilon_that_is_finer_than_a_billionth_is_refused_however_long_it_is(text):
    with pytest.raises(EpsilonInvalid):
        parse_epsilon(text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_room_that_is_told_to_stop_says_so_and_exits_with_zero(number):
    with running_room(agreement_text(LIMITS)) as room:
        room.process.send_signal(number)
        assert room.process.wait(20) == 0
        assert "stopping" in room.stderr
