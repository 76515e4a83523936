"""Too many connections, and connections that never get anywhere: over TLS, against a room in a process of its own."""

import contextlib
import json
import random
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from support.launch import launched_room, limits
from support.processes import descriptors, resident_bytes, sockets
from support.server import RunningRoom, agreement_text, bearer
from support.wire import connect, csv_of, everything, knock, post_csv, reply, request, unverified
from vesica.limits import (
    ACCEPT_RETRY_SECONDS,
    CONNECTION_BYTES_MAX,
    CONNECTIONS_MAX,
    DESCRIPTORS_RESERVED,
    HANDSHAKE_SECONDS_MAX,
    HEADERS_BYTES_MAX,
)
from vesica_enclave.allocator import KEPT_BYTES_MAX

SHORT = 1.0
SLACK = 30.0  # two busy processors, and no test is to fail because they are busy
FEW = 20  # connections, in place of a thousand
AGREEMENT = agreement_text({"alice": "60", "bob": "60"})
HEALTH = request("GET", "/healthz")
OTHER_ADDRESS = "127.0.0.2"  # all of 127/8 is this machine


@pytest.fixture
def small() -> Iterator[RunningRoom]:
    """A room for FEW connections at once, which cuts off nobody for being slow."""
    long = {"HEADER_SECONDS_MAX": 600, "KEEP_ALIVE_SECONDS_MAX": 600, "BODY_IDLE_SECONDS_MAX": 600}
    with launched_room(AGREEMENT, before=limits(CONNECTIONS_MAX=FEW, **long), tls=True) as room:
        yield room


def healthy(url: str) -> bool:
    with connect(url) as sock:
        sock.sendall(HEALTH)
        return reply(sock, SLACK).status == 200


def eventually(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + SLACK
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def dropped(sock: socket.socket, drop: bytes) -> bool:
    """Whether a connection has ended; if not, one more drop."""
    if everything(sock, 0.1)[1]:
        return True
    with contextlib.suppress(OSError):
        sock.sendall(drop)
    return False


def submit(url: str, party: str, ids: range) -> None:
    headers = {**bearer(party), "Content-Type": "text/csv"}
    body = csv_of(str(i) for i in ids)
    answer = httpx.post(url + "/submissions", content=body, headers=headers, timeout=60, verify=unverified())
    assert answer.status_code == 201


def test_a_room_does_all_its_work_beside_five_hundred_idle_connections() -> None:
    with launched_room(AGREEMENT, tls=True) as room, contextlib.ExitStack() as held:
        before, files = resident_bytes(room.pid), descriptors(room.pid)
        idle = [held.enter_context(connect(room.url)) for _ in range(500)]
        cost = resident_bytes(room.pid) - before
        submit(room.url, "alice", range(2000))
        submit(room.url, "bob", range(1000, 3000))
        answer = httpx.post(
            room.url + "/releases",
            json={"statistic": "intersection_cardinality", "epsilon": "50"},
            headers=bearer("alice"),
            timeout=60,
            verify=unverified(),
        )
        assert answer.json()["value"] == 1000
        assert descriptors(room.pid) <= files + len(idle) + DESCRIPTORS_RESERVED
        assert cost < len(idle) * 512 * 2**10
        held.close()
        eventually(lambda: descriptors(room.pid) <= files + 2, "descriptors of connections that have ended")


def test_more_connections_than_allowed_take_no_more_descriptors_and_no_more_memory() -> None:
    many = CONNECTIONS_MAX + 500
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * many), hard))
    with launched_room(AGREEMENT, tls=True) as room, contextlib.ExitStack() as held:
        before, most = resident_bytes(room.pid), 0
        for i in range(many):
            held.enter_context(knock(room.url)).sendall(b"\x16\x03\x01")  # the beginning of a handshake
            if i % 50 == 0:
                most = max(most, descriptors(room.pid))
        assert healthy(room.url)
        most = max(most, descriptors(room.pid))
        assert CONNECTIONS_MAX / 2 < most <= CONNECTIONS_MAX + DESCRIPTORS_RESERVED
        assert resident_bytes(room.pid, "VmHWM") - before < CONNECTIONS_MAX * 512 * 2**10
        held.close()
        eventually(lambda: sockets(room.pid) <= 1, "sockets of connections that have ended")


def test_above_the_bound_the_connection_that_came_first_makes_room(small: RunningRoom) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(small.url)) for _ in range(FEW)]
        with connect(small.url) as another:
            another.sendall(HEALTH)
            assert reply(another).status == 200
            assert everything(held[0], SLACK) == (b"", True)
            for sock in (held[1], held[-1]):
                sock.sendall(HEALTH)
                assert reply(sock).status == 200
    eventually(lambda: sockets(small.pid) <= 1, "sockets of connections that have ended")


def test_a_flood_from_one_address_pushes_out_its_own_connections(small: RunningRoom) -> None:
    with contextlib.ExitStack() as stack:
        guest = stack.enter_context(connect(small.url, source=OTHER_ADDRESS))  # before all others
        for _ in range(3 * FEW):
            stack.enter_context(connect(small.url))
        guest.sendall(HEALTH)
        assert reply(guest).status == 200


def test_a_flood_does_not_interrupt_a_submission(small: RunningRoom) -> None:
    body = csv_of(str(i) for i in range(100_000))
    with contextlib.ExitStack() as stack:
        upload = stack.enter_context(connect(small.url))
        upload.sendall(post_csv("alice", body[: len(body) // 2], Content_Length=str(len(body))))
        for _ in range(3 * FEW):
            stack.enter_context(connect(small.url))
        upload.sendall(body[len(body) // 2 :])
        answer = reply(upload, 60)
        assert (answer.status, json.loads(answer.body)["rows"]) == (201, 100_000)
        # Answered, it is a connection like the others.
        for _ in range(FEW):
            stack.enter_context(connect(small.url))
        assert everything(upload, SLACK) == (b"", True)


def test_an_upload_that_was_refused_is_pushed_out_like_any_other(small: RunningRoom) -> None:
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(connect(small.url)) for _ in range(FEW)]
        for sock in uploads:
            headers = {"Authorization": "Bearer wrong", "Content-Type": "text/csv", "Content-Length": str(2**30)}
            sock.sendall(request("POST", "/submissions", headers))
            assert reply(sock).status == 401
        assert healthy(small.url)
        assert everything(uploads[0], SLACK)[1]


def test_unfinished_handshakes_are_cut_off_and_hinder_nobody() -> None:
    short = limits(HANDSHAKE_SECONDS_MAX=SHORT, CONNECTIONS_MAX=FEW)
    hello = client_hello()
    with launched_room(AGREEMENT, before=short, tls=True) as room, contextlib.ExitStack() as stack:
        for started in (b"", hello[:1], hello[: len(hello) // 2], hello):
            for _ in range(2 * FEW):
                stack.enter_context(knock(room.url)).sendall(started)
            assert healthy(room.url)
        eventually(lambda: sockets(room.pid) <= 1, "sockets of handshakes that never end")
        dripping = stack.enter_context(knock(room.url))
        eventually(lambda: dropped(dripping, hello[:1]), "a handshake that drips")
        room.stop()
        assert "Traceback" not in room.stderr
        assert "exception=" not in room.stderr
    assert HANDSHAKE_SECONDS_MAX == 10


def test_what_is_not_tls_is_cut_off_and_leaves_no_trace() -> None:
    source = random.Random(11)
    hello = client_hello()
    with launched_room(AGREEMENT, tls=True) as room:
        for i in range(100):
            broken = bytearray(hello)
            for _ in range(3):
                broken[source.randrange(len(broken))] = source.randrange(256)
            with knock(room.url) as sock, contextlib.suppress(OSError):
                sock.sendall([HEALTH, bytes(broken), source.randbytes(300)][i % 3])
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(SLACK)
                while sock.recv(2**16):
                    pass
        assert healthy(room.url)
        eventually(lambda: sockets(room.pid) <= 1, "sockets of what was not TLS")
        room.stop()
        assert "Traceback" not in room.stderr
        assert "exception=" not in room.stderr


@pytest.fixture(scope="module")
def impatient() -> Iterator[RunningRoom]:
    """A room that waits a second for everything."""
    names = ("HEADER", "BODY", "BODY_IDLE", "KEEP_ALIVE", "HANDSHAKE")
    with launched_room(AGREEMENT, before=limits(**{f"{name}_SECONDS_MAX": SHORT for name in names}), tls=True) as room:
        yield room


SLOW = {
    "silent": (b"", b""),
    "headers": (b"GET /healthz HTTP/1.1\r\n", b"X: 1\r\n"),
    "question": (request("POST", "/plan", {"Content-Length": "10000"}), b" "),
    "submission": (post_csv("alice", b"id\n", Content_Length="1000"), b""),
    "refused": (request("POST", "/submissions", {"Content-Length": "1000"}), b"1"),
}


@pytest.mark.parametrize("what", SLOW)
def test_a_slow_sender_is_cut_off_behind_tls_too(what: str, impatient: RunningRoom) -> None:
    start, drop = SLOW[what]
    with connect(impatient.url) as sock:
        sock.sendall(start)
        eventually(lambda: dropped(sock, drop), what)


UNREAD = {
    "small answers": HEALTH * 32,
    "large answers": request("GET", "/openapi.json") * 32,
    "many headers behind them": request("GET", "/openapi.json") * 3 + (HEALTH[:-2] + b"X:\r\n" * 90 + b"\r\n") * 28,
    "a body behind them": request("GET", "/openapi.json") * 30
    + request("POST", "/plan", {"Content-Length": str(2**30)})
    + b" " * 2**22,
    "long headers": b"GET / HTTP/1.1\r\nX: " + b"a" * (HEADERS_BYTES_MAX - 100),
}


def pour(held: dict[socket.socket, bytes], seconds: float) -> None:
    """Sends each connection its bytes, as far as the room takes them, and reads nothing."""
    for sock in held:
        sock.setblocking(False)
    rest = dict(held)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for sock, left in rest.items():
            with contextlib.suppress(OSError):
                rest[sock] = left[sock.send(left[: 2**16]) :] if left else left
        time.sleep(0.01)


@pytest.fixture(scope="module")
def patient() -> Iterator[tuple[RunningRoom, int]]:
    """A room with the limits that it really has, and its memory before anybody came."""
    with launched_room(AGREEMENT, tls=True) as room:
        assert httpx.get(room.url + "/openapi.json", verify=unverified()).status_code == 200  # made once, and kept
        yield room, resident_bytes(room.pid)


@pytest.mark.parametrize("what", UNREAD)
def test_no_connection_takes_more_memory_than_it_may(what: str, patient: tuple[RunningRoom, int]) -> None:
    count = 60
    room, before = patient
    with contextlib.ExitStack() as stack:
        held = {stack.enter_context(connect(room.url, receive_buffer=4096)): UNREAD[what] for _ in range(count)}
        pour(held, SHORT)
        # What has been freed meanwhile stays with the process, up to a bound of its own.
        assert resident_bytes(room.pid) - before < count * CONNECTION_BYTES_MAX + KEPT_BYTES_MAX
        assert healthy(room.url)
    eventually(lambda: sockets(room.pid) <= 1, "sockets of clients that have gone")


def test_who_does_not_read_is_cut_off_behind_tls_too() -> None:
    short = limits(WRITE_SECONDS_MAX=2 * SHORT, KEEP_ALIVE_SECONDS_MAX=2 * SHORT, HEADER_SECONDS_MAX=2 * SHORT)
    with launched_room(AGREEMENT, before=short, tls=True) as room, contextlib.ExitStack() as stack:
        pour({stack.enter_context(connect(room.url, receive_buffer=4096)): sent for sent in UNREAD.values()}, SHORT)
        eventually(lambda: sockets(room.pid) <= 1, "sockets of clients that do not read")


def test_a_room_without_descriptors_waits_for_some_and_neither_spins_nor_dies() -> None:
    with launched_room(AGREEMENT, tls=True) as room, contextlib.ExitStack() as stack:
        _, hard = resource.prlimit(room.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(room.pid, resource.RLIMIT_NOFILE, (descriptors(room.pid) + 5, hard))
        begun = time.monotonic()
        for _ in range(15):
            stack.enter_context(knock(room.url))
        time.sleep(2 * ACCEPT_RETRY_SECONDS)
        seconds = time.monotonic() - begun
        failed = room.stderr.count("accept-failed")
        assert 1 <= failed <= seconds / ACCEPT_RETRY_SECONDS + 2
        stack.close()
        assert healthy(room.url)
        assert "library=asyncio" not in room.stderr


def client_hello() -> bytes:
    """The first thing that a TLS client says."""
    said = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        unverified().wrap_bio(ssl.MemoryBIO(), said).do_handshake()
    return said.read()
