"""Nothing about data in the log, at any level (promise P6): a full run with canaries everywhere, and then a search."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from support.launch import launched_room
from support.server import RunningRoom, agreement_text, bearer
from support.wire import (
    ask,
    connect,
    count,
    csv_of,
    part,
    post_csv,
    post_form,
    release,
    request,
    state,
    submit,
)

CELL, COLUMN, FILE, FOREIGN = "canary-cell", "canary-column", "canary-file", "canary-foreign"
# Numbers that nothing else in a log is: above every port and every line of code.
ROWS_A, ROWS_B, COMMON = 79_193, 81_239, 70_207
UNION = ROWS_A + ROWS_B - COMMON
A = csv_of(f"{CELL}-{i}" for i in range(ROWS_A))
B = csv_of(f"{CELL}-{i}" for i in range(ROWS_A - COMMON, ROWS_A - COMMON + ROWS_B))

# A bug of ours whose message quotes a cell, met where a file holds "bug" or an epsilon is 1007 nano.
BUGS = f"""
import vesica.intake, vesica_routes.app, vesica_routes.hosting
feed, plan = vesica.intake.Intake.feed, vesica_routes.app.plan
def broken_feed(self, data):
    if b"bug" in data:
        raise ValueError("{CELL} " + repr(data[:200]))
    feed(self, data)
def broken_plan(question):
    if question.epsilon_nano == 1007:
        raise KeyError("{CELL}", question)
    return plan(question)
vesica.intake.Intake.feed = broken_feed
vesica_routes.app.plan = broken_plan
"""
# Every logger of every library, as loud as it can be, and no way to turn it down.
LOUD = """
import logging
def loud(self, level):
    self.level = 1
    self.manager._clear_cache()
logging.Logger.setLevel = loud
logging.disable = lambda *_: None
"""
LINKING_BUG = f"""
import vesica.room
def broken_venn(columns):
    raise ValueError("{CELL} " + str([column.size for column in columns]) + str(columns[0][:3]))
vesica.room.venn = broken_venn
"""
MODES = {
    "info": ("info", "", {}),
    "debug": ("debug", "", {}),
    "everything": ("debug", LOUD, {"PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1"}),
}


@dataclass(frozen=True)
class Run:
    """A finished run: what the process said, and what must not be in it."""

    log: str
    numbers: frozenset[str]


def hostile_requests(url: str) -> None:
    """Everything that is refused, with canaries where a careless room would quote."""
    bad = [
        f"{COLUMN},{COLUMN}-2\n1,2\n",
        f"{COLUMN}\n{CELL},{CELL}\n",
        f'{COLUMN}\n{CELL}"{CELL}\n',
        f"{COLUMN}\n{CELL}\n{CELL}\n",
        f"{COLUMN}\n{CELL}\n\n",
        f"{COLUMN}\n{CELL}\0\n",
        f"{COLUMN}\nbug {CELL}\n",
        f"{COLUMN}\n",
        "",
    ]
    for text in bad:
        assert submit(url, "alice", text.encode()).status_code in (422, 500)
        form = post_form("alice", part(text.encode(), f'form-data; name="csv_file"; filename="{FILE}"'))
        assert ask(url, form).status in (422, 500)
    assert submit(url, "alice", COLUMN.encode() + b"\n" + CELL.encode() + b"\xff\n").status_code == 422
    assert ask(url, post_form("alice", part(A, f'form-data; name="{FILE}"'))).status == 422
    for headers in [
        {"Authorization": f"Bearer {FOREIGN}"},
        {"X-OBLV-User-Name": FOREIGN},
        {**bearer("alice"), "User-Agent": FOREIGN, "Referer": FOREIGN, "Cookie": FOREIGN, "X-Forwarded-For": FOREIGN},
    ]:
        assert httpx.get(f"{url}/budgets?{FOREIGN}={FOREIGN}", headers=headers).status_code in (200, 401)
    for sent in [
        request("GET", f"/{FOREIGN}"),
        request("GET", f"/releases/{FOREIGN}", bearer("bob")),
        request(FOREIGN, "/"),
        request("POST", "/plan", {}, b'{"' + FOREIGN.encode() + b'": "' + CELL.encode()),
        request("POST", "/plan", {}, b'{"statistic": "' + CELL.encode() + b'", "epsilon": "1"}'),
        request("POST", "/plan", {}, b'{"statistic": "union_cardinality", "epsilon": "' + CELL.encode() + b'"}'),
        request("POST", "/plan", {}, b'{"statistic": "union_cardinality", "epsilon": "0.000001007"}'),
        request(
            "POST", "/releases", bearer("bob"), b'{"statistic": "union_cardinality", "epsilon": 1, "parties": ["x"]}'
        ),
        FOREIGN.encode() + b"\r\n\r\n",
    ]:
        assert ask(url, sent).status >= 400
    with connect(url) as sock, contextlib.suppress(OSError):
        sock.sendall(post_csv("alice", A)[:-1000])  # and gone


def whole_run(room: RunningRoom) -> set[int]:
    """Good and bad, from the first submission to the last answer; returns what was released."""
    hostile_requests(room.url)
    answer = submit(room.url, "alice", A)
    while answer.status_code == 409:  # the one that was cut is not let go of yet
        answer = submit(room.url, "alice", A)
    assert answer.json()["rows"] == ROWS_A
    assert release(room.url, "alice").status_code == 409
    assert submit(room.url, "alice", A).status_code == 409
    assert ask(room.url, post_form("bob", part(B)), 60).status == 201
    released = {count(room.url, "bob"), count(room.url, "alice", epsilon="20", statistic="union_cardinality")}
    assert released == {COMMON, UNION}
    for epsilon in ("0.1", "0.1", "0.2", "0.05"):
        released.add(count(room.url, "alice", epsilon=epsilon))
    assert release(room.url, "bob", "90").status_code == 403
    for path in ("/releases", "/releases/1", "/budgets", "/room", "/agreement", "/openapi.json"):
        assert httpx.get(room.url + path, headers=bearer("bob")).status_code == 200
    assert httpx.post(room.url + "/close", headers=bearer("bob")).status_code == 200
    hostile_closed = submit(room.url, "alice", A)
    assert hostile_closed.status_code == 409
    return released


@pytest.fixture(scope="module", params=MODES)
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    level, loud, environment = MODES[request.param]
    agreement = agreement_text({"alice": "100", "bob": "100"})
    with launched_room(agreement, log_level=level, before=loud + BUGS, environment=environment) as room:
        released = whole_run(room)
        room.stop()
        sizes = {len(A), len(B), len(A) - 3, len(B) - 3, ROWS_A, ROWS_B, COMMON, UNION, *released}
        for first, second in [(A, B), (B, A)]:  # what framing makes of them, more or less
            sizes |= {len(post_form("bob", part(first))), len(part(first)), len(post_csv("alice", first)), len(second)}
        assert min(sizes) > 65_535
        yield Run(room.stdout + room.stderr, frozenset(map(str, sizes)))


def test_the_log_has_what_happened(run: Run) -> None:
    """So that the tests below do not search an empty log."""
    events = {
        "serving", "authentication-failed", "submission-started party=alice", "submission-accepted party=bob",
        "submission-refused party=alice code=ragged-row", "submission-refused party=alice code=duplicate-row",
        "submission-refused party=alice code=upload-incomplete", "room-opened", "release-made party=bob number=1",
        "release-repeated party=alice number=3", "release-refused party=bob code=budget-exceeded", "room-closed",
        "unexpected-error",
    }  # fmt: skip
    assert {event for event in events if event not in run.log} == set()


@pytest.mark.parametrize("canary", [CELL, COLUMN, FILE, FOREIGN])
def test_no_cell_no_header_no_name_that_was_sent_is_logged(canary: str, run: Run) -> None:
    assert canary not in run.log
    assert canary.encode().hex() not in run.log


def test_no_token_is_logged(run: Run) -> None:
    assert "test-token-of" not in run.log


def test_no_size_no_count_and_no_released_value_is_logged(run: Run) -> None:
    digits = re.compile(r"[0-9]+")
    logged = {
        number for line in run.log.splitlines() for number in digits.findall(line.replace("_", "").replace(",", ""))
    }
    assert logged & run.numbers == set()
    assert not logged & {f"{int(number):x}" for number in run.numbers}


def test_no_traceback_is_logged(run: Run) -> None:
    assert "Traceback" not in run.log
    assert "ValueError" in run.log  # the bug itself is told, by its kind and place
    assert 'File "' not in run.log


def test_loud_libraries_are_heard_and_say_nothing() -> None:
    """What the loudest run proves rests on libraries having been loud."""
    level, loud, environment = MODES["everything"]
    agreement = agreement_text({"alice": "1", "bob": "1"})
    with launched_room(agreement, log_level=level, before=loud, environment=environment) as room:
        assert ask(room.url, post_form("alice", A), 60).status == 422
        assert ask(room.url, post_form("alice", part(A)), 60).status == 201
        room.stop()
        for library in ("uvicorn.error", "uvicorn.asgi", "python_multipart.multipart", "asyncio"):
            assert f" library={library}\n" in room.stderr, library


def test_a_bug_while_linking_closes_the_room_and_tells_no_more_than_its_kind() -> None:
    agreement = agreement_text({"alice": "1", "bob": "1"})
    with launched_room(agreement, before=LINKING_BUG) as room:
        assert submit(room.url, "alice", A).status_code == 201
        assert submit(room.url, "bob", B).status_code == 201
        assert release(room.url, "bob", "1").json()["code"] == "room-closed"
        assert state(room.url) == "closed"
        room.stop()
        assert "linking-failed" in room.stderr
        for text in (CELL, str(ROWS_A), str(ROWS_B), "Traceback"):
            assert text not in room.stderr


def test_a_thread_or_a_destructor_that_fails_quotes_nothing_either() -> None:
    """What Python itself writes to stderr goes past the log: failures that nobody can catch."""
    bug = f"""
import threading, vesica_routes.app
plan = vesica_routes.app.plan
class Cell:
    def __del__(self):
        raise ValueError("{CELL}")
def fail():
    raise ValueError("{CELL}")
def broken(question):
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    Cell()
    return plan(question)
vesica_routes.app.plan = broken
"""
    with launched_room(agreement_text({"alice": "1", "bob": "1"}), before=bug) as room:
        body = b'{"statistic": "union_cardinality", "epsilon": "1"}'
        assert ask(room.url, request("POST", "/plan", {}, body)).status == 200
        room.stop()
        assert "ValueError" in room.stderr
        assert CELL not in room.stderr
        assert "Traceback" not in room.stderr
