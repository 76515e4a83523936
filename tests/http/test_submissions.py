"""``POST /submissions`` over the wire: what is taken, what is refused, and that a refused one leaves nothing behind."""

import contextlib
import gzip
import json
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.launch import launched_room, limits
from support.server import RunningRoom, agreement_text, bearer, party_token, running_room
from support.wire import (
    BOUNDARY,
    PROBLEM,
    Reply,
    ask,
    connect,
    count,
    csv_of,
    everything,
    part,
    post_csv,
    post_form,
    release,
    replies,
    reply,
    request,
    state,
    submit,
    submitted,
)
from vesica import errors
from vesica.limits import JSON_BODY_BYTES_MAX, RECORD_BYTES_MAX, SUBMISSION_BYTES_MAX, VALUE_BYTES_MAX
from vesica_routes import problems

CURL = shutil.which("curl")
CANARY = "canary-cell-6b1f"

# Every value is different, and at least one way of sending or reading a file would get it wrong.
AWKWARD_IDS = [
    "007", "7", "NA", "null", "1e5", "100000", "9007199254740993", "=1+1", "caf\u00e9", "cafe\u0301", "\U0001f40d",
    "\ufeff", " padded ", "a+b%20c&d=e", "@list.csv", "--" + BOUNDARY[:-1], 'quote "inside"', "comma, inside",
    "line\nbreak", "line\r\nbreak", "line\rbreak", "\r\n" * 40 + "x", "\r" * 40 + "y", "\t", "a" * 4000,
    f"\r\n--{BOUNDARY[:-1]}\r\n--{BOUNDARY[:4]}\r\n\r\n--",
]  # fmt: skip
AWKWARD = ("\ufeffid\r\n" + "".join('"' + v.replace('"', '""') + '"\r\n' for v in AWKWARD_IDS)).encode()


def curl(*arguments: str, url: str, party: str) -> tuple[int, dict[str, object]]:
    assert CURL is not None
    command = [CURL, "--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}"]
    command += ["-H", f"Authorization: Bearer {party_token(party)}", *arguments, url + "/submissions"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=40)
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), json.loads(body)


def read(answer: Reply) -> tuple[int, dict[str, object]]:
    return answer.status, json.loads(answer.body)


def answered(answer: httpx.Response) -> tuple[int, dict[str, object]]:
    return answer.status_code, answer.json()


def drop_by_drop(url: str, data: bytes) -> tuple[int, dict[str, object]]:
    """Byte by byte, so that every token of every parser is cut somewhere."""
    with connect(url) as sock:
        for i in range(len(data)):
            sock.sendall(data[i : i + 1])
        return read(reply(sock))


Way = Callable[[str, str, Path], tuple[int, dict[str, object]]]


def by_curl(*arguments: str) -> Way:
    def way(url: str, party: str, file: Path) -> tuple[int, dict[str, object]]:
        return curl(*(a.replace("FILE", str(file)) for a in arguments), url=url, party=party)

    return way


def httpx_form(url: str, party: str, _: Path) -> tuple[int, dict[str, object]]:
    files = {"csv_file": ("list.csv", AWKWARD, "text/csv")}
    return answered(httpx.post(url + "/submissions", headers=bearer(party), files=files, timeout=30))


def chunked(url: str, party: str, _: Path) -> tuple[int, dict[str, object]]:
    return answered(submit(url, party, (bytes([b]) for b in AWKWARD)))


def raw_drops(url: str, party: str, _: Path) -> tuple[int, dict[str, object]]:
    return drop_by_drop(url, post_csv(party, AWKWARD, Content_Type='Text/CSV; charset="UTF-8"; header=present'))


def form_drops(url: str, party: str, _: Path) -> tuple[int, dict[str, object]]:
    return drop_by_drop(url, post_form(party, part(AWKWARD)))


def rich_form(url: str, party: str, _: Path) -> tuple[int, dict[str, object]]:
    """All that a form may have: a line end before, other headers, an epilogue."""
    headers = ("Content-Type: text/csv", "content-transfer-encoding: 8BIT", "X-Other: y")
    end = f"--{BOUNDARY}--\r\nan epilogue".encode()
    return read(ask(url, post_form(party, b"\r\n", part(AWKWARD, "form-data; name=csv_file", *headers), end=end)))


WAYS: dict[str, Way] = {
    "curl -F": by_curl("-F", "csv_file=@FILE"),
    "curl -F, hostile file name": by_curl("-F", 'csv_file=@FILE;type=text/csv;filename="../../etc/\\"x; name=x"'),
    "curl --data-binary": by_curl("--data-binary", "@FILE"),
    "curl --data-binary as text/csv": by_curl("-H", "Content-Type: text/csv", "--data-binary", "@FILE"),
    "curl --data-binary without a type": by_curl("-H", "Content-Type:", "--data-binary", "@FILE"),
    "curl -T, chunked": by_curl("-X", "POST", "-H", "Transfer-Encoding: chunked", "-T", "FILE"),
    "curl as HTTP/1.0": by_curl("--http1.0", "-F", "csv_file=@FILE"),
    "httpx form": httpx_form,
    "chunked, a byte a chunk": chunked,
    "raw, drop by drop": raw_drops,
    "form, drop by drop": form_drops,
    "form with all that a form may have": rich_form,
}


@pytest.fixture(scope="module")
def uploaded(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, dict[str, tuple[int, dict[str, object]]]]]:
    """A room of twelve, each of whom sends the same list in another way."""
    file = tmp_path_factory.mktemp("list") / "list.csv"
    file.write_bytes(AWKWARD)
    with running_room(agreement_text({f"p{i:02}": "100" for i in range(12)})) as room:
        outcome = {}
        for i, (name, way) in enumerate(WAYS.items()):
            chosen = httpx_form if name.startswith("curl") and CURL is None else way  # the room needs all twelve
            outcome[name] = chosen(room.url, f"p{i:02}", file)
        yield room.url, outcome


@pytest.mark.parametrize("way", WAYS)
def test_a_list_is_taken_however_it_is_sent(
    way: str, uploaded: tuple[str, dict[str, tuple[int, dict[str, object]]]]
) -> None:
    if way.startswith("curl") and CURL is None:
        pytest.skip("the curl binary is not installed")
    party = f"p{list(WAYS).index(way):02}"
    status, answer = uploaded[1][way]
    assert status == 201
    assert (answer["party"], answer["rows"], answer["dropped"]) == (party, len(AWKWARD_IDS), 0)


def test_the_same_list_is_the_same_however_it_was_sent(uploaded: tuple[str, object]) -> None:
    assert count(uploaded[0], "p00") == len(AWKWARD_IDS)
    assert count(uploaded[0], "p00", statistic="union_cardinality") == len(AWKWARD_IDS)


# Refusals. Alice's submissions in this room are all refused; that she can send the next one is tested all along.


@pytest.fixture(scope="module")
def room() -> Iterator[RunningRoom]:
    with running_room(agreement_text({"alice": "60", "bob": "60"}, columns=["email", "name"])) as running:
        yield running


GOOD = b"email,name\na@example.org,ann\nb@example.org,bo\n"
TWICE = GOOD + b"a@example.org,ann\n"


def form_case(*parts: bytes, end: bytes | None = None) -> bytes:
    return post_form("alice", *parts) if end is None else post_form("alice", *parts, end=end)


def form_with(*headers: str) -> bytes:
    return form_case(part(GOOD, 'form-data; name="csv_file"', *headers))


def named(disposition: str, data: bytes = TWICE) -> bytes:
    return form_case(part(data, disposition))


def bounded_by(boundary: str) -> bytes:
    kind = f"multipart/form-data{boundary}"
    return request("POST", "/submissions", {**bearer("alice"), "Content-Type": kind}, GOOD)


NOTE = part(b"1", 'form-data; name="note"')
BASE64 = "Content-Transfer-Encoding: base64"
PRINTABLE = "Content-Transfer-Encoding: quoted-printable"
FORMS = {
    "another field": (named('form-data; name="file"', GOOD), "form-invalid"),
    "the field in capitals": (named('form-data; name="CSV_FILE"', GOOD), "form-invalid"),
    "the field in extended notation only": (named("form-data; name*=utf-8''csv_file", GOOD), "form-invalid"),
    "two names": (named('form-data; name="csv_file"; name="other"', GOOD), "form-invalid"),
    "a file name that holds the field": (named('form-data; filename="x\\"; name=\\"csv_file"', GOOD), "form-invalid"),
    "the field twice": (form_case(part(GOOD), part(GOOD)), "form-invalid"),
    "a second field": (form_case(part(GOOD), NOTE), "form-invalid"),
    "a second field first": (form_case(NOTE, part(GOOD)), "form-invalid"),
    "no field": (form_case(), "form-invalid"),
    "a part without headers": (form_case(f"--{BOUNDARY}\r\n\r\n".encode() + GOOD + b"\r\n"), "form-invalid"),
    "base64": (form_with(BASE64), "form-invalid"),
    "quoted-printable": (form_with(PRINTABLE), "form-invalid"),
    "no form at all": (form_case(GOOD, end=b""), "form-invalid"),
    "nothing": (form_case(end=b"\r\n"), "upload-incomplete"),
    "no last boundary": (form_case(part(GOOD), end=b""), "upload-incomplete"),
    "half a last boundary": (form_case(part(GOOD), end=f"--{BOUNDARY}-".encode()), "upload-incomplete"),
    "a long file name": (named(f'form-data; name="csv_file"; filename="{"n" * 9000}"'), "form-invalid"),
    "many headers": (form_with(*(f"X-{i}: y" for i in range(60))), "form-invalid"),
    "no boundary": (bounded_by(""), "form-invalid"),
    "an empty boundary": (bounded_by('; boundary=""'), "form-invalid"),
    "a boundary without end": (bounded_by(f"; boundary={'b' * 999}"), "form-invalid"),
    "a boundary that is no ASCII": (bounded_by("; boundary=\xe9"), "form-invalid"),
    # Read as forms should be, and refused for the file that they hold.
    "a path as file name": (named('form-data; name="csv_file"; filename="../../../tmp/x"'), "duplicate-row"),
    "a NUL in the file name": (named('form-data; name="csv_file"; filename="x%00\\0.csv"'), "duplicate-row"),
    "no file name": (named('form-data; name="csv_file"'), "duplicate-row"),
    "a file name that is no ASCII": (named('form-data; name="csv_file"; filename="\xe9\xff"'), "duplicate-row"),
    "an empty file": (form_case(part(b"")), "empty-file"),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_form_is_read_as_it_should_be_or_refused(case: str, room: RunningRoom) -> None:
    sent, code = FORMS[case]
    answer = ask(room.url, sent)
    assert answer.code == code
    assert answer.status == (400 if code == "upload-incomplete" else 422)
    assert "alice" not in submitted(room.url)


ZIPPED = gzip.compress(GOOD)
TYPES = {
    "gzip": ({"Content-Type": "text/csv", "Content-Encoding": "gzip"}, ZIPPED),
    "gzip, said second": (
        {"Content-Type": "text/csv", "Content-Encoding": "identity\r\nContent-Encoding: gzip"},
        ZIPPED,
    ),
    "latin-1": ({"Content-Type": "text/csv; charset=latin-1"}, GOOD),
    "latin-1 in quotes": ({"Content-Type": 'text/csv; charset="ISO-8859-1"'}, GOOD),
    "utf-16": ({"Content-Type": "text/csv; charset=utf-16"}, GOOD),
    "json": ({"Content-Type": "application/json"}, b"{}"),
    "an image": ({"Content-Type": "image/png"}, GOOD),
    "a form of another kind": ({"Content-Type": f"multipart/mixed; boundary={BOUNDARY}"}, part(GOOD)),
    "no type, but a charset": ({"Content-Type": ";;;==\x80; charset=x"}, GOOD),
}


@pytest.mark.parametrize("case", TYPES)
def test_a_body_of_another_type_or_coding_is_refused(case: str, room: RunningRoom) -> None:
    headers, body = TYPES[case]
    answer = ask(room.url, request("POST", "/submissions", {**bearer("alice"), **headers}, body))
    assert (answer.status, answer.code) == (415, "media-type-unsupported")
    assert "alice" not in submitted(room.url)


# Files. Each has the canary in the row that is wrong, and in the one before.

LINES = b"email,name\n" + f"{CANARY}@example.org,{CANARY}\n".encode()
FILES = {
    "ragged row": (LINES + f"{CANARY},x,y\n".encode(), "ragged-row", 3, None),
    "ragged row after line ends inside quotes": (
        f'email,name\r\n"{CANARY}\r\n\r\n",b\r\n{CANARY}\r\n'.encode(), "ragged-row", 5, None),
    "quote inside": (LINES + f'{CANARY}"x,y\n'.encode(), "bad-quote", 3, None),
    "quote never closed": (LINES + f'"{CANARY},y\n'.encode(), "bad-quote", 3, None),
    "not UTF-8": (LINES + CANARY.encode() + b"\xff,y\n", "not-utf-8", 3, None),
    "UTF-16": (LINES.decode().encode("utf-16"), "not-utf-8", 1, None),
    "NUL": (LINES + CANARY.encode() + b"\0,y\n", "nul-byte", 3, None),
    "empty value": (LINES + f"{CANARY},\n".encode(), "empty-value", 3, "name"),
    "empty value of the first column": (LINES + f",{CANARY}\n".encode(), "empty-value", 3, "email"),
    "value too long": (LINES + CANARY.encode() * VALUE_BYTES_MAX + b",y\n", "value-too-long", 3, None),
    "row too long": (LINES + b'"' + CANARY.encode() * (2 * RECORD_BYTES_MAX), "value-too-long", 3, None),
    "duplicate": (LINES + LINES.splitlines()[1] + b"\n", "duplicate-row", 3, None),
    "header of other names": (f"{CANARY},name\nx,y\n".encode(), "header-mismatch", 1, "email"),
    "header missing": (f"{CANARY},{CANARY}1\nx,y\n".encode(), "header-mismatch", 1, "email"),
    "header with a column twice": (f"{CANARY},{CANARY}\nx,y\n".encode(), "header-mismatch", 1, None),
    "header with a column more": (f"email,name,{CANARY}\nx,y,z\n".encode(), "header-mismatch", 1, None),
    "header without end": (CANARY.encode() * 200_000, "header-mismatch", 1, None),
    "empty": (b"", "empty-file", None, None),
    "only a header": (b"email,name\n", "empty-file", 1, None),
    "only a mark": (b"\xef\xbb\xbf", "empty-file", None, None),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("how", ["raw", "form"])
def test_a_refused_file_is_told_line_and_column_and_never_a_cell(how: str, case: str, room: RunningRoom) -> None:
    data, code, line, column = FILES[case]
    sent = post_csv("alice", data) if how == "raw" else post_form("alice", part(data))
    answer = ask(room.url, sent)
    document = json.loads(answer.body)
    assert (answer.status, answer.code) == (422, code)
    assert (document.get("line"), document.get("column")) == (line, column)
    assert CANARY.encode() not in answer.body
    assert CANARY not in str(answer.headers)
    assert "alice" not in submitted(room.url)


def test_after_any_number_of_refusals_the_party_may_submit_and_nothing_of_them_was_kept() -> None:
    with running_room(agreement_text({"alice": "60", "bob": "60"}, columns=["email", "name"])) as room:
        for data, *_ in FILES.values():
            assert ask(room.url, post_csv("alice", data)).status == 422
        for sent, _ in FORMS.values():
            assert ask(room.url, sent).status in (400, 422)
        assert submit(room.url, "alice", GOOD).json()["rows"] == 2
        rejected = b"".join(b"x%d@example.org,x\n" % i for i in range(50))
        assert submit(room.url, "bob", b"email,name\n" + rejected + rejected).status_code == 422
        assert submit(room.url, "bob", b"email,name\nb@example.org,bo\n").status_code == 201
        assert count(room.url, "alice") == 1
        assert count(room.url, "bob", statistic="union_cardinality", epsilon="10") == 2


# Bounds and identity, before the body.


def test_a_body_announced_above_the_limit_is_refused_before_it_is_sent(room: RunningRoom) -> None:
    for head in ({"Content-Type": "text/csv"}, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}):
        size = SUBMISSION_BYTES_MAX + 2**20
        with connect(room.url) as sock:
            begun = time.monotonic()
            sock.sendall(request("POST", "/submissions", {**bearer("alice"), **head, "Content-Length": str(size)}))
            answer = reply(sock)
            assert (answer.status, answer.code) == (413, "too-large")
            assert time.monotonic() - begun < 20  # a gigabyte was announced, and not waited for


@pytest.mark.parametrize("how", ["chunked", "form"])
def test_a_body_that_passes_the_limit_without_saying_so_is_refused(how: str) -> None:
    small = limits(SUBMISSION_BYTES_MAX=50_000, FORM_OVERHEAD_BYTES_MAX=500)
    with launched_room(agreement_text({"alice": "1", "bob": "1"}), before=small) as room:
        data = csv_of(f"{i:06}" for i in range(10_000))
        if how == "chunked":
            answer = submit(room.url, "alice", iter([data[i : i + 1000] for i in range(0, len(data), 1000)]))
        else:
            content = (piece for piece in [part(data), f"--{BOUNDARY}--\r\n".encode()])
            headers = {**bearer("alice"), "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
            answer = httpx.post(room.url + "/submissions", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
        assert submit(room.url, "alice", data[:49_993] + b"\n").status_code == 201


WRONG = [None, "Bearer wrong", f"Basic {party_token('alice')}", "Bearer ", f"Bearer {party_token('alice')} x"]


@pytest.mark.parametrize("authorization", WRONG)
def test_a_wrong_token_is_refused_before_the_body_is_asked_for(authorization: str | None, room: RunningRoom) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    with connect(room.url) as sock:
        fields = {**headers, "Content-Type": "text/csv", "Content-Length": "1000000", "Expect": "100-continue"}
        sock.sendall(request("POST", "/submissions", fields))
        got, _ = everything(sock, 0.5)
    (answer,) = replies(got)  # and no 100 Continue before it
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_right_token_is_told_to_continue(room: RunningRoom) -> None:
    with connect(room.url) as sock:
        sock.sendall(post_csv("alice", b"", Content_Length=str(len(TWICE)), Expect="100-continue"))
        assert reply(sock).status == 100
        sock.sendall(TWICE)
        assert reply(sock).code == "duplicate-row"


# One submission per party.


def test_of_twenty_uploads_at_once_one_is_taken_and_it_is_whole() -> None:
    lists = [csv_of(f"{i:02}-{row:05}" for row in range(3_000)) for i in range(20)]
    answers: dict[int, httpx.Response] = {}
    begin = threading.Barrier(20)

    def upload(i: int, url: str) -> None:
        def content() -> Iterator[bytes]:
            middle = len(lists[i]) // 2
            yield lists[i][:middle]
            time.sleep(0.4)  # all of them are in the middle of it now
            yield lists[i][middle:]

        begin.wait()
        answers[i] = submit(url, "alice", content())

    with running_room(agreement_text({"alice": "60", "bob": "60"})) as room:
        threads = [threading.Thread(target=upload, args=(i, room.url)) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        codes = sorted(answer.status_code for answer in answers.values())
        assert codes == [201] + [409] * 19
        assert {a.json()["code"] for a in answers.values() if a.status_code == 409} <= {
            "submission-in-progress",
            "already-submitted",
        }
        (winner,) = (i for i, answer in answers.items() if answer.status_code == 201)
        assert submit(room.url, "alice", lists[winner]).json()["code"] == "already-submitted"
        assert submit(room.url, "bob", lists[winner]).status_code == 201
        assert count(room.url, "bob") == 3_000
        assert count(room.url, "bob", statistic="union_cardinality", epsilon="10") == 3_000


@pytest.mark.parametrize("how", ["ended", "reset", "ended in a chunk", "ended in a form", "not HTTP any more"])
def test_an_upload_cut_in_the_middle_leaves_nothing_behind_and_may_be_tried_again(how: str) -> None:
    lost = csv_of(f"lost-{i}" for i in range(100_000))
    sent = {
        "ended": post_csv("alice", lost),
        "reset": post_csv("alice", lost),
        "ended in a chunk": post_csv("alice", b"ffffff\r\n" + lost, Transfer_Encoding="chunked"),
        "ended in a form": post_form("alice", part(lost)),
        "not HTTP any more": post_csv("alice", b"10\r\n" + lost, Transfer_Encoding="chunked"),
    }[how]
    with running_room(agreement_text({"alice": "60", "bob": "60"})) as room:
        sock = connect(room.url)
        with contextlib.suppress(OSError):
            sock.sendall(sent[: len(sent) // 2])
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        good = csv_of(f"kept-{i}" for i in range(500))
        until = time.monotonic() + 5
        while (answer := submit(room.url, "alice", good)).status_code == 409 and time.monotonic() < until:
            time.sleep(0.05)
        assert answer.status_code == 201
        assert submit(room.url, "bob", good + lost.partition(b"\n")[2]).status_code == 201
        assert count(room.url, "bob") == 500


def test_closing_the_room_ends_an_upload_at_its_next_byte_and_takes_nothing_of_it() -> None:
    with running_room(agreement_text({"alice": "60", "bob": "60"})) as room, connect(room.url) as sock:
        block = b"id\n" + b"".join(b"%07d\n" % i for i in range(200_000))
        sock.sendall(post_csv("alice", b"", Content_Length=str(2**30)) + block)
        time.sleep(0.3)
        assert httpx.post(room.url + "/close", headers=bearer("bob")).status_code == 200
        sock.sendall(block[3:].replace(b"0", b"a"))
        assert reply(sock, 5).code == "room-closed"


# Every error that HTTP can tell of, told.


def slow_room() -> contextlib.AbstractContextManager[RunningRoom]:
    return launched_room(agreement_text({"alice": "60", "bob": "60"}), before=limits(BODY_SECONDS_MAX=0.3))


def _too_slow(_: RunningRoom) -> Reply:
    with slow_room() as room, connect(room.url) as sock:
        sock.sendall(request("POST", "/plan", {"Content-Length": "100"}))
        return reply(sock)


def _in_progress(room: RunningRoom) -> Reply:
    with connect(room.url) as first:
        first.sendall(post_csv("carol", b"id\n1\n", Content_Length="100"))
        time.sleep(0.3)
        return ask(room.url, post_csv("carol", b"id\n1\n"))


def _of(party: str, data: bytes, **headers: str) -> Callable[[RunningRoom], Reply]:
    return lambda room: ask(room.url, post_csv(party, data, **headers))


def _form(*parts: bytes, **end: bytes) -> Callable[[RunningRoom], Reply]:
    return lambda room: ask(room.url, post_form("carol", *parts, **end))


def _ask(body: bytes) -> Callable[[RunningRoom], Reply]:
    return lambda room: ask(room.url, request("POST", "/releases", bearer("alice"), body))


def _question(epsilon: str) -> bytes:
    return b'{"statistic": "intersection_cardinality", "epsilon": "%s"}' % epsilon.encode()


CASES: dict[type[errors.VesicaError], tuple[int, str, Callable[[RunningRoom], Reply]]] = {
    errors.Unauthenticated: (401, "collecting", _of("nobody", b"id\n1\n")),
    errors.HeaderMismatch: (422, "collecting", _of("carol", b"id,b\n1,2\n")),
    errors.RaggedRow: (422, "collecting", _of("carol", b"id\n1,2\n")),
    errors.BadQuote: (422, "collecting", _of("carol", b'id\n1"\n')),
    errors.NotUtf8: (422, "collecting", _of("carol", b"id\n\xff\n")),
    errors.NulByte: (422, "collecting", _of("carol", b"id\n\0\n")),
    errors.EmptyValue: (422, "collecting", _of("carol", b"id\n\n")),
    errors.ValueTooLong: (422, "collecting", _of("carol", b"id\n" + b"1" * (VALUE_BYTES_MAX + 1) + b"\n")),
    errors.DuplicateRow: (422, "collecting", _of("carol", b"id\n1\n1\n")),
    errors.EmptyFile: (422, "collecting", _of("carol", b"id\n")),
    errors.TooLarge: (413, "collecting", _of("carol", b"", Content_Length=str(SUBMISSION_BYTES_MAX + 1))),
    errors.UploadIncomplete: (400, "collecting", _form(part(GOOD), end=b"")),
    errors.FormInvalid: (422, "collecting", _form(part(GOOD, "x"))),
    errors.MediaTypeUnsupported: (415, "collecting", _of("carol", b"id\n1\n", Content_Type="image/png")),
    errors.AlreadySubmitted: (409, "collecting", _of("alice", b"id\n1\n")),
    errors.SubmissionInProgress: (409, "collecting", _in_progress),
    errors.RoomNotOpen: (409, "collecting", _ask(_question("1"))),
    errors.RoomClosed: (409, "closed", _of("alice", b"id\n1\n")),
    errors.QuestionInvalid: (422, "open", _ask(b'{"statistic": "sum", "epsilon": "1"}')),
    errors.EpsilonInvalid: (422, "open", _ask(_question("0"))),
    errors.BudgetExceeded: (403, "open", _ask(_question("61"))),
    errors.ReleaseNotFound: (404, "open", lambda room: ask(room.url, request("GET", "/releases/9", bearer("bob")))),
    errors.RequestInvalid: (422, "open", _ask(b"{")),
    errors.RequestTooLarge: (413, "open", _ask(b" " * (JSON_BODY_BYTES_MAX + 1))),
    errors.RequestTooSlow: (408, "open", _too_slow),
    errors.SealBroken: (422, "collecting", _of("carol", b"x" * 200, Content_Type="application/vnd.vesica.hpke")),
    errors.NonceInvalid: (422, "open", lambda room: ask(room.url, request("GET", "/attestation?nonce=" + 64 * "X"))),
}  # fmt: skip


@pytest.fixture(scope="module")
def stages() -> Iterator[dict[str, RunningRoom]]:
    """A room that is collecting (alice has submitted), one that is open, one that is closed."""
    three = agreement_text({"alice": "60", "bob": "60", "carol": "60"})
    two = agreement_text({"alice": "60", "bob": "60"})
    with running_room(three) as collecting, running_room(two) as opened, running_room(two) as closed:
        assert submit(collecting.url, "alice", b"id\n1\n").status_code == 201
        for party in ("alice", "bob"):
            assert submit(opened.url, party, b"id\n1\n").status_code == 201
        assert release(opened.url, "alice", "1").status_code == 201  # waits until the room is open
        assert httpx.post(closed.url + "/close", headers=bearer("alice")).status_code == 200
        assert [state(room.url) for room in (collecting, opened, closed)] == ["collecting", "open", "closed"]
        yield {"collecting": collecting, "open": opened, "closed": closed}


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.code)
def test_every_error_arises_with_its_status_and_its_code_as_a_problem(
    kind: type[errors.VesicaError], stages: dict[str, RunningRoom]
) -> None:
    status, stage, provoke = CASES[kind]
    answer = provoke(stages[stage])
    assert (answer.status, answer.code) == (status, kind.code)
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["cache-control"] == "no-store"
    assert json.loads(answer.body)["detail"]


def test_no_error_class_is_left_out() -> None:
    def below(kind: type[errors.VesicaError]) -> set[type[errors.VesicaError]]:
        return {kind}.union(*(below(sub) for sub in kind.__subclasses__()))

    ours = {kind for kind in below(errors.VesicaError) if kind.__module__ == errors.__name__}
    tellable = {kind for kind in ours if not problems._STATUS.keys().isdisjoint(kind.__mro__)}
    # The one that others come from, and one that needs hardware that fails.
    assert {kind.__name__ for kind in tellable - set(CASES)} == {"SubmissionRejected", "EvidenceUnavailable"}


def test_what_is_no_path_no_method_and_no_number_is_a_problem_too(stages: dict[str, RunningRoom]) -> None:
    room = stages["open"]
    for method, path, status in [
        ("GET", f"/{CANARY}", 404), ("PUT", "/room", 405), ("GET", "/submissions", 405), ("GET", "/releases/0", 422),
        ("GET", f"/releases/{CANARY}", 422), ("GET", "/docs", 404), ("DELETE", "/releases/1", 405),
        ("GET", "/psi/compare", 404),
    ]:  # fmt: skip
        answer = ask(room.url, request(method, path, bearer("bob")))
        assert (answer.status, bool(answer.code)) == (status, True), path
        assert CANARY.encode() not in answer.body
        assert CANARY not in str(answer.headers)


def test_no_traceback_was_logged_all_along(room: RunningRoom, stages: dict[str, RunningRoom]) -> None:
    for running in (room, *stages.values()):
        assert "unexpected-error" not in running.stderr
        assert "exception=" not in running.stderr
        assert "Traceback" not in running.stderr
        assert CANARY not in running.stderr
