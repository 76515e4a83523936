"""A submission is never on disk (promise P1): no file is made or written while one is read, as the kernel sees it.

Where strace is missing or may not trace, its tests are skipped, and say so; the one with /proc runs on any Linux.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from support.launch import UNSEALED, launched_room
from support.server import RunningRoom, agreement_text, bearer, running_room
from support.wire import BOUNDARY, count, csv_of, state, submit

STRACE = shutil.which("strace")
TRACED = (
    "open,openat,openat2,creat,memfd_create,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,link,linkat,symlink,"
    "symlinkat,mknod,mknodat,truncate,ftruncate,fallocate,copy_file_range,sendfile,splice,write,pwrite64,writev,pwritev,"
    "pwritev2,msync,mq_open,execve"
)
OPENING = ("open", "openat", "openat2")
WRITING = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "splice", "sendfile")
# A room that forbids core dumps writes here, at start. It is a setting of the kernel's, and no file.
SETTING = re.compile(r'/proc/(self|\d+)/coredump_filter[">]')
FOR_WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|O_TMPFILE")
_CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
ROW_BYTES, ROWS_AT_ONCE = 64, 100_000
MEGABYTES = 200


def tracer(log: Path) -> list[str]:
    """The tracer as a grandchild, so that the process keeps the number that its parent knows."""
    assert STRACE is not None
    return [STRACE, "-D", "-f", "-y", "-s", "0", "-e", f"trace={TRACED}", "-o", str(log)]


def _why_not() -> str | None:
    if STRACE is None:
        return "strace is not installed (apt-get install strace)"
    tried = subprocess.run([STRACE, "-e", "trace=none", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.decode()[:200]}"


WHY_NOT = _why_not()
needs_strace = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


def violations(trace: str) -> list[str]:
    """The calls that made, opened for writing, wrote or renamed a file; sockets, pipes, stdout, stderr, /dev/null are
    none.
    """
    found = []
    for line in trace.splitlines():
        call = _CALL.match(line)
        if call is None or SETTING.search(line):
            continue
        name, arguments = call[1], call[2]
        if name in OPENING:
            bad = FOR_WRITING.search(arguments) is not None and '"/dev/null"' not in arguments
        elif name in WRITING:
            target = re.match(r"(\d+)(<[^>]*>)?", arguments)
            where = target[2] or "" if target else ""
            harmless = where.startswith(("<socket:", "<pipe:", "<anon_inode:", "</dev/null", "<UNIX", "<TCP"))
            bad = not harmless and (target is None or target[1] not in ("1", "2"))
        else:
            bad = name != "execve"
        if bad:
            found.append(line)
    return found


def rows(megabytes: int, name: bytes) -> Iterator[bytes]:
    """A file of that size, made block by block: every row different, 64 bytes each."""
    yield b"id\n"
    block = np.full((ROWS_AT_ONCE, ROW_BYTES), ord("x"), np.uint8)
    block[:, -1] = ord("\n")
    block[:, : len(name)] = np.frombuffer(name, np.uint8)
    digits = np.arange(ROWS_AT_ONCE)[:, None] // 10 ** np.arange(4, -1, -1) % 10
    block[:, 20:25] = digits + ord("0")
    for i in range(megabytes * 10**6 // (ROWS_AT_ONCE * ROW_BYTES) + 1):
        block[:, 30:36] = np.frombuffer(b"%06d" % i, np.uint8)
        yield block.tobytes()


def as_form(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="csv_file"; filename="x"\r\n\r\n'.encode()
    yield from chunks
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def upload_form(url: str, party: str, chunks: Iterator[bytes]) -> httpx.Response:
    headers = {**bearer(party), "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return httpx.post(url + "/submissions", content=as_form(chunks), headers=headers, timeout=120)


def ended(log: Path) -> str:
    """The whole trace, once the tracer has seen the process end."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        text = log.read_text(errors="replace")
        if "+++ exited with" in text or "+++ killed by" in text:
            return text
        time.sleep(0.1)
    raise AssertionError("the tracer did not see the end")


@needs_strace
@pytest.mark.timeout(180)
def test_two_uploads_of_200_mb_make_and_write_no_file(tmp_path: Path) -> None:
    log = tmp_path / "trace"
    agreement = agreement_text({"alice": "60", "bob": "60"})
    # No byte code: what a first import caches is no submission.
    with launched_room(agreement, tracer=tracer(log), environment={"PYTHONDONTWRITEBYTECODE": "1"}) as room:
        assert upload_form(room.url, "alice", rows(MEGABYTES, b"alice")).status_code == 201
        assert submit(room.url, "bob", rows(MEGABYTES, b"alice")).status_code == 201
        assert count(room.url, "bob") == 3_200_000
        assert httpx.post(room.url + "/close", headers=bearer("bob")).status_code == 200
        room.stop()
    trace = ended(log)
    assert "openat(" in trace
    assert "write(2" in trace  # the log: the tracer saw writing
    assert violations(trace) == []


@needs_strace
def test_refused_and_cut_uploads_write_no_file_either(tmp_path: Path) -> None:
    log = tmp_path / "trace"
    agreement = agreement_text({"alice": "60", "bob": "60"})
    with launched_room(agreement, tracer=tracer(log), environment={"PYTHONDONTWRITEBYTECODE": "1"}) as room:
        twice = [*rows(3, b"a"), *list(rows(3, b"a"))[1:]]
        assert submit(room.url, "alice", iter(twice)).status_code == 422
        assert upload_form(room.url, "alice", iter(twice)).status_code == 422
        with pytest.raises(RuntimeError, match="cut"):
            upload_form(room.url, "alice", cut(rows(3, b"a")))
        assert state(room.url) == "collecting"
        room.stop()
    assert violations(ended(log)) == []


def cut(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield next(chunks)
    yield next(chunks)
    raise RuntimeError("cut")


SPOOLING = """
import tempfile
with tempfile.SpooledTemporaryFile(max_size=2**20) as file:
    for _ in range(3):
        file.write(bytes(2**20))
"""
WRITERS = {
    "a spooled file": SPOOLING,
    "a named temporary file": "import tempfile\ntempfile.NamedTemporaryFile().close()",
    "a memory file": "import os\nos.memfd_create('x')",
    "a file that was open before": "import os, sys\nos.write(int(sys.argv[1]), b'x')",
    "a folder": "import os, tempfile\nos.rmdir(tempfile.mkdtemp())",
}


@needs_strace
@pytest.mark.parametrize("how", WRITERS)
def test_this_check_sees(how: str, tmp_path: Path) -> None:
    log = tmp_path / "trace"
    with (tmp_path / "open-before").open("wb") as before:
        command = [*tracer(log), sys.executable, "-I", "-c", WRITERS[how], str(before.fileno())]
        subprocess.run(command, check=True, pass_fds=[before.fileno()])
    assert violations(ended(log))


@needs_strace
def test_this_check_does_not_see_what_is_not_there(tmp_path: Path) -> None:
    log = tmp_path / "trace"
    harmless = "import socket\na, b = socket.socketpair()\na.send(b'x')\nprint(1)\nopen('/dev/null', 'w').write('x')"
    subprocess.run([*tracer(log), sys.executable, "-I", "-c", harmless], check=True, capture_output=True)
    assert violations(ended(log)) == []


# What a room would do that used Starlette's own forms, which spool above a megabyte.
STARLETTE = """
import vesica_routes.hosting
from vesica_routes.bodies import AsItIs, Coding
async def spooled(request, bytes_max):
    async with request.form() as form:
        yield await form["csv_file"].read()
vesica_routes.hosting.coding_of = lambda request, unsealer: Coding(AsItIs(), 2**34)
vesica_routes.hosting.chunks = spooled
"""


@needs_strace
def test_a_sealed_room_cannot_spool_even_if_it_would(tmp_path: Path) -> None:
    log = tmp_path / "trace"
    agreement = agreement_text({"alice": "60", "bob": "60"})
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    with launched_room(agreement, tracer=tracer(log), environment=environment, before=STARLETTE) as room:
        assert upload_form(room.url, "alice", rows(2, b"a")).status_code == 500
        room.stop()
    tried = violations(ended(log))
    assert tried
    assert all(line.endswith(" = -1 EPERM (Operation not permitted)") for line in tried)


@needs_strace
def test_this_check_sees_a_room_that_spools(tmp_path: Path) -> None:
    log = tmp_path / "trace"
    agreement = agreement_text({"alice": "60", "bob": "60"})
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    with launched_room(agreement, tracer=tracer(log), environment=environment, before=UNSEALED + STARLETTE) as room:
        assert upload_form(room.url, "alice", rows(2, b"a")).status_code == 201
        room.stop()
    assert violations(ended(log))


def written_bytes(room: RunningRoom) -> int:
    """Bytes that the process has given to write() and its kin, whatever to; what it sends to sockets is not counted."""
    counted = Path(f"/proc/{room.pid}/io")
    if not os.access(counted, os.R_OK):
        pytest.skip("needs /proc/PID/io, which Linux has, and of a room, which hides its own, shows to root only")
    return int(dict(line.split(": ") for line in counted.read_text().splitlines())["wchar"])


@pytest.mark.parametrize("form", [False, True])
def test_the_kernel_counts_next_to_no_bytes_written_while_30_mb_are_read(form: bool) -> None:
    with running_room(agreement_text({"alice": "60", "bob": "60"})) as room:
        assert submit(room.url, "bob", csv_of("a")).status_code == 201  # what is imported late is imported now
        before = written_bytes(room)
        upload = upload_form if form else submit
        assert upload(room.url, "alice", rows(30, b"alice")).status_code == 201
        assert written_bytes(room) - before < 2**16


def test_the_kernel_counts_the_bytes_that_a_spooling_room_writes() -> None:
    with launched_room(agreement_text({"alice": "60", "bob": "60"}), before=UNSEALED + STARLETTE) as room:
        before = written_bytes(room)
        assert upload_form(room.url, "alice", rows(10, b"alice")).status_code == 201
        assert written_bytes(room) - before > 10**7


def test_a_room_dumps_no_core() -> None:
    with running_room(agreement_text({"alice": "60", "bob": "60"})) as room:
        table = Path(f"/proc/{room.pid}/limits")
        if not table.is_file():
            pytest.skip("needs /proc")
        (line,) = [line for line in table.read_text().splitlines() if line.startswith("Max core file size")]
        assert line.split()[4:6] == ["0", "0"]
