"""Receiving and working at the same time: while a thread works through some blocks, the event loop receives the next.

So a submission takes about as long as the slower of the two, not as their sum.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from vesica.limits import HANDED_OVER_MAX

T = TypeVar("T")


async def blocks(chunks: AsyncGenerator[bytes, None], block_bytes: int) -> AsyncGenerator[Sequence[bytes], None]:
    """The same chunks, as many at once as make a block: a thread is asked once a block, not once a packet."""
    waiting: list[bytes] = []
    size = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            waiting.append(chunk)
            size += len(chunk)
            if size >= block_bytes:
                yield waiting
                waiting, size = [], 0
    if waiting:
        yield waiting


class Stage:
    """One thread for all the work of one submission: what it allocates and works on stays in one processor's cache."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "vesica-submission")

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises. When this is cancelled the work that has begun goes on to its end."""
        return await self._begin(work)

    async def each(self, pieces: AsyncGenerator[T, None], work: Callable[[T], None]) -> None:
        """Calls ``work`` on every piece, one after the other, while the next pieces are on their way.

        At most ``HANDED_OVER_MAX`` are with the thread, and one more is held: so neither waits for the other where one
        of the two is slow for a moment. What ``work`` raises is raised at once, also while the sender pauses, and
        nothing behind that piece is worked on; what ``pieces`` raises, once the pieces before are worked through. So of
        several faults in a file the first is told.
        """
        failed = False

        def in_turn(piece: T) -> None:
            nonlocal failed
            if not failed:
                try:
                    work(piece)
                except BaseException:
                    failed = True
                    raise

        async def receive() -> T | None:
            return await anext(pieces, None)

        working: deque[asyncio.Future[None]] = deque()
        async with aclosing(pieces):
            receiving = asyncio.ensure_future(receive())
            try:
                while (piece := await _next(receiving, working)) is not None:
                    working.append(self._begin(partial(in_turn, piece)))
                    receiving = asyncio.ensure_future(receive())
            finally:
                failed = True  # what the thread has is cancelled piece by piece: without this it might skip one
                receiving.cancel()
                for given_up in working:
                    given_up.cancel()  # also one that is done, or asyncio would log what nobody asks it for
                await asyncio.gather(receiving, return_exceptions=True)

    def _begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    def end(self, last: Callable[[], None]) -> None:
        """Lets the thread go, once it has done what it is doing, and then ``last``. Does not wait."""
        self._pool.submit(last)
        self._pool.shutdown(wait=False)


async def _next(receiving: asyncio.Future[T | None], working: deque[asyncio.Future[None]]) -> T | None:
    """The piece that is received, once there is a place for it in ``working``, and that empties from the left.

    Raises what a piece there raised, or else what ``receiving`` raised. Before that, and before the end, all are done.
    """
    while True:
        while working and working[0].done():
            working.popleft().result()
        over = receiving.done() and (receiving.exception() is not None or receiving.result() is None)
        if receiving.done() and len(working) < (1 if over else HANDED_OVER_MAX):
            return receiving.result()
        awaited: list[asyncio.Future[Any]] = [] if receiving.done() else [receiving]
        await asyncio.wait([*awaited, *list(working)[:1]], return_when=asyncio.FIRST_COMPLETED)
