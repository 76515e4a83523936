"""The runner of ``make enclave-test``, and what it tries in a container, tried where nothing is hardened."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from vesica_images.check.runner import Step, run
from vesica_images.check.site import CheckFailed, Site

CHECKS = Path(__file__).parents[2] / "enclave/vesica_images/check/in_container.py"


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "root", tmp_path, tmp_path / "cache", tmp_path / "log")


def test_a_failed_step_ends_the_run_and_shows_the_end_of_its_log(site, capsys):
    def fails(site):
        site.run(sys.executable, "-c", "import sys; print('said before'); sys.exit(3)")
        return "not reached"

    ran = []
    steps = [Step("first", lambda _: "seen"), Step("second", fails), Step("third", lambda _: ran.append(1) or "")]
    assert run(steps, site) is False
    told = capsys.readouterr().out
    assert told.startswith("ok     first")
    assert "FAILED second" in told
    assert "ended with 3" in told
    assert "said before" in told
    assert ran == []


def test_a_step_that_breaks_has_failed(site, capsys):
    def breaks(site):
        raise ZeroDivisionError("by nothing")

    assert run([Step("one", breaks)], site) is False
    assert "ZeroDivisionError: by nothing" in capsys.readouterr().out


def test_steps_that_hold_are_told_with_their_times(site, capsys):
    assert run([Step("one", lambda _: "seen"), Step("two", lambda _: "")], site) is True
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok     one")
    assert lines[0].endswith(" s  seen")
    assert lines[2].startswith("2 steps held, in ")


def test_an_exit_status_nobody_expected_is_a_failure(site):
    assert site.run(sys.executable, "-c", "print('x'); raise SystemExit(7)", expected=(7,)) == "x\n"
    with pytest.raises(CheckFailed):
        site.run(sys.executable, "-c", "raise SystemExit(7)")


@pytest.fixture
def checks():
    return runpy.run_path(str(CHECKS), run_name="in_container")


def test_the_memory_check_fails_where_memory_can_be_read(checks):
    """A process of the same user that hides nothing, in place of the room."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as open_process:
        checks["memory_unreadable"].__globals__["ROOM"] = open_process.pid
        if "of any process" in _told(checks["memory_unreadable"]):
            pytest.skip("on this machine no process may read another's memory")
        with pytest.raises(AssertionError, match="mem: "):
            checks["memory_unreadable"]()


def _told(check):
    try:
        return check()
    except AssertionError:
        return ""


def test_the_check_of_writing_fails_where_a_disk_can_be_written(checks, tmp_path, monkeypatch):
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda _: walk(tmp_path))
    systems = {line.split()[1]: line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}
    if checks["_system_of"](tmp_path, systems) in checks["IN_MEMORY"]:
        pytest.skip("the folder for tests is in memory here")
    with pytest.raises(AssertionError, match="can be written; it is on"):
        checks["writes_in_memory_only"]()


def test_the_check_of_connections_fails_where_somebody_can_be_reached(checks):
    refused, unreachable = checks["refused"], checks["_UNREACHABLE"]
    with pytest.raises(AssertionError, match="it was allowed"):
        refused("connecting", lambda: None, unreachable)
    with pytest.raises(AssertionError, match="ECONNREFUSED"):  # somebody answered, if only with a refusal
        refused("connecting", lambda: (_ for _ in ()).throw(ConnectionRefusedError(111, "x")), unreachable)
