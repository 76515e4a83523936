"""Receiving and working at the same time, without a file, a socket or a clock."""

import asyncio
import threading

import pytest

from vesica_routes import overlap
from vesica_routes.overlap import Stage, blocks


def run(scenario):
    async def with_deadline():
        async with asyncio.timeout(30):
            return await scenario()

    return asyncio.run(with_deadline())


async def sent(*pieces, then=None):
    for piece in pieces:
        yield piece
    if then is not None:
        await then


async def for_ever(begun):
    begun.set()
    await asyncio.Event().wait()


async def failing(error):
    raise error


def test_every_piece_is_worked_on_once_in_order_and_in_one_thread():
    seen = []

    async def scenario():
        stage = Stage()
        await stage.each(sent(b"a", b"b", b"c"), lambda piece: seen.append((piece, threading.get_ident())))
        stage.end(lambda: None)

    run(scenario)
    assert [piece for piece, _ in seen] == [b"a", b"b", b"c"]
    assert len({thread for _, thread in seen}) == 1
    assert seen[0][1] != threading.get_ident()


def test_pieces_are_taken_while_one_is_worked_on_but_no_more_than_stated(monkeypatch):
    monkeypatch.setattr(overlap, "HANDED_OVER_MAX", 2)
    taken, all_taken, may_go_on = [], asyncio.Event(), threading.Event()

    async def pieces():
        for number in range(6):
            taken.append(number)
            if len(taken) == 3:
                all_taken.set()
            yield bytes([number])

    async def scenario():
        stage = Stage()
        working = asyncio.ensure_future(stage.each(pieces(), lambda _: may_go_on.wait(20)))
        await all_taken.wait()
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert taken == [0, 1, 2]  # two are with the thread, and one is held
        may_go_on.set()
        await working
        stage.end(lambda: None)

    run(scenario)
    assert taken == [0, 1, 2, 3, 4, 5]


def test_nothing_behind_a_fault_is_worked_on_though_the_thread_has_it_already():
    seen, all_handed_over = [], threading.Event()

    def refuse_the_second(number):
        assert all_handed_over.wait(20)
        seen.append(number)
        if number == 1:
            raise ValueError("bad")

    async def scenario():
        stage = Stage()
        with pytest.raises(ValueError, match="bad"):
            await stage.each(sent(0, 1, 2, 3, then=for_ever(all_handed_over)), refuse_the_second)
        await stage.run(lambda: None)  # whatever the thread had before this is over
        stage.end(lambda: None)

    run(scenario)
    assert seen == [0, 1]


def test_when_a_submission_is_given_up_what_waits_is_not_worked_on():
    seen, may_go_on, ended, all_handed_over = [], threading.Event(), threading.Event(), asyncio.Event()

    def work(piece):
        seen.append(piece)
        assert may_go_on.wait(20)

    async def scenario():
        stage = Stage()
        working = asyncio.ensure_future(stage.each(sent(0, 1, 2, then=for_ever(all_handed_over)), work))
        await all_handed_over.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        stage.end(ended.set)
        may_go_on.set()
        await asyncio.to_thread(ended.wait, 20)

    run(scenario)
    assert seen == [0]


def test_a_fault_in_a_piece_is_told_while_the_sender_pauses():
    def refuse(_):
        raise ValueError("bad")

    async def scenario():
        stage = Stage()
        with pytest.raises(ValueError, match="bad"):
            await stage.each(sent(b"a", then=asyncio.Event().wait()), refuse)
        stage.end(lambda: None)

    run(scenario)


def test_of_a_fault_in_a_piece_and_a_sender_that_hangs_up_the_first_is_told():
    def refuse(_):
        raise ValueError("first")

    async def scenario():
        stage = Stage()
        with pytest.raises(ValueError, match="first"):
            await stage.each(sent(b"a", then=failing(ConnectionError("second"))), refuse)
        with pytest.raises(ConnectionError, match="second"):
            await stage.each(sent(b"a", then=failing(ConnectionError("second"))), lambda _: None)
        stage.end(lambda: None)

    run(scenario)


def test_a_sender_that_is_given_up_is_closed():
    closed = []

    async def pieces():
        try:
            while True:
                yield b"a"
        finally:
            closed.append(True)

    def refuse(_):
        raise ValueError("bad")

    async def scenario():
        stage = Stage()
        with pytest.raises(ValueError, match="bad"):
            await stage.each(blocks(pieces(), 10), refuse)
        stage.end(lambda: None)

    run(scenario)
    assert closed == [True]
