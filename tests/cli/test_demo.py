"""`vesica demo` end to end: a real server process, and lines that really work when they are pasted."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SECONDS_MAX = 120


def _environment(tmp_path: Path) -> dict[str, str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    return os.environ | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path), "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}


def _servers(folder: Path) -> list[str]:
    """Command lines of processes that serve an agreement of this folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if " serve " in line and str(folder) in line:
                found.append(line)
    return found


@pytest.fixture
def paused(tmp_path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A demonstration that waits, and what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vesica", "demo", "--pause"],
        env=_environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    text = ""
    try:
        while "stops the room" not in text:
            line = process.stdout.readline()
            assert line, text
            text += line
        yield process, text
    finally:
        process.stdin.close()
        process.wait(SECONDS_MAX)
        process.stdout.close()


def test_the_demo_does_every_step_prints_its_curl_line_and_leaves_nothing_behind(tmp_path):
    command = [sys.executable, "-m", "vesica", "demo"]
    done = subprocess.run(
        command, env=_environment(tmp_path), capture_output=True, encoding="utf-8", timeout=SECONDS_MAX, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("INSECURE, FOR DEMONSTRATION ONLY")
    assert done.stdout.count("$ curl ") == 10
    assert done.stdout.count("$ vesica ") == 4
    assert done.stdout.count('--pinnedpubkey "$PIN"') == 10
    assert "Bearer" not in done.stdout
    assert "refused: " in done.stdout
    assert "├" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert _servers(tmp_path) == []


def test_the_demo_as_json_is_one_document(tmp_path):
    command = [sys.executable, "-m", "vesica", "demo", "--json"]
    done = subprocess.run(
        command, env=_environment(tmp_path), capture_output=True, encoding="utf-8", timeout=SECONDS_MAX, check=False
    )
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert document["insecure"] is True
    assert [step["status"] for step in document["steps"]] == [
        *("ok", "ok", "ok", "created", "ok", "ok", "created", "ok", "created", "ok", "refused", "ok", "ok", "ok"),
    ]
    assert document["steps"][-1]["answer"] == {
        "receipts": ["opening", "submission", "submission", "release", "release", "closing"],
        "complete": True,
        "insecure": True,
    }
    assert b"INSECURE" in done.stderr.encode()


def test_a_demo_whose_room_does_not_start_fails_and_leaves_nothing_behind(tmp_path):
    script = "import sys; sys.executable = '/bin/false'; from vesica.cli.main import main; sys.exit(main(['demo']))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=_environment(tmp_path),
        capture_output=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode != 0
    assert b"the room did not start" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs curl and bash")
def test_the_printed_lines_work_when_pasted(paused):
    _, text = paused
    setup = re.search(r"^cd .*; ROOM=.*; PIN=.*$", text, re.MULTILINE)[0]
    lines = re.findall(r"^(?:curl|vesica) .*$", text, re.MULTILINE)
    assert len(lines) == 14
    answers = []
    for line in lines:
        if line.endswith("/plan"):  # a person takes a moment
            _wait_until_open(setup)
        # The command is asked for JSON: what is pasted is the line, this test only reads the answer better.
        answers.append(_pasted(setup, f"{line} --json" if line.startswith("vesica ") else line))
    verified, submitted, journal = answers[:3]
    assert (verified["verified"], verified["insecure"]) == (True, True)
    assert (submitted["party"], submitted["rows"], submitted["dropped"]) == ("statistics-office", 34_797, 0)
    assert [(one["committed"], len(one["fed"])) for one in journal["data_sets"]] == [("2", 1)]
    assert (answers[3]["party"], answers[3]["rows"]) == ("neighbour", 28_597)
    assert answers[6] == answers[7]
    assert abs(answers[6]["value"] - 16_818) < 100
    assert abs(answers[8]["value"] - 46_576) < 100
    assert [party["remaining"] for party in answers[9]["parties"]] == ["0", "1"]
    assert answers[10]["code"] == "budget-exceeded"
    assert answers[11]["state"] == "closed"
    assert answers[13]


def _pasted(setup: str, line: str) -> dict[str, object]:
    # Tokens stand in files: nobody who lists processes sees one.
    assert "Bearer" not in line
    vesica = f'vesica() {{ {shlex.quote(sys.executable)} -m vesica "$@"; }}'
    script = f"{vesica}\n{setup}\n{line}"
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, check=True, env=paths)
    return json.loads(done.stdout or "{}")


def _wait_until_open(setup: str) -> None:
    until = time.monotonic() + 60
    while _pasted(setup, "curl -sSk $ROOM/room")["state"] != "open":
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_room_and_removes_the_folder(paused, number, tmp_path):
    process, _ = paused
    assert _servers(tmp_path)
    process.send_signal(number)
    process.wait(SECONDS_MAX)
    assert _servers(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
