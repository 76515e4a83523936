"""Clients that send slowly, or without end, or do not read: each is cut off, and others are served meanwhile.

The limits are 10 to 60 seconds; most tests here start the room with limits of a second, and one with the real ones.
"""

import contextlib
import random
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from support.launch import launched_room, limits
from support.processes import resident_bytes, sockets
from support.server import RunningRoom, agreement_text, bearer, running_room
from support.wire import (
    ask,
    connect,
    csv_of,
    everything,
    exchange,
    post_csv,
    replies,
    reply,
    request,
    state,
    submit,
    submitted,
)
from vesica.limits import (
    BODY_IDLE_SECONDS_MAX,
    BODY_SECONDS_MAX,
    DISCARDED_BODY_BYTES_MAX,
    HEADER_SECONDS_MAX,
    HEADERS_BYTES_MAX,
    HEADERS_COUNT_MAX,
    JSON_BODY_BYTES_MAX,
    KEEP_ALIVE_SECONDS_MAX,
)

SHORT = 1.0
SLACK = 30.0  # two busy processors, and no test is to fail because they are busy
BUFFERS_BYTES_MAX = 16 * 2**20  # what the kernel takes on both sides of a loopback connection, and more
AGREEMENT = agreement_text({"alice": "60", "bob": "60"})


@pytest.fixture(scope="module")
def impatient() -> Iterator[RunningRoom]:
    """A room that waits a second for everything."""
    short = limits(
        HEADER_SECONDS_MAX=SHORT,
        BODY_SECONDS_MAX=SHORT,
        BODY_IDLE_SECONDS_MAX=SHORT,
        KEEP_ALIVE_SECONDS_MAX=SHORT,
        SUBMISSION_GRACE_SECONDS=2 * SHORT,
    )
    with launched_room(AGREEMENT, before=short) as room:
        yield room


def drip(url: str, start: bytes, drops: bytes) -> bytes:
    """Sends some bytes, then drops, over and over; what the room says before it hangs up, which it has to."""
    with connect(url) as sock:
        until = time.monotonic() + 2 * SHORT + SLACK
        said = b""
        try:
            sock.sendall(start)
            while time.monotonic() < until:
                got, ended = everything(sock, 0.15)
                said += got
                if ended:
                    return said
                sock.sendall(drops)
        except OSError:
            return said
    raise AssertionError(f"the room waits still, and has said {said!r}")


def flood(url: str, start: bytes, drops: bytes, bytes_max: int) -> tuple[int, bytes]:
    """Sends some bytes, then drops without a pause; how many the room's side took before it hung up, and its words."""
    sent, said = 0, b""
    with connect(url) as sock, contextlib.suppress(OSError):
        sock.sendall(start)
        said, _ = everything(sock, 0.3)
        while sent < bytes_max:
            sock.sendall(drops)
            sent += len(drops)
    return sent, said


GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CHUNKED = GET + b"Transfer-Encoding: chunked\r\n\r\n"
UNFINISHED = {
    "nothing": (b"", b""),
    "line ends": (b"", b"\r\n"),
    "a method": (b"", b"G"),
    "a path": (b"GET /", b"a"),
    "headers": (GET, b"X-Drop: 1\r\n"),
    "one header": (GET + b"X: ", b"a"),
    "headers of a second request": (GET + b"\r\n" + GET, b"X-Drop: 1\r\n"),
    "nothing after an answer": (GET + b"\r\n", b""),
    "line ends after an answer": (GET + b"\r\n", b"\r\n"),
    "a body that nobody asked for": (GET + b"Content-Length: 1000\r\n\r\n", b"a"),
    "chunks that nobody asked for": (CHUNKED, b"1\r\na\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"X-Drop: 1\r\n"),
    "the size of a chunk": (CHUNKED, b"0"),
    "a body that was refused": (request("POST", "/submissions", {"Content-Length": "1000000"}), b"a"),
}


@pytest.mark.parametrize("what", UNFINISHED)
def test_a_client_that_does_not_finish_is_cut_off(what: str, impatient: RunningRoom) -> None:
    start, drops = UNFINISHED[what]
    said = drip(impatient.url, start, drops)
    assert all(answer.status in (200, 400, 401) for answer in replies(said))


def test_a_client_that_finishes_in_time_is_served_and_may_ask_again_and_again(impatient: RunningRoom) -> None:
    with connect(impatient.url) as sock:
        for _ in range(5):
            for piece in (GET[:10], GET[10:], b"X-Slow: 1\r\n", b"\r\n"):
                sock.sendall(piece)
                time.sleep(SHORT / 10)
            assert reply(sock).status == 200
            time.sleep(SHORT / 4)


ENDLESS = {
    "headers": (GET, b"X-Endless: " + b"a" * 500 + b"\r\n"),
    "small headers": (GET, b"X:1\r\n"),
    "one header": (GET + b"X: ", b"a" * 2**14),
    "the name of a header": (GET, b"a" * 2**14),
    "a path": (b"GET /", b"a" * 2**14),
    "line ends before a request": (b"", b"\r\n" * 2**13),
    "trailers": (CHUNKED + b"0\r\n", b"X-Endless: " + b"a" * 500 + b"\r\n"),
    "one trailer": (CHUNKED + b"0\r\nX: ", b"a" * 2**14),
    "the extension of a chunk": (CHUNKED + b"1;x=", b"a" * 2**14),
    "empty requests of no protocol": (b"\r\n", b"\0" * 2**14),
}


@pytest.fixture(scope="module")
def patient() -> Iterator[RunningRoom]:
    """A room with the real limits."""
    with running_room(AGREEMENT) as room:
        assert httpx.get(room.url + "/healthz").status_code == 200
        yield room


@pytest.mark.parametrize("what", ENDLESS)
def test_a_client_that_sends_without_end_is_cut_off_and_nothing_of_it_piles_up(what: str, patient: RunningRoom) -> None:
    start, drops = ENDLESS[what]
    before = resident_bytes(patient.pid)
    sent, said = flood(patient.url, start, drops, 40 * 2**20)
    assert sent < BUFFERS_BYTES_MAX
    assert all(answer.status in (200, 400) for answer in replies(said))
    assert httpx.get(patient.url + "/healthz", timeout=5).status_code == 200
    assert resident_bytes(patient.pid) - before < 16 * 2**20
    assert "exception=" not in patient.stderr


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_headers_above_their_bounds_are_not_served_however_they_arrive(pieces: int, impatient: RunningRoom) -> None:
    large = GET + b"X-Large: " + b"a" * (HEADERS_BYTES_MAX + 1) + b"\r\n\r\n"
    long = b"GET /room?" + b"a" * (HEADERS_BYTES_MAX + 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    many = GET + b"X: 1\r\n" * HEADERS_COUNT_MAX + b"\r\n"
    for sent in (large, long, many):
        step = -(-len(sent) // pieces)
        parts = [sent[i : i + step] for i in range(0, len(sent), step)]
        answers = exchange(impatient.url, *parts, pause_seconds=0.05)
        assert {answer.status for answer in answers} <= {400, 431}


def test_headers_within_their_bounds_are_served(impatient: RunningRoom) -> None:
    assert ask(impatient.url, GET + b"X: 1\r\n" * (HEADERS_COUNT_MAX - 1) + b"\r\n").status == 200
    assert ask(impatient.url, GET + b"X: " + b"a" * (HEADERS_BYTES_MAX - 200) + b"\r\n\r\n").status == 200


def test_a_submission_that_stalls_is_refused_and_may_be_tried_again(impatient: RunningRoom) -> None:
    with connect(impatient.url) as sock:
        begun = time.monotonic()
        sock.sendall(post_csv("alice", b"id\n1\n", Content_Length="1000"))
        answer = reply(sock)
        assert (answer.status, answer.code) == (400, "upload-incomplete")
        assert SHORT <= time.monotonic() - begun < SHORT + SLACK
    assert submitted(impatient.url) == set()
    assert ask(impatient.url, post_csv("alice", b"id\n1\n1\n")).code == "duplicate-row"


def test_a_submission_that_drips_is_refused_after_its_grace(impatient: RunningRoom) -> None:
    with connect(impatient.url) as sock:
        begun = time.monotonic()
        sock.sendall(post_csv("alice", b"id\n", Content_Length="1000000"))
        said = b""
        while not said and time.monotonic() - begun < 2 * SHORT + SLACK:
            sock.sendall(b"12345\n")
            said, _ = everything(sock, SHORT / 5)
        assert time.monotonic() - begun >= 2 * SHORT
        assert [answer.code for answer in replies(said)] == ["upload-incomplete"]


@pytest.mark.parametrize("path", ["/plan", "/releases"])
def test_a_question_that_drips_or_stalls_is_refused(path: str, impatient: RunningRoom) -> None:
    start = request("POST", path, {**bearer("alice"), "Content-Length": "10000"})
    for drops in (b" ", b""):
        said = drip(impatient.url, start, drops)
        assert [(answer.status, answer.code) for answer in replies(said)] == [(408, "request-too-slow")]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_question_above_its_bound_is_refused_whatever_is_still_to_come(chunked: bool, impatient: RunningRoom) -> None:
    size = JSON_BODY_BYTES_MAX + 1
    head = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(100 * size)}
    body = b"%x\r\n" % (100 * size) + b" " * size if chunked else b" " * size
    with connect(impatient.url) as sock:
        sock.sendall(request("POST", "/plan", head) + body)
        answer = reply(sock)
    assert (answer.status, answer.code) == (413, "request-too-large")


def test_a_question_within_its_bound_is_answered(impatient: RunningRoom) -> None:
    body = b'{"statistic": "union_cardinality", "epsilon": "1"}'.ljust(JSON_BODY_BYTES_MAX)
    assert ask(impatient.url, request("POST", "/plan", {}, body)).status == 200


def test_a_large_body_that_nobody_asked_for_does_not_hinder_the_answer(impatient: RunningRoom) -> None:
    for size in (10_000, DISCARDED_BODY_BYTES_MAX // 2):
        with connect(impatient.url) as sock:
            sock.sendall(request("GET", "/healthz", {"Content-Length": str(size)}))
            assert reply(sock).status == 200
            sock.sendall(b"a" * size)
            sock.sendall(request("GET", "/room"))  # what comes after it is the next request
            assert reply(sock).body.startswith(b'{"state"')


def test_a_refused_upload_that_keeps_sending_gets_its_answer_and_is_then_cut_off() -> None:
    with running_room(AGREEMENT) as room:  # in which alice submits, in the end
        for start in (
            request("POST", "/submissions", {"Content-Length": str(2**30), "Content-Type": "text/csv"}),
            post_csv("alice", b"id\n1\n1\n" + b"x" * 2**20, Content_Length=str(2**30), Content_Type="image/png"),
            post_csv("alice", b"3\r\na,b\r\n1\r\n\n\r\n40000000\r\n", Transfer_Encoding="chunked"),
        ):
            sent, said = flood(room.url, start, b"1\n" * 2**15, 2**28)
            assert sent < DISCARDED_BODY_BYTES_MAX + BUFFERS_BYTES_MAX
            if said:  # the last of them is refused only once a block of it has come
                assert [answer.status for answer in replies(said)] in ([401], [415])
        assert submit(room.url, "alice", b"id\n1\n").status_code == 201


def test_a_client_that_does_not_read_is_cut_off() -> None:
    short = limits(WRITE_SECONDS_MAX=SHORT, KEEP_ALIVE_SECONDS_MAX=SHORT)
    with launched_room(AGREEMENT, before=short) as room:
        with connect(room.url, receive_buffer=4096) as sock:
            sock.settimeout(SHORT)
            begun = time.monotonic()
            with contextlib.suppress(OSError):
                while time.monotonic() - begun < 10:
                    sock.sendall(request("GET", "/openapi.json"))
                    time.sleep(0.002)
            until = time.monotonic() + 2 * SHORT + SLACK
            while sockets(room.pid) > 1 and time.monotonic() < until:
                time.sleep(0.1)
            assert sockets(room.pid) == 1  # the one that listens
        assert httpx.get(room.url + "/healthz").status_code == 200


def test_requests_that_nobody_reads_the_answers_of_do_not_pile_up(patient: RunningRoom) -> None:
    before = resident_bytes(patient.pid)
    with connect(patient.url, receive_buffer=4096) as sock:
        sock.settimeout(SHORT)
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - begun < 3:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 1000)
        assert resident_bytes(patient.pid) - before < 32 * 2**20
    assert httpx.get(patient.url + "/healthz", timeout=5).status_code == 200


def test_two_hundred_idle_connections_hinder_nobody(patient: RunningRoom) -> None:
    with contextlib.ExitStack() as stack:
        for i in range(200):
            sock = stack.enter_context(connect(patient.url))
            if i % 2:
                sock.sendall(GET)
        for _ in range(5):
            begun = time.monotonic()
            assert httpx.get(patient.url + "/healthz").status_code == 200
            assert time.monotonic() - begun < 1
        twice = csv_of([str(i) for i in range(1000)] * 2)
        assert submit(patient.url, "alice", twice).json()["code"] == "duplicate-row"


def test_the_real_limits_are_in_force() -> None:
    """All at the same time, in about 20 seconds."""
    question = request("POST", "/plan", {"Content-Length": "10000"})
    cases: dict[str, tuple[float, bytes, bytes, list[int]]] = {
        "headers": (HEADER_SECONDS_MAX, GET, b"X: 1\r\n", []),
        "nothing": (HEADER_SECONDS_MAX, b"", b"", []),
        "keep-alive": (KEEP_ALIVE_SECONDS_MAX, GET + b"\r\n", b"", [200]),
        "question": (BODY_SECONDS_MAX, question, b" ", [408]),
        "submission": (BODY_IDLE_SECONDS_MAX, post_csv("alice", b"id\n", Content_Length="1000"), b"", [400]),
    }
    results: dict[str, tuple[float, bytes]] = {}  # in which there is nothing of a case that did not come to its end
    with running_room(AGREEMENT) as room:

        def run(name: str) -> None:
            _, start, drops, _ = cases[name]
            with connect(room.url) as sock:
                begun = time.monotonic()
                sock.sendall(start)
                said = b""
                while time.monotonic() - begun < 2 * BODY_IDLE_SECONDS_MAX + SLACK:
                    got, ended = everything(sock, 0.5)
                    said += got
                    if ended or (said and name in ("question", "submission")):
                        results[name] = (time.monotonic() - begun, said)
                        return
                    with contextlib.suppress(OSError):
                        sock.sendall(drops)

        threads = [threading.Thread(target=run, args=(name,)) for name in cases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name, (limit, _, _, answers) in cases.items():
        seconds, said = results[name]
        assert limit - 1 <= seconds <= limit + SLACK, name
        assert [answer.status for answer in replies(said)] == answers, name


def test_the_limits_are_the_ones_that_were_agreed() -> None:
    assert (HEADER_SECONDS_MAX, BODY_SECONDS_MAX, BODY_IDLE_SECONDS_MAX, KEEP_ALIVE_SECONDS_MAX) == (10, 10, 20, 10)


# Pipelining, and what is no HTTP.


def test_pipelined_requests_are_answered_in_their_order(impatient: RunningRoom) -> None:
    plan = request("POST", "/plan", {}, b'{"statistic": "union_cardinality", "epsilon": "1"}')
    sent = b"".join(
        [request("GET", "/healthz"), plan, request("GET", "/nowhere"), request("GET", "/budgets", bearer("bob"))] * 8
    )
    answers = exchange(impatient.url, sent, seconds=SHORT + SLACK)
    assert [answer.status for answer in answers] == [200, 200, 404, 200] * 8
    assert {len(answer.body) for answer in answers[0::4]} == {15}


def test_a_request_before_garbage_gets_its_own_answer(impatient: RunningRoom) -> None:
    ask_early = request("POST", "/releases", bearer("alice"), b'{"statistic": "union_cardinality", "epsilon": "1"}')
    answers = exchange(impatient.url, ask_early, b"\0garbage\r\n\r\n", pause_seconds=0.02, seconds=SHORT + SLACK)
    assert answers[0].code == "room-not-open"
    assert [answer.status for answer in answers[1:]] in ([], [400])


def garbage() -> Iterator[bytes]:
    source = random.Random(7)
    yield from (
        b"\0" * 100,
        b"\r\n" * 100,
        b"\xff" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    )
    yield from (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b" \r\n\r\n",
    )
    valid = request("POST", "/plan", bearer("alice"), b'{"statistic": "union_cardinality", "epsilon": "1"}')
    for _ in range(60):
        broken = bytearray(valid)
        for _ in range(source.randint(1, 4)):
            broken[source.randrange(len(broken))] = source.randrange(256)
        yield bytes(broken)
        yield source.randbytes(source.randint(1, 400))
        yield valid[: source.randrange(len(valid))] + valid[source.randrange(len(valid)) :]


def test_garbage_gets_no_5xx_and_leaves_no_traceback() -> None:
    with launched_room(AGREEMENT, before=limits(HEADER_SECONDS_MAX=0.2, BODY_SECONDS_MAX=0.2)) as room:
        statuses: set[int] = set()
        for sent in garbage():
            answers = exchange(room.url, sent, seconds=0.1)
            statuses |= {answer.status for answer in answers}
            for answer in answers:
                if answer.status >= 400:
                    assert answer.code
        assert statuses <= {200, 400, 404, 405, 408, 413, 422}
        assert 400 in statuses
        assert state(room.url) == "collecting"
        room.stop()
        for trace in ("Traceback", "exception=", "unexpected-error"):
            assert trace not in room.stderr
