"""Requests that two parsers could read differently, or that try to be somebody else: refused, and nothing is echoed."""

from collections.abc import Iterator

import pytest

from support.server import RunningRoom, agreement_text, bearer, running_room
from support.wire import ask, connect, everything, exchange, post_csv, replies, reply, request, state, submitted

HEADER = "X-OBLV-User-Name"
EVIL = "evil-canary.example"
QUESTION = b'{"statistic": "union_cardinality", "epsilon": "1"}'


@pytest.fixture(scope="module")
def room() -> Iterator[RunningRoom]:
    """A room behind a proxy, which takes away the header that a client sends and sets its own."""
    with running_room(agreement_text({"alice": "50", "bob": "50"}), trusted_header=HEADER) as running:
        yield running


def raw(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


NAMED = f"{HEADER}: alice"
CHUNKS = b"32\r\n" + QUESTION + b"\r\n0\r\n\r\n"
NOT_HTTP = {
    "length and chunks": raw("POST /plan HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked", body=CHUNKS),
    "chunks and length": raw("POST /plan HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 5", body=CHUNKS),
    "two lengths": raw("POST /plan HTTP/1.1", "Content-Length: 50", "Content-Length: 5", body=QUESTION),
    "the same length twice": raw("POST /plan HTTP/1.1", "Content-Length: 50", "Content-Length: 50", body=QUESTION),
    "a list of lengths": raw("POST /plan HTTP/1.1", "Content-Length: 50, 50", body=QUESTION),
    "a length with a sign": raw("POST /plan HTTP/1.1", "Content-Length: +50", body=QUESTION),
    "a length in hex": raw("POST /plan HTTP/1.1", "Content-Length: 0x32", body=QUESTION),
    "a length in other digits": raw("POST /plan HTTP/1.1", "Content-Length: \xb2\xb9", body=QUESTION),
    "a length without end": raw("POST /plan HTTP/1.1", f"Content-Length: {'9' * 40}", body=QUESTION),
    "almost chunks": raw("POST /plan HTTP/1.1", "Transfer-Encoding: xchunked", body=CHUNKS),
    "chunks not last": raw("POST /plan HTTP/1.1", "Transfer-Encoding: chunked, identity", body=CHUNKS),
    "a space before the colon": raw("POST /plan HTTP/1.1", "Transfer-Encoding : chunked", body=CHUNKS),
    "the size of a chunk with a sign": raw("POST /plan HTTP/1.1", "Transfer-Encoding: chunked", body=b"+" + CHUNKS),
    "the size of a chunk in C": raw("POST /plan HTTP/1.1", "Transfer-Encoding: chunked", body=b"0x" + CHUNKS),
    "a header that goes on": raw("GET /budgets HTTP/1.1", "X-A: b", f" {NAMED}"),
    "a header after CR alone": raw("GET /budgets HTTP/1.1", f"X-A: b\r{NAMED}"),
    "line ends of LF alone": raw("GET /budgets HTTP/1.1", f"X-A: b\n{NAMED}"),
    "a NUL in a header": raw("GET /budgets HTTP/1.1", f"{NAMED}\0"),
    "a name with a space": raw("GET /budgets HTTP/1.1", f"{HEADER} : alice"),
    "a name that is no token": raw("GET /budgets HTTP/1.1", "X(y): z", NAMED),
    "no name": raw("GET /budgets HTTP/1.1", ": alice", NAMED),
    "a path that is no ASCII": raw("GET /releases/\xb9 HTTP/1.1", NAMED),
    "a tunnel": raw("CONNECT room:80 HTTP/1.1", NAMED),
    "an address without a path": raw(f"GET http://{EVIL} HTTP/1.1", NAMED),
    "HTTP/2": raw("PRI * HTTP/2.0", "", "SM"),
    "HTTP/1.2": raw("GET /room HTTP/1.2", NAMED),
    "another method": raw("HELO /room HTTP/1.1", NAMED),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
}


@pytest.mark.parametrize("what", NOT_HTTP)
def test_what_is_not_http_is_told_so_and_is_the_last_thing_on_its_connection(what: str, room: RunningRoom) -> None:
    with connect(room.url) as sock:
        sock.sendall(NOT_HTTP[what] + request("GET", "/healthz"))
        got, ended = everything(sock, 3)
    assert ended
    (answer,) = replies(got)
    assert (answer.status, answer.code) == (400, "bad-request")
    assert answer.headers["connection"] == "close"
    assert state(room.url) == "collecting"


@pytest.mark.parametrize("where", ["with the rest", "later"])
def test_a_trailer_is_no_header(where: str, room: RunningRoom) -> None:
    """A proxy takes the header out of the headers; trailers it may pass on."""
    for path in ("/submissions", "/psi/submit_list", "/close", "/releases"):
        head = raw(f"POST {path} HTTP/1.1", "Transfer-Encoding: chunked", "Content-Type: text/csv", "TE: trailers")
        rest = b"5\r\nid\n1\n\r\n0\r\n" + raw(NAMED, "Authorization: Bearer test-token-of-alice")
        pieces = [head + rest] if where == "with the rest" else [head, rest]
        answers = exchange(room.url, *pieces, pause_seconds=0.1, seconds=0.3)
        assert [answer.status for answer in answers] == [401]
    assert (state(room.url), submitted(room.url)) == ("collecting", set())


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "nonsense"])
@pytest.mark.parametrize("outer", ["POST /plan", "GET /healthz", "POST /submissions", "GET /nowhere"])
def test_the_body_of_a_request_for_another_protocol_is_never_read_as_a_request(
    outer: str, protocol: str, room: RunningRoom
) -> None:
    """llhttp stops at such a request, and goes on at its body; a proxy passes both on as one."""
    inner = request("POST", "/close", {HEADER: "bob"})
    for framing, body in [
        (f"Content-Length: {len(inner)}", inner),
        ("Transfer-Encoding: chunked", b"%x\r\n" % len(inner) + inner + b"\r\n0\r\n\r\n"),
        ("X-No-Body: 1", inner),
    ]:
        head = raw(f"{outer} HTTP/1.1", "Connection: Upgrade, X", f"Upgrade: {protocol}", framing)
        for pieces in ([head + body], [head, body]):
            answers = exchange(room.url, *pieces, pause_seconds=0.15, seconds=0.4)
            assert len(answers) <= 1
            assert all(answer.headers["connection"] == "close" for answer in answers)
            assert state(room.url) == "collecting"


def test_a_client_that_offers_http2_is_served_in_http1(room: RunningRoom) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    assert ask(room.url, request("GET", "/healthz", headers)).status == 200
    refused = ask(room.url, request("POST", "/plan", headers, QUESTION))
    assert (refused.status, refused.code) == (400, "bad-request")  # said plainly: its body cannot be read


def test_a_client_refused_before_it_sends_its_body_cannot_swallow_the_next_request(room: RunningRoom) -> None:
    """It was told 401 instead of 100, and sends no body; what comes next on the connection is not the body."""
    with connect(room.url) as sock:
        fields = {"Content-Length": "500", "Content-Type": "text/csv", "Expect": "100-continue"}
        sock.sendall(request("POST", "/submissions", fields))
        answer = reply(sock)
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert everything(sock, 3) == (b"", True)


def test_a_client_told_to_continue_keeps_its_connection(room: RunningRoom) -> None:
    with connect(room.url) as sock:
        sock.sendall(post_csv("alice", b"", Content_Length="8", Expect="100-Continue"))
        assert reply(sock).status == 100
        sock.sendall(b"id\n1\n1\n\n")
        answer = reply(sock)
        assert answer.status == 422
        assert "connection" not in answer.headers
        sock.sendall(request("GET", "/healthz"))
        assert reply(sock).status == 200


REPEATED = {
    "token twice": ["Authorization: Bearer test-token-of-alice"] * 2,
    "two tokens": ["Authorization: Bearer test-token-of-alice", "authorization: Bearer test-token-of-bob"],
    "tokens in a list": ["Authorization: Bearer test-token-of-alice, Bearer test-token-of-alice"],
    "name twice": [NAMED, NAMED],
    "two names": [NAMED, f"{HEADER.lower()}: bob"],
    "name and another's token": [NAMED, "Authorization: Bearer test-token-of-bob"],
    "name with underscores": ["X_OBLV_User_Name: alice"],
    "name after a no-break space": [f"{HEADER}: \xa0alice"],
    "name in capitals": [f"{HEADER}: ALICE"],
    "token in the path": [],
}


@pytest.mark.parametrize("what", REPEATED)
def test_headers_that_contradict_or_repeat_are_nobody(what: str, room: RunningRoom) -> None:
    answer = ask(room.url, raw("GET /budgets?token=test-token-of-alice HTTP/1.1", *REPEATED[what]))
    assert (answer.status, answer.code) == (401, "unauthenticated")


def test_a_scheme_in_any_case_and_two_spaces_are_still_the_party(room: RunningRoom) -> None:
    for authorization in ("bearer test-token-of-alice", "BEARER  test-token-of-alice"):
        assert ask(room.url, raw("GET /budgets HTTP/1.1", f"aUTHORIZATION: {authorization}")).status == 200


@pytest.mark.parametrize(
    "path",
    ["/room/", "/budgets/", "/releases/", "//room", f"//{EVIL}/room", "/room/..;/budgets", "/%2e%2e/room", "/room%00",
     "/ROOM", "/room;x=1", f"/{EVIL}%0d%0aSet-Cookie:x=1", "/releases/1/", "/psi/compare/", "/docs", "/redoc",
     "/static", "/.git/config", "/openapi.yaml", "*"],
)  # fmt: skip
def test_a_path_that_is_not_one_is_not_found_and_nobody_is_sent_elsewhere(path: str, room: RunningRoom) -> None:
    answer = ask(room.url, request("GET", path, {"Host": EVIL, "X-Forwarded-Host": EVIL, **bearer("alice")}))
    assert (answer.status, answer.code) == (404, "not-found")
    assert "location" not in answer.headers
    assert EVIL not in str(answer)


def test_an_absolute_address_names_no_other_host(room: RunningRoom) -> None:
    answer = ask(room.url, raw(f"GET http://{EVIL}/room HTTP/1.1", f"Host: {EVIL}"))
    assert answer.status == 200
    assert EVIL not in str(answer)


NUMBERS = ["0", "-1", "100001", "1e1", "0x1", "%EF%BC%91", "%C2%B2", "NaN", "9" * 5000, "%00", "1%00", "%2F", "1%2F"]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_number_of_a_release_is_a_number_within_bounds(number: str, room: RunningRoom) -> None:
    answer = ask(room.url, request("GET", f"/releases/{number}", bearer("alice")))
    assert answer.code in ("request-invalid", "not-found", "release-not-found")
    assert answer.status in (404, 422)
    assert number not in answer.body.decode() or len(number) < 3


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_other_methods_are_not_allowed_and_change_nothing(method: str, room: RunningRoom) -> None:
    for path in ("/healthz", "/room", "/close", "/releases", "/submissions", "/releases/1", "/psi/compare"):
        with connect(room.url) as sock:
            sock.sendall(request(method, path, {**bearer("alice"), "X-Canary": EVIL, "Connection": "close"}))
            got, ended = everything(sock, 3)
        head, _, body = got.partition(b"\r\n\r\n")
        assert ended
        assert head.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nallow: " in head
        assert (body == b"") == (method == "HEAD")
        assert EVIL.encode() not in got
    assert state(room.url) == "collecting"


@pytest.mark.parametrize("version", ["HTTP/1.0", ""])
def test_old_clients_are_served_and_their_connection_ends(version: str, room: RunningRoom) -> None:
    with connect(room.url) as sock:
        sock.sendall(f"GET /healthz {version}".strip().encode() + b"\r\n\r\n")
        got, ended = everything(sock, 3)
    assert ended
    assert [answer.body for answer in replies(got)] == [b'{"status":"ok"}']


def test_an_old_client_cannot_be_made_to_read_two_answers(room: RunningRoom) -> None:
    with connect(room.url) as sock:
        sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n" + request("GET", "/room"))
        got, ended = everything(sock, 3)
    assert ended
    assert len(replies(got)) == 1


JSON = {
    "an exponent beyond bounds": b'{"statistic": "union_cardinality", "epsilon": 1e99999999999999999999}',
    "a small exponent beyond bounds": b'{"statistic": "union_cardinality", "epsilon": 1e-99999999999999999999}',
    "digits without end": b'{"statistic": "union_cardinality", "epsilon": ' + b"9" * 16_000 + b"}",
    "decimals without end": b'{"statistic": "union_cardinality", "epsilon": 0.' + b"1" * 16_000 + b"}",
    "depth": b"[" * 16_000,
    "depth of objects": b'{"a":' * 3_000,
    "half a pair": b'{"statistic": "\\ud800", "epsilon": "1"}',
    "half a pair as a party": b'{"statistic": "union_cardinality", "epsilon": "1", "parties": ["\\ud800", "bob"]}',
    "other digits": '{"statistic": "union_cardinality", "epsilon": "\u0661"}'.encode(),
    "a list": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "nothing": b"",
    "NaN": b'{"statistic": "union_cardinality", "epsilon": NaN}',
    "true": b'{"statistic": "union_cardinality", "epsilon": true}',
    "a name twice": b'{"statistic": "union_cardinality", "epsilon": "1", "epsilon": "2"}',
    "another field": b'{"statistic": "union_cardinality", "epsilon": "1", "evil-canary.example": 1}',
    "UTF-16": QUESTION.decode().encode("utf-16")[:-1],
    "not UTF-8": QUESTION.replace(b"union", b"\xff"),
    "one party": b'{"statistic": "union_cardinality", "epsilon": "1", "parties": ["bob"]}',
    "a party twice": b'{"statistic": "union_cardinality", "epsilon": "1", "parties": ["bob", "bob"]}',
    "a stranger": b'{"statistic": "union_cardinality", "epsilon": "1", "parties": ["bob", "evil-canary.example"]}',
    "a statistic": b'{"statistic": "evil-canary.example", "epsilon": "1"}',
    "negative": b'{"statistic": "union_cardinality", "epsilon": -1}',
    "too much": b'{"statistic": "union_cardinality", "epsilon": 101}',
    "too fine": b'{"statistic": "union_cardinality", "epsilon": 0.0000000001}',
}


@pytest.mark.parametrize("path", ["/plan", "/releases"])
@pytest.mark.parametrize("what", JSON)
def test_a_question_that_makes_no_sense_is_refused_and_not_echoed(what: str, path: str, room: RunningRoom) -> None:
    answer = ask(
        room.url, request("POST", path, {**bearer("alice"), "Content-Length": str(len(JSON[what]))}, JSON[what])
    )
    assert answer.status == 422
    assert answer.code in ("request-invalid", "epsilon-invalid", "question-invalid")
    assert EVIL not in str(answer)


def test_nothing_of_all_that_was_logged(room: RunningRoom) -> None:
    for trace in ("Traceback", "exception=", "unexpected-error", EVIL, "test-token-of", "ALICE"):
        assert trace not in room.stderr
