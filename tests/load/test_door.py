"""Who leaves when the house is full, whether the system lets it be as large as it says, and what it writes down."""

import logging
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from support.launch import launched_room
from support.server import agreement_text, bearer, running_room
from vesica.cli.exits import Exit
from vesica.events import Event, emit
from vesica.limits import CONNECTIONS_MAX, DESCRIPTORS_RESERVED, LOG_BURST_MAX, LOG_REPEAT_SECONDS
from vesica_enclave.door import Guest, network_of, who_leaves
from vesica_enclave.logs import FloodFilter

AGREEMENT = agreement_text({"alice": "60", "bob": "60"})
NEEDED = CONNECTIONS_MAX + DESCRIPTORS_RESERVED


class Staying(Guest):
    """A guest whose submission is being read."""

    may_stay = True


def test_the_first_guest_of_the_address_that_holds_most_leaves() -> None:
    a, b, c, d = Guest("a"), Guest("b"), Guest("b"), Guest("a")
    assert who_leaves([a, b, c]) is b
    assert who_leaves([a, b, c, d]) is a
    assert who_leaves([b, a, c, d]) is b
    assert who_leaves([a]) is a


def test_a_guest_whose_submission_is_read_stays_and_when_all_are_nobody_leaves() -> None:
    busy, idle = Staying("a"), Guest("b")
    assert who_leaves([busy, busy, idle]) is idle
    assert who_leaves([busy]) is None
    assert who_leaves([]) is None


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(host: str, network: str) -> None:
    assert network_of(host) == network


def limit_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
        if line.startswith("Max open files"):
            return int(line.split()[3])
    raise AssertionError("no such limit")


def lowered(soft: int, hard: int) -> str:
    return f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))"


def test_a_room_raises_its_limit_on_open_files_to_what_it_may_need() -> None:
    with launched_room(AGREEMENT, before=lowered(256, NEEDED)) as room:
        assert limit_of(room.pid) == NEEDED


def test_a_room_that_may_not_have_the_files_it_needs_does_not_start_and_says_what_to_do(tmp_path) -> None:
    (tmp_path / "agreement.toml").write_text(AGREEMENT)
    argv = ["serve", str(tmp_path / "agreement.toml"), "--port", "0", "--attester", "insecure-software"]
    program = f"{lowered(256, NEEDED - 1)}; import sys; from vesica.cli.main import main; sys.exit(main({argv}))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == Exit.INPUT
    assert ended.stdout == ""
    assert f"a room needs {NEEDED} open files" in ended.stderr
    assert "ulimit -n" in ended.stderr


# The log.


def test_wrong_tokens_cannot_fill_the_log_and_hide_nothing_else() -> None:
    with running_room(AGREEMENT, log_level="info") as room, httpx.Client(base_url=room.url) as client:
        for _ in range(3 * LOG_BURST_MAX):
            assert client.get("/budgets", headers={"Authorization": "Bearer wrong"}).status_code == 401
        body = b"id\n1\n"
        answer = client.post("/submissions", content=body, headers={**bearer("bob"), "Content-Type": "text/csv"})
        assert answer.status_code == 201
        room.stop()
        seconds = 60  # more than all this takes
        assert (
            LOG_BURST_MAX <= room.stderr.count("authentication-failed") <= LOG_BURST_MAX + seconds / LOG_REPEAT_SECONDS
        )
        assert "submission-accepted party=bob" in room.stderr


def test_what_is_no_http_cannot_fill_the_log() -> None:
    from support.wire import exchange

    with running_room(AGREEMENT, log_level="debug") as room:
        for _ in range(2 * LOG_BURST_MAX):
            exchange(room.url, b"\0 not http\r\n\r\n", seconds=0.01)
        room.stop()
        assert len(room.stderr.splitlines()) < LOG_BURST_MAX + 20


class Clock:
    """Stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture):
    """What passes a FloodFilter, and its clock."""
    clock, passed = Clock(), []
    flood = FloodFilter(clock)

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            passed.append((record.getMessage(), getattr(record, "others_dropped", False)))

    handler = Handler()
    handler.addFilter(flood)
    logger = logging.getLogger("vesica")
    logger.addHandler(handler)
    caplog.set_level(logging.INFO, "vesica")
    yield passed, clock
    logger.removeHandler(handler)


def test_after_a_burst_a_kind_of_event_is_written_at_intervals_and_says_that_others_were_not(written) -> None:
    passed, clock = written
    for _ in range(LOG_BURST_MAX + 100):
        emit(Event.AUTHENTICATION_FAILED)
    assert passed == [("authentication-failed", False)] * LOG_BURST_MAX
    clock.now += LOG_REPEAT_SECONDS
    emit(Event.AUTHENTICATION_FAILED)
    emit(Event.AUTHENTICATION_FAILED)
    assert passed[LOG_BURST_MAX:] == [("authentication-failed", True)]
    clock.now += 10 * LOG_BURST_MAX * LOG_REPEAT_SECONDS  # long quiet: a whole burst again, and no more
    for _ in range(LOG_BURST_MAX + 100):
        emit(Event.AUTHENTICATION_FAILED)
    assert len(passed) == 2 * LOG_BURST_MAX + 1


def test_one_party_cannot_hide_what_another_does(written) -> None:
    passed, _ = written
    for _ in range(LOG_BURST_MAX + 100):
        emit(Event.SUBMISSION_REFUSED, party="alice", code="duplicate-row")
        emit(Event.RELEASE_MADE, party="alice", number=1)  # each costs budget: it is always written
    emit(Event.SUBMISSION_REFUSED, party="bob", code="duplicate-row")
    texts = [text for text, _ in passed]
    assert texts.count("submission-refused party=alice code=duplicate-row") == LOG_BURST_MAX
    assert texts.count("release-made party=alice number=1") == LOG_BURST_MAX + 100
    assert texts[-1] == "submission-refused party=bob code=duplicate-row"
