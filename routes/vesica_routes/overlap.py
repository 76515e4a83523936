"""Receiving and working at the same time: while a thread works through one block, the event loop receives the next.

So a submission takes about as long as the slower of the two, not as their sum.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import TypeVar

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
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def each(self, pieces: AsyncGenerator[T, None], work: Callable[[T], None]) -> None:
        """Calls ``work`` on every piece, one after the other, while the next piece is on its way.

        At most two pieces are held: one that is worked on and one that waits. What ``work`` raises is raised at once,
        also while the sender pauses; what ``pieces`` raises, once the piece before is worked through. So of several
        faults in a file the first is told.
        """

        async def receive() -> T | None:
            return await anext(pieces, None)

        async with aclosing(pieces):
            receiving = asyncio.ensure_future(receive())
            try:
                while (piece := await receiving) is not None:
                    receiving = asyncio.ensure_future(receive())
                    await self.run(partial(work, piece))
            finally:
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)

    def end(self, last: Callable[[], None]) -> None:
        """Lets the thread go, once it has done what it is doing, and then ``last``. Does not wait."""
        self._pool.submit(last)
        self._pool.shutdown(wait=False)
