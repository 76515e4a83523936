"""A live room as the event loop sees it: what runs in threads, what runs later, and when answers leave.

Times of answers must say nothing about another party's rows (promise P6). So the room opens, and answers about data
leave, at moments that do not depend on data: at whole steps after the request, and at 1, 2, 4, 8, ... times
``OPEN_STEP_SECONDS`` after the last submission. What is left is the order of magnitude of the time that linking takes;
SECURITY.md says so.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from fastapi import Request

from vesica.errors import RoomClosed, RoomNotOpen, VesicaError
from vesica.events import Event, emit
from vesica.intake import Keys
from vesica.limits import HANDED_OVER_BYTES, OPEN_STEP_SECONDS, OPEN_WAIT_SECONDS_MAX, RELEASE_STEP_SECONDS
from vesica.receipt import Envelope
from vesica.release import Question, Release
from vesica.room import LiveRoom, State
from vesica_routes.bodies import chunks, coding_of
from vesica_routes.overlap import Stage, blocks
from vesica_routes.proving import Proving
from vesica_routes.staying import let_stay

# Who closed a room, where it was no party. Names of parties cannot begin with a parenthesis.
_CLOSING_TIME: Final = "(closing time)"
_FAULT: Final = "(a fault)"
STOPPED: Final = "(the process was stopped)"

T = TypeVar("T")


class Hosting:
    """One room and the tasks that belong to it. All methods run on the event loop."""

    def __init__(self, room: LiveRoom, proving: Proving, trusted_header: str | None = None) -> None:
        self.room = room
        self.proving = proving
        self.trusted_header = trusted_header
        self.comparison: Question | None = None  # what /psi/compare asks, once it is settled
        self._shown: set[int] = set()  # numbers of releases whose answers have left
        self._settled = asyncio.Event()  # the room is open, or closed
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begins to watch the agreement's closing time. Called once, on the running loop."""
        if self.room.agreement.closes_at is not None:
            self._spawn(self._close_at(self.room.agreement.closes_at))

    async def submit(self, party: str, request: Request) -> tuple[Keys, Envelope]:
        """Reads, checks and accepts one submission.

        Raises whatever ``LiveRoom.claim``, ``coding_of``, ``chunks`` and ``Intake`` raise; the party's place is then
        free again.
        """
        emit(Event.SUBMISSION_STARTED, party=party)
        let_stay(request)
        try:
            keys, receipt, last = await self._read(party, request)
        except VesicaError as error:
            emit(Event.SUBMISSION_REFUSED, party=party, code=error.code)
            raise
        emit(Event.SUBMISSION_ACCEPTED, party=party)
        if last:
            self._spawn(self._link())
        return keys, receipt

    async def _read(self, party: str, request: Request) -> tuple[Keys, Envelope, bool]:
        intake = self.room.claim(party)  # before the first byte is read
        stage = Stage()
        try:
            coding = coding_of(request, lambda: self.room.unsealer(party))

            def feed(block: Sequence[bytes]) -> None:
                self._require_not_closed()
                for chunk in block:
                    intake.feed(coding.decoder.feed(chunk))

            def finish() -> Keys:
                intake.feed(coding.decoder.finish())
                return intake.finish()

            received = blocks(chunks(request, coding.bytes_max), HANDED_OVER_BYTES)
            await stage.each(received, feed)
            keys = await stage.run(finish)
            return keys, *self.room.accept(party, keys)
        except BaseException:  # a cancelled request too: nothing of it is kept, and the party may try again
            self.room.abandon(party)
            raise
        finally:
            stage.end(intake.discard)

    def _require_not_closed(self) -> None:
        """Closing destroys what is half read, too."""
        if self.room.state is State.CLOSED:
            raise RoomClosed("this room closed while your file was being read; nothing of it is kept")

    async def release(self, question: Question) -> tuple[Release, bool]:
        """The answer to a question, and whether it is new; it leaves, or the refusal does, at a fixed step.

        Raises RoomNotOpen, RoomClosed, BudgetExceeded.
        """
        await self.settle()
        release, new = await at_a_step(lambda: self.room.release(question), RELEASE_STEP_SECONDS, self._show)
        return release, new

    def releases(self) -> tuple[Release, ...]:
        """Releases whose answers have left. Before its moment a release is not shown: when it was drawn is not to be
        seen.

        Raises RoomClosed.
        """
        return tuple(release for release in self.room.exit().releases() if release.number in self._shown)

    def one_release(self, number: int) -> Release:
        """One of ``releases``.

        Raises ReleaseNotFound, RoomClosed.
        """
        return self.room.exit().get(number if number in self._shown else 0)

    def _show(self, outcome: tuple[Release, bool]) -> None:
        self.room.release_receipt(outcome[0])  # also when nobody is left to read the answer
        self._shown.add(outcome[0].number)

    def close(self, by: str) -> Envelope:
        """Closes the room; returns the closing receipt. by: the party, or what else closes it."""
        before = self.room.state
        receipt = self.room.close(by)
        if before is not State.CLOSED:
            emit(Event.ROOM_CLOSED)
        self._settled.set()
        return receipt

    async def settle(self) -> None:
        """Waits until a room that all have submitted to is open.

        Raises RoomNotOpen when that takes too long.
        """
        if not self.room.complete:
            return
        try:
            async with asyncio.timeout(OPEN_WAIT_SECONDS_MAX):
                await self._settled.wait()
        except TimeoutError:
            raise RoomNotOpen("all have submitted and the room is still linking; ask again in a while") from None

    async def _link(self) -> None:
        loop = asyncio.get_running_loop()
        begun, step = loop.time(), OPEN_STEP_SECONDS
        try:
            await asyncio.to_thread(self.room.link)
            while loop.time() - begun > step:
                step *= 2
            await asyncio.sleep(begun + step - loop.time())
            self.room.open()
        except Exception:
            # A room that cannot link will never answer: better closed, with its data gone, than collecting for ever.
            emit(Event.LINKING_FAILED, level=40)
            self.close(_FAULT)
            raise
        emit(Event.ROOM_OPENED)
        self._settled.set()

    async def _close_at(self, moment: datetime) -> None:
        # In short sleeps, by the wall clock each time: it may be set meanwhile.
        while (left := (moment - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(min(left, 60))
        self.close(_CLOSING_TIME)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def at_a_step(work: Callable[[], T], step_seconds: float, done: Callable[[T], None]) -> T:
    """Does some work in a thread and returns, or raises, at a whole number of steps after now.

    done: told the outcome at that moment, on the event loop; also when the asker is gone by then, for work that has
    begun goes on to its end.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()

    def moment() -> float:
        return begun + (int((loop.time() - begun) / step_seconds) + 1) * step_seconds

    def tell(task: asyncio.Task[T]) -> None:
        if not task.cancelled() and task.exception() is None:
            loop.call_at(moment(), done, task.result())

    task = loop.create_task(asyncio.to_thread(work))
    task.add_done_callback(tell)
    try:
        outcome = await asyncio.shield(task)
    finally:
        await asyncio.sleep(moment() - loop.time())
    done(outcome)
    return outcome
