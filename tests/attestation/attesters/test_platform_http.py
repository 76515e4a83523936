"""One HTTP exchange with a platform's service: whole, or not at all, and soon."""

import socket
import time

import pytest

from support.platform import chunked, dripping, raw, serving, silent, whole
from vesica_attestation._platform_http import ExchangeFailed, Request, Service, exchange

MAX = 5000
POST = Request("/x", {"a": 1})


def ask(path, reply, seconds_max=5.0, bytes_max=MAX, request=POST):
    with serving(path / "s", reply) as seen:
        return exchange(Service(seen.address, seconds_max), request, bytes_max), seen


@pytest.mark.parametrize("size", [0, 1, 4999, MAX])
@pytest.mark.parametrize("way", [lambda body: whole(200, body), chunked], ids=["whole", "chunked"])
def test_a_whole_answer_is_returned_byte_for_byte(tmp_path, way, size):
    body = bytes(number % 251 for number in range(size))
    answer, seen = ask(tmp_path, way(body))
    assert (answer.status, answer.body) == (200, body)
    (asked,) = seen.requests
    assert (asked.method, asked.target, asked.document) == ("POST", "/x", {"a": 1})
    assert asked.headers["host"] == "localhost"
    assert asked.headers["content-type"] == "application/json"


def test_without_a_document_it_is_a_get_with_the_headers_given(tmp_path):
    _, seen = ask(tmp_path, whole(200, b"x"), request=Request("/y", headers={"Metadata": "true"}))
    (asked,) = seen.requests
    assert (asked.method, asked.target, asked.headers["metadata"], asked.body) == ("GET", "/y", "true", b"")


def test_an_error_is_returned_with_its_status(tmp_path):
    answer, _ = ask(tmp_path, whole(500, b"no"))
    assert (answer.status, answer.body) == (500, b"no")


def test_a_redirect_is_not_followed(tmp_path):
    answer, seen = ask(tmp_path, raw(b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"))
    assert answer.status == 302
    assert len(seen.requests) == 1


@pytest.mark.parametrize("way", [lambda body: whole(200, body), chunked], ids=["whole", "chunked"])
def test_an_answer_that_is_too_large_is_refused(tmp_path, way):
    with pytest.raises(ExchangeFailed, match="more than 5000 bytes"):
        ask(tmp_path, way(b"x" * (MAX + 1)))


BROKEN = {
    "nothing": b"",
    "not HTTP": b"hello\r\n\r\n",
    "half a status": b"HTTP/1.1 2",
    "half the headers": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half the body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "no body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "a chunk of no length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    "no length": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_is_cut_off_or_has_no_end_is_refused_and_not_quoted(tmp_path, data):
    with pytest.raises(ExchangeFailed) as caught:
        ask(tmp_path, raw(data))
    assert "hello" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "reply",
    [
        silent(3),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100, 0.05),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100, 0.05),
    ],
    ids=["silent", "drips", "drips chunks"],
)
def test_a_server_that_says_nothing_or_dribbles_is_left_in_time(tmp_path, reply):
    started = time.monotonic()
    with serving(tmp_path / "s", reply) as seen:
        with pytest.raises(ExchangeFailed, match="no whole answer"):
            exchange(Service(seen.address, 0.4), Request("/x", {}), MAX)
        assert 0.3 < time.monotonic() - started < 1.5


def test_a_server_whose_queue_is_full_is_not_waited_for(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(tmp_path / "full"))
        listener.listen(0)
        waiting.connect(str(tmp_path / "full"))
        with pytest.raises(ExchangeFailed, match="cannot be reached"):
            exchange(Service(tmp_path / "full", 0.3), Request("/x"), MAX)


def test_no_socket_a_dead_socket_and_a_path_that_is_too_long_are_errors(tmp_path):
    with pytest.raises(ExchangeFailed, match="no socket"):
        exchange(Service(tmp_path / "none", 1.0), Request("/x"), MAX)
    with serving(tmp_path / "dead", whole(200, b"")):
        pass
    with pytest.raises(ExchangeFailed, match="Connection refused"):
        exchange(Service(tmp_path / "dead", 1.0), Request("/x"), MAX)
    with pytest.raises(ExchangeFailed, match="cannot be reached"):
        exchange(Service(tmp_path / ("x" * 200), 1.0), Request("/x"), MAX)
