"""``vesica doctor``: what it says of this machine, of a room that runs, and of one that is not hardened."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.hardened import AS_NOBODY, SLEEP, SWAPS, hardened_room, running
from vesica.cli.exits import Exit
from vesica_enclave.hardening import machine
from vesica_enclave.hardening.measures import PROTECTS_FROM, Measure

VESICA = (sys.executable, "-m", "vesica", "doctor")


def doctor(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*VESICA, *options], capture_output=True, text=True, check=False, timeout=120)


def test_on_this_machine_every_measure_holds_and_its_table_says_what_each_protects_from():
    done = doctor()
    assert done.returncode == (Exit.HARDENING if SWAPS else Exit.OK), done.stdout
    for measure in Measure:
        assert measure in done.stdout
    assert "ways around it were tried and failed" in " ".join(done.stdout.split())
    assert ("All measures hold." in done.stdout) is not SWAPS


def test_the_page_about_hardening_has_every_measure():
    page = (Path(__file__).parents[2] / "docs/hardening.md").read_text()
    assert [measure for measure in Measure if f"\n| `{measure}` |" not in page] == []


def test_its_json_has_every_measure_and_every_fact_of_the_machine():
    answer = json.loads(doctor("--json").stdout)
    assert answer["hardened"] is not SWAPS
    assert [found["name"] for found in answer["measures"]] == [*map(str, Measure)]
    assert {found["protects_from"] for found in answer["measures"]} == set(PROTECTS_FROM.values())
    assert [found["name"] for found in answer["measures"] if not found["holds"]] == (["no-swap"] if SWAPS else [])
    assert {"not-root", "core-pattern", "root-read-only", "kexec-off", "modules-off", "no-default-route"} == {
        found["name"] for found in answer["machine"]
    }


def test_of_a_room_that_runs_it_sees_no_measure_missing_and_says_what_it_cannot_see():
    with hardened_room() as room:
        done = doctor("--pid", str(room.pid), "--json")
    holds = {found["name"]: found["holds"] for found in json.loads(done.stdout)["measures"]}
    assert [name for name, held in holds.items() if held is False] == (["no-swap"] if SWAPS else [])
    assert holds["landlock"] is None
    assert holds["memory-hidden"] is True
    assert done.returncode == (Exit.HARDENING if SWAPS else Exit.OK)


def test_of_a_process_that_is_not_hardened_it_says_so():
    with running(f"{AS_NOBODY}\n{SLEEP}") as process:
        done = doctor("--pid", str(process.pid), "--json")
    holds = {found["name"]: found["holds"] for found in json.loads(done.stdout)["measures"]}
    assert done.returncode == Exit.HARDENING
    for measure in (Measure.MEMORY_HIDDEN, Measure.NO_NEW_PRIVILEGES, Measure.PRIVATE_FILES, Measure.SECCOMP):
        assert holds[measure] is False


def test_a_number_that_no_process_has_is_said_to_be_one():
    done = doctor("--pid", "4194305")
    assert done.returncode == Exit.INPUT
    assert done.stderr.startswith("vesica: no process 4194305 can be seen here")


ROUTE = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
TO_ANYWHERE = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
TO_NEIGHBOURS = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"


def a_machine(
    root: Path, *, pattern: str = "", kexec: str | None = "1", modules: str | None = "1", route: str = ""
) -> Path:
    kernel, net = root / "proc/sys/kernel", root / "proc/net"
    kernel.mkdir(parents=True)
    net.mkdir()
    (kernel / "core_pattern").write_text(f"{pattern}\n")
    (net / "route").write_text(ROUTE + route)
    for name, value in (("kexec_load_disabled", kexec), ("modules_disabled", modules)):
        if value is not None:
            (kernel / name).write_text(f"{value}\n")
    return root


@pytest.mark.parametrize(
    ("changed", "fact"),
    [
        ({"pattern": "core"}, "core-pattern"),
        ({"pattern": "|/usr/share/apport/apport %p"}, "core-pattern"),
        ({"kexec": "0"}, "kexec-off"),
        ({"modules": "0"}, "modules-off"),
        ({"route": TO_NEIGHBOURS + TO_ANYWHERE}, "no-default-route"),
    ],
)
def test_each_fact_of_the_machine_is_told_apart(tmp_path, changed, fact):
    good = {found.name: found.holds for found in machine.facts(1, a_machine(tmp_path / "good", route=TO_NEIGHBOURS))}
    changed = {found.name: found.holds for found in machine.facts(1, a_machine(tmp_path / "bad", **changed))}
    assert {name for name, holds in good.items() if not holds} <= {"root-read-only"}
    assert changed[fact] is False
    assert {name for name in good if good[name] != changed[name]} == {fact}


def test_a_kernel_without_kexec_and_modules_has_them_off_and_root_is_root(tmp_path):
    facts = {found.name: found.holds for found in machine.facts(0, a_machine(tmp_path, kexec=None, modules=None))}
    assert (facts["kexec-off"], facts["modules-off"], facts["not-root"]) == (True, True, False)
    assert os.statvfs(tmp_path).f_flag & os.ST_RDONLY == 0
    assert facts["root-read-only"] is False
