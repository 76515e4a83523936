"""A real room, run by a user who is not root: what that user can get out of it, and what it still does for parties."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.hardened import AS_NOBODY, NOBODY, SLEEP, Running, hardened_room, running
from support.server import STOP_SECONDS_MAX, bearer
from vesica_enclave.hardening.machine import examine_process
from vesica_enclave.hardening.measures import Measure

CURL = shutil.which("curl")
STRACE = shutil.which("strace")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
RAISE_CORE_LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)\n"


def as_nobody(program: str, *arguments: str) -> str:
    """What a program of the room's own user prints. The interpreter is loaded before its user changes."""
    done = subprocess.run(
        [sys.executable, "-c", f"import ctypes, os, socket, sys\n{_BECOME}\n{program}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


_BECOME = f"if os.getuid() == 0: os.setgroups([]); os.setresgid(*[{NOBODY}] * 3); os.setresuid(*[{NOBODY}] * 3)"
READ_MEMORY = """
try:
    start = int(next(open(f"/proc/{sys.argv[1]}/maps")).split("-")[0], 16)
    with open(f"/proc/{sys.argv[1]}/mem", "rb") as memory:
        memory.seek(start)
        print(len(memory.read(16)))
except OSError as error:
    print(error.strerror)
"""
ATTACH = """
failed = ctypes.CDLL(None, use_errno=True).ptrace(16, int(sys.argv[1]), None, None)
print(os.strerror(ctypes.get_errno()) if failed else "attached")
"""
READ_BY_CALL = """
word = ctypes.create_string_buffer(8)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(word), 8)
there = (ctypes.c_size_t * 2)(int(sys.argv[2]), 8)
libc = ctypes.CDLL(None, use_errno=True)
size = libc.process_vm_readv(int(sys.argv[1]), vector, 1, there, 1, 0)
print(size if size >= 0 else os.strerror(ctypes.get_errno()))
"""
READ_ENVIRONMENT = """
try:
    print(len(open(f"/proc/{sys.argv[1]}/environ", "rb").read(8)))
except OSError as error:
    print(error.strerror)
"""


def curl(room: Running, path: str, *options: str) -> tuple[int, dict[str, object]]:
    """Status and answer."""
    assert CURL is not None
    done = subprocess.run(
        [CURL, "-sS", "-k", "-w", "\n%{http_code}", *options, room.where + path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body)


def of(party: str) -> tuple[str, str]:
    return "-H", f"Authorization: {bearer(party)['Authorization']}"


@pytest.fixture(scope="module")
def room():
    with hardened_room() as started:
        yield started


@pytest.fixture(scope="module")
def control():
    """Another process of the same user, with nothing done to it."""
    with running(f"{AS_NOBODY}\n{SLEEP}") as started:
        yield started


def test_a_room_takes_every_measure_and_complains_of_none_but_swap(room):
    assert all("no-swap" in line for line in room.complaints())
    assert "info sealed" in room.stderr


def test_what_can_be_seen_of_it_from_outside_is_as_it_should_be(room):
    seen = {found.name: found.holds for found in examine_process(room.pid)}
    assert [name for name, holds in seen.items() if holds is False and name != Measure.NO_SWAP] == []
    for measure in (Measure.NO_CORE_DUMPS, Measure.PRIVATE_FILES, Measure.NO_NEW_PRIVILEGES, Measure.NO_CAPABILITIES):
        assert seen[measure] is True
    assert seen[Measure.MEMORY_HIDDEN] is True


@pytest.mark.parametrize("program", [READ_MEMORY, READ_ENVIRONMENT, ATTACH], ids=["mem", "environ", "ptrace"])
def test_its_own_user_cannot_read_its_memory_or_trace_it(program, room, control):
    known = as_nobody(program, str(control.pid))
    if program is ATTACH and known != "attached":
        pytest.skip(f"this machine lets nobody trace anything ({known}), so nothing can be shown")
    assert known in {"attached", "16", "8"}
    assert as_nobody(program, str(room.pid)) in {"Operation not permitted", "Permission denied"}


def test_its_own_user_cannot_read_its_memory_by_a_call_either(room, control):
    address = id(None)  # any: with the right address or a wrong one, the first thing checked is who asks
    assert as_nobody(READ_BY_CALL, str(control.pid), str(address)) in {"8", "Bad address"}
    assert as_nobody(READ_BY_CALL, str(room.pid), str(address)) == "Operation not permitted"


@pytest.mark.skipif(shutil.which("gcore") is None, reason="gdb is not installed; the test with ptrace shows the same")
def test_gcore_gets_nothing(room, control):
    gcore = shutil.which("gcore")
    program = f"os.chdir(sys.argv[2]); os.execv({gcore!r}, ['gcore', '-o', 'core', sys.argv[1]])"
    done = subprocess.run(
        [sys.executable, "-c", f"import os, sys\n{_BECOME}\n{program}", str(room.pid), str(control.folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "ptrace: " in done.stdout + done.stderr
    assert [path for path in control.folder.iterdir() if "core" in path.name] == []


def dumped(process: Running) -> list[str]:
    """The files that are in a process's folder once it has died of SIGSEGV, besides its output."""
    os.kill(process.pid, signal.SIGSEGV)
    assert process.process.wait(STOP_SECONDS_MAX) == -signal.SIGSEGV
    return [path.name for path in process.folder.iterdir() if path.name not in {"stdout", "stderr"}]


def test_a_crash_leaves_no_core_file_even_where_the_limit_was_raised_before():
    with running(f"{RAISE_CORE_LIMIT}{AS_NOBODY}\n{SLEEP}") as unhardened:
        known = dumped(unhardened)
    with hardened_room(RAISE_CORE_LIMIT) as room:
        assert dumped(room) == []
    if not known:
        pytest.skip(f"nothing is dumped here at all: core_pattern is {CORE_PATTERN.read_text().strip()!r}")


@needs_curl
def test_two_parties_take_a_room_through_to_a_release_with_curl_and_it_stops_when_told(tmp_path):
    for party, ids in (("alice", range(2000)), ("bob", range(500, 3000))):
        (tmp_path / party).write_text("\n".join(["id", *(f"person-{i}" for i in ids)]) + "\n")
    with hardened_room() as room:
        assert curl(room, "/healthz") == (200, {"status": "ok"})
        status, answer = curl(room, f"/attestation?nonce={'ab' * 32}")
        assert (status, answer["evidence"]["kind"]) == (200, "insecure-software")
        assert curl(room, "/submissions", *of("alice"), "-F", f"csv_file=@{tmp_path / 'alice'}")[0] == 201
        csv = ("-H", "Content-Type: text/csv", "--data-binary", f"@{tmp_path / 'bob'}")
        assert curl(room, "/submissions", *of("bob"), *csv)[0] == 201
        assert curl(room, "/submissions", *of("bob"), *csv)[0] == 409
        asked = ("-H", "Content-Type: application/json", "-d", '{"statistic":"intersection_cardinality","epsilon":"8"}')
        status, release = curl(room, "/releases", *of("bob"), *asked)
        assert status == 201
        assert abs(release["value"] - 1500) <= 5  # at epsilon 8 the noise is beyond that once in 10**17
        assert len(curl(room, "/receipts", *of("alice"))[1]["receipts"]) == 4
        assert curl(room, "/close", *of("alice"), "-X", "POST")[0] == 200
        room.process.send_signal(signal.SIGTERM)
        assert room.process.wait(STOP_SECONDS_MAX) == 0
        assert "Traceback" not in room.stderr
        assert room.stderr.splitlines()[-1].endswith("info stopping")


# What a full room asks the kernel for, once it is sealed.

_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\w+)(?: (\w+))?")
# A C library asks for clone3 first, and takes clone when it is told that there is none.
EXPECTED_REFUSALS = {"clone3"}


@needs_curl
@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_a_sealed_room_needs_nothing_of_what_it_has_given_up(tmp_path):
    log = tmp_path / "trace"
    (tmp_path / "list").write_text("id\n1\n2\n3\n")
    with hardened_room() as room:
        tracer = subprocess.Popen([STRACE, "-f", "-qq", "-o", str(log), "-p", str(room.pid)], stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while "TracerPid:\t0" in Path(f"/proc/{room.pid}/status").read_text() and time.monotonic() < until:
            time.sleep(0.05)
        for party in ("alice", "bob"):
            assert curl(room, "/submissions", *of(party), "-F", f"csv_file=@{tmp_path / 'list'}")[0] == 201
        asked = ("-H", "Content-Type: application/json", "-d", '{"statistic":"union_cardinality","epsilon":"0.5"}')
        assert curl(room, "/plan", *asked)[0] == 200
        assert curl(room, "/releases", *of("bob"), *asked)[0] == 201
        for path, status in (("/openapi.json", 200), ("/room", 200), ("/nowhere", 404), ("/attestation", 422)):
            assert curl(room, path)[0] == status
        room.process.send_signal(signal.SIGTERM)
        assert room.process.wait(STOP_SECONDS_MAX) == 0
        tracer.wait(20)
    calls = [found.groups() for line in log.read_text().splitlines() if (found := _CALL.match(line))]
    assert {"accept4", "recvfrom"} & {call[0] for call in calls}
    refused = {
        (name, error, arguments) for name, arguments, _, error in calls if error in {"EPERM", "EACCES", "ENOSYS"}
    }
    assert {found for found in refused if found[0] not in EXPECTED_REFUSALS} == set()
    opened = [arguments for name, arguments, result, _ in calls if name == "openat" and result != "-1"]
    assert [one for one in opened if not re.search(r'"[^"]*(\.py|\.pyc|/cpu/online|/overcommit_memory)"', one)] == []
