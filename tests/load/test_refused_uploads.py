"""Uploads that are refused cost the room little, and nobody else anything: over TLS, from real sockets."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest

from support.launch import launched_room, limits
from support.processes import descriptors, resident_bytes
from support.server import RunningRoom, agreement_text, bearer
from support.wire import (
    Reply,
    ask,
    connect,
    csv_of,
    everything,
    post_csv,
    replies,
    reply,
    request,
    unverified,
)
from vesica.limits import CONNECTION_BYTES_MAX, DISCARDED_BODY_BYTES_MAX, SUBMISSION_BYTES_MAX

GIGABYTE = 10**9
ATTACKERS = 64
BUFFERS_BYTES_MAX = 16 * 2**20  # what the kernel takes on both sides of a loopback connection, and more
AGREEMENT = agreement_text({"alice": "60", "bob": "60", "carol": "60"})
LIST = csv_of(str(i) for i in range(200_000))


@pytest.fixture
def room() -> Iterator[RunningRoom]:
    with launched_room(AGREEMENT, tls=True) as running:
        yield running


def submit(url: str, party: str, body: bytes) -> httpx.Response:
    headers = {**bearer(party), "Content-Type": "text/csv"}
    return httpx.post(url + "/submissions", content=body, headers=headers, timeout=60, verify=unverified())


def wrong_token(size: int) -> bytes:
    """The beginning of an upload by nobody on the roster."""
    headers = {"Authorization": "Bearer not-the-token", "Content-Type": "text/csv", "Content-Length": str(size)}
    return request("POST", "/submissions", headers)


def push(sock: socket.socket, bytes_max: int, piece: bytes = b"1\n" * 2**15) -> int:
    """Sends made-up rows, whatever the room says, until it hangs up; how many bytes went."""
    sent = 0
    sock.settimeout(30)
    with contextlib.suppress(OSError):
        while sent < bytes_max:
            sock.sendall(piece)
            sent += len(piece)
    return sent


def test_sixty_four_wrong_token_uploads_of_a_gigabyte_are_refused_before_their_bodies_are_read(room) -> None:
    before, files = resident_bytes(room.pid), descriptors(room.pid)
    refused: list[Reply] = []
    taken: list[int] = []
    together = threading.Barrier(ATTACKERS + 1)

    def attack() -> None:
        with connect(room.url) as sock:
            together.wait(60)
            sock.sendall(wrong_token(GIGABYTE))
            sock.settimeout(60)
            refused.append(reply(sock))
            taken.append(push(sock, GIGABYTE))  # the answer is no reason to stop

    threads = [threading.Thread(target=attack, daemon=True) for _ in range(ATTACKERS)]
    for thread in threads:
        thread.start()
    together.wait(60)
    assert submit(room.url, "alice", LIST).status_code == 201  # in the midst of it
    for thread in threads:
        thread.join(120)
    assert len(taken) == ATTACKERS
    assert max(taken) < DISCARDED_BODY_BYTES_MAX + BUFFERS_BYTES_MAX
    assert [(answer.status, answer.code) for answer in refused] == [(401, "unauthenticated")] * ATTACKERS
    peak = resident_bytes(room.pid, "VmHWM")
    assert peak - before < ATTACKERS * CONNECTION_BYTES_MAX + 64 * 2**20  # and alice's list beside them
    assert submitted_by(room) == {"alice"}
    assert_closed(room, files)


def test_a_refused_upload_is_answered_before_any_of_its_body_was_sent(room) -> None:
    for size in (GIGABYTE, 16 * 10**12):
        with connect(room.url) as sock:
            sock.sendall(wrong_token(size))
            assert reply(sock).status == 401


def test_a_submission_that_says_it_is_too_large_is_refused_at_once(room) -> None:
    with connect(room.url) as sock:
        sock.sendall(post_csv("alice", b"", Content_Length=str(SUBMISSION_BYTES_MAX + 1)))
        answer = reply(sock)
        assert (answer.status, answer.code) == (413, "too-large")
        assert push(sock, GIGABYTE) < DISCARDED_BODY_BYTES_MAX + BUFFERS_BYTES_MAX
    assert submit(room.url, "alice", LIST).status_code == 201


def test_twice_what_may_be_sent_is_refused_at_the_bound_and_nothing_of_it_is_kept() -> None:
    size = 2**21  # in place of 16 GiB
    with launched_room(AGREEMENT, before=limits(SUBMISSION_BYTES_MAX=size), tls=True) as room:
        before = resident_bytes(room.pid)
        with connect(room.url) as sock:
            sock.sendall(post_csv("alice", b"", Transfer_Encoding="chunked"))
            first = 10**9
            for start in range(first, first + 2 * size // 10, 10_000):
                rows = csv_of((str(i) for i in range(start, start + 10_000)), "id" if start == first else "1")
                with contextlib.suppress(OSError):  # refused by now, and cut off
                    sock.sendall(b"%x\r\n%b\r\n" % (len(rows), rows))
            said, _ = everything(sock, 0.5)
        assert [(answer.status, answer.code) for answer in replies(said)] in ([(413, "too-large")], [])
        assert resident_bytes(room.pid) - before < 64 * 2**20
        assert submitted_by(room) == set()
        assert submit(room.url, "alice", csv_of(["1", "2"])).json()["rows"] == 2


def test_a_second_upload_beside_the_first_is_refused_and_the_first_one_kept(room) -> None:
    half = len(LIST) // 2
    with connect(room.url) as first:
        first.sendall(post_csv("alice", LIST[:half], Content_Length=str(len(LIST))))
        for _ in range(20):
            with connect(room.url) as second:
                second.sendall(post_csv("alice", b"id\n", Content_Length=str(GIGABYTE)))
                answer = reply(second)
                assert (answer.status, answer.code) == (409, "submission-in-progress")
        first.sendall(LIST[half:])
        answer = reply(first, 60)
    assert (answer.status, json.loads(answer.body)["rows"]) == (201, 200_000)
    again = ask(room.url, post_csv("alice", b"id\n1\n"))
    assert (again.status, again.code) == (409, "already-submitted")


def submitted_by(room: RunningRoom) -> set[str]:
    answer = httpx.get(room.url + "/room", verify=unverified()).json()
    return {party["name"] for party in answer["parties"] if party["submitted"]}


def assert_closed(room: RunningRoom, files: int) -> None:
    """The connections of before are gone, and their descriptors."""
    for _ in range(300):
        if descriptors(room.pid) <= files:
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"{descriptors(room.pid)} descriptors, and {files} before")
