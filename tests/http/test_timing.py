"""When answers leave: at whole steps after the request, which say nothing about data (promise P6)."""

import time
from collections.abc import Iterator

import httpx
import pytest

from support.launch import launched_room, limits
from support.server import RunningRoom, agreement_text, running_room
from support.wire import csv_of, release, state, submit, submitted
from vesica.limits import OPEN_STEP_SECONDS, RELEASE_STEP_SECONDS

SLOW = (  # Python for ``launched_room``: a method of the room that takes a while
    "import time, vesica.room as r; f = r.LiveRoom.METHOD\n"
    "r.LiveRoom.METHOD = lambda *a: (time.sleep(SECONDS), f(*a))[1]\n"
)
STEP = 0.5  # in the rooms of these tests: long enough that a busy machine does not blur it


def timed(url: str, epsilon: str, **question: object) -> tuple[int, float]:
    begun = time.monotonic()
    answer = release(url, "alice", epsilon, **question)
    return answer.status_code, time.monotonic() - begun


@pytest.fixture(scope="module")
def stepping() -> Iterator[RunningRoom]:
    """An open room whose step is STEP."""
    agreement = agreement_text({"alice": "10", "bob": "10"})
    with launched_room(agreement, before=limits(RELEASE_STEP_SECONDS=STEP)) as room:
        submit(room.url, "alice", csv_of(str(i) for i in range(50_000)))
        submit(room.url, "bob", b"id\n1\n")
        assert release(room.url, "alice", "1").status_code == 201
        yield room


@pytest.mark.parametrize(
    ("epsilon", "status"),
    [("0.5", 201), ("0.5", 200), ("0.25", 201), ("1", 200), ("100", 403)],
    ids=["new", "stored", "another new", "another stored", "refused"],
)
def test_answers_of_releases_leave_at_whole_steps_be_they_new_stored_or_refused(
    epsilon: str, status: int, stepping: RunningRoom
) -> None:
    # The work itself takes far less than a step, so it is the step that is waited for.
    got, seconds = timed(stepping.url, epsilon)
    assert got == status
    assert seconds >= STEP


def test_the_step_is_the_one_that_limits_name() -> None:
    with running_room(agreement_text({"alice": "10", "bob": "10"})) as room:
        submit(room.url, "alice", b"id\n1\n")
        early = [timed(room.url, "1") for _ in range(3)]
        assert {status for status, _ in early} == {409}
        assert all(seconds >= RELEASE_STEP_SECONDS for _, seconds in early)  # and nobody waits for an opening
        submit(room.url, "bob", b"id\n1\n")
        assert timed(room.url, "1")[1] >= RELEASE_STEP_SECONDS
        for epsilon, status in [("1", 200), ("2", 201), ("9", 403)]:
            got, seconds = timed(room.url, epsilon)
            assert got == status
            assert seconds >= RELEASE_STEP_SECONDS


def test_work_that_takes_longer_than_a_step_is_answered_at_the_next_one() -> None:
    slow = SLOW.replace("METHOD", "release").replace("SECONDS", "0.6")
    agreement = agreement_text({"alice": "10", "bob": "10"})
    with launched_room(agreement, before=slow + limits(RELEASE_STEP_SECONDS=STEP)) as room:
        submit(room.url, "alice", b"id\n1\n")
        assert timed(room.url, "1")[1] >= 2 * STEP
        submit(room.url, "bob", b"id\n1\n")
        release(room.url, "alice", "1")
        for epsilon in ("2", "2", "50"):
            assert timed(room.url, epsilon)[1] >= 2 * STEP


def test_a_room_opens_after_the_last_submission_at_the_first_step_and_not_before() -> None:
    with launched_room(agreement_text({"alice": "10", "bob": "10"}), before=limits(OPEN_STEP_SECONDS=1.0)) as room:
        submit(room.url, "alice", csv_of(str(i) for i in range(1_000)))
        time.sleep(0.3)
        assert (state(room.url), submitted(room.url)) == ("collecting", {"alice"})
        submit(room.url, "bob", b"id\n1\n")
        begun = time.monotonic()
        assert (state(room.url), submitted(room.url)) == ("collecting", {"alice", "bob"})
        answer = release(room.url, "alice", "1")  # asked too early by a second: it waits, and need not be asked again
        assert answer.status_code == 201
        assert time.monotonic() - begun >= 0.9
        assert state(room.url) == "open"
    assert OPEN_STEP_SECONDS == 0.25


def test_a_release_does_not_wait_for_ever_for_a_room_to_open() -> None:
    slow = SLOW.replace("METHOD", "link").replace("SECONDS", "3")
    with launched_room(
        agreement_text({"alice": "1", "bob": "1"}), before=slow + limits(OPEN_WAIT_SECONDS_MAX=0.5)
    ) as room:
        submit(room.url, "alice", b"id\n1\n")
        submit(room.url, "bob", b"id\n1\n")
        status, seconds = timed(room.url, "1")
        assert status == 409
        assert seconds >= 0.5
        until = time.monotonic() + 10
        while state(room.url) != "open" and time.monotonic() < until:
            assert httpx.get(room.url + "/healthz").status_code == 200  # linking holds nobody up
            time.sleep(0.2)
        assert timed(room.url, "1")[0] == 201
