"""A measure that cannot be taken stops the start, with a code, an exit code and what to do; or is said aloud."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.hardened import LENIENT, hardened_room, outcomes
from support.server import agreement_text
from vesica.cli.exits import Exit
from vesica.errors import NotHardened
from vesica_attestation.needs import Needs
from vesica_enclave.hardening import landlock, process, seccomp
from vesica_enclave.hardening.measures import Measure

LANDLOCK, SECCOMP, PRCTL = "landlock_create_ruleset", "seccomp", "prctl"


def kernel_without(call: str, number: int) -> str:
    """Python that makes the kernel answer a call with an error, in this process and all that it starts."""
    return f"""
import ctypes, os, struct
from vesica_enclave.hardening._linux import arch, prctl
from vesica_enclave.hardening.bpf import ALLOW, Rule, assemble, errno_action
from vesica_enclave.hardening.calls import NUMBERS
_number = NUMBERS[{call!r}][arch().name != "X86_64"]
_code = ctypes.create_string_buffer(assemble(arch(), [Rule(_number, otherwise=errno_action({number}))], ALLOW))
prctl(38, 1)
_described = ctypes.create_string_buffer(struct.pack("=H6xQ", len(_code) // 8, ctypes.addressof(_code)))
prctl(22, 2, ctypes.addressof(_described))
"""


NO_LANDLOCK = kernel_without(LANDLOCK, errno.ENOSYS)
NO_FILTERS = kernel_without(SECCOMP, errno.EINVAL)


def vesica(before: str, *argv: str) -> "subprocess.CompletedProcess[str]":
    program = f"{before}\nimport sys; from vesica.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def agreement(tmp_path):
    path = tmp_path / "agreement.toml"
    path.write_text(agreement_text({"alice": "1", "bob": "1"}))
    return path


@pytest.mark.parametrize(
    ("before", "measure", "why"),
    [
        (NO_LANDLOCK, "landlock", "this kernel has no Landlock; it needs Linux 5.13"),
        (kernel_without(LANDLOCK, errno.EOPNOTSUPP), "landlock", "add it to lsm= on the kernel's command line"),
        (kernel_without(LANDLOCK, errno.EPERM), "landlock", "let its seccomp profile allow landlock_*"),
        (NO_FILTERS, "seccomp", "the kernel did not take the filter"),
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
         "no-capabilities", "2 threads run before the room does"),
    ],
    ids=["no-landlock", "landlock-off", "landlock-forbidden", "no-filters", "a-thread"],
)  # fmt: skip
def test_a_room_does_not_start_without_a_measure_and_says_which_and_what_to_do(agreement, before, measure, why):
    if LENIENT:
        pytest.skip("this machine swaps, and no room starts on it for that alone")
    done = vesica(before, "serve", str(agreement), "--port", "0", "--attester", "insecure-software")
    assert done.returncode == Exit.HARDENING
    assert done.stdout == ""
    complaint, hint = done.stderr.splitlines()[-2:]
    assert complaint.startswith(f"vesica: not hardened ({measure}): ")
    assert why in complaint
    assert hint == "hint: see what holds: vesica doctor; with made-up data on a laptop: vesica serve --allow-unhardened"
    assert "info serving" not in done.stderr


def test_with_allow_unhardened_it_starts_and_says_so_in_words_and_as_an_event():
    with hardened_room(NO_LANDLOCK, "--allow-unhardened") as room:
        (complaint,) = [line for line in room.complaints() if "no-swap" not in line]
        assert complaint.startswith("vesica: WARNING: not hardened (landlock): this kernel has no Landlock")
        assert complaint.endswith("Not for real data.")
        assert "warning not-hardened code=not-hardened" in room.stderr
        assert "info sealed" not in room.stderr
        assert "info serving" in room.stderr


def test_what_cannot_be_had_takes_nothing_else_away(tmp_path):
    """Without Landlock, the filter still stands."""
    with hardened_room(NO_LANDLOCK, "--allow-unhardened") as room:
        status = Path(f"/proc/{room.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp_filters:\t2" in status or "Seccomp_filters" not in status


def test_doctor_says_no_and_exits_with_the_code_of_a_room_that_does_not_start():
    done = vesica(NO_LANDLOCK, "doctor", "--json")
    assert done.returncode == Exit.HARDENING
    answer = json.loads(done.stdout)
    holds = {found["name"]: found["holds"] for found in answer["measures"]}
    assert answer["hardened"] is False
    assert holds["landlock"] is False
    assert holds["seccomp"] is True


# Each measure by itself, where what it meets is injected.


def failing(number: int):
    def call(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


def test_swap_in_use_is_refused_unless_memory_can_be_locked(tmp_path):
    swaps = tmp_path / "swaps"
    swaps.write_text("Filename\tType\tSize\tUsed\tPriority\n/dev/vdb partition 1 0 -2\n")
    assert process.no_swap(swaps, lambda: "locked") == "locked"
    with pytest.raises(NotHardened, match=r"swap is in use.*swapoff -a.*CAP_IPC_LOCK"):
        process.no_swap(swaps, failing(errno.EPERM))
    with pytest.raises(NotHardened, match="cannot be read"):
        process.no_swap(tmp_path / "none", failing(errno.EPERM))
    swaps.write_text("Filename\tType\tSize\tUsed\tPriority\n")
    assert process.no_swap(swaps, failing(errno.EPERM)) == "no swap is in use"


# Locks memory by the capability alone, gives the others up, and grows: prints what the kernel shows, and what is left.
LOCKED = """
import json, resource
from pathlib import Path
from vesica_enclave.hardening import process
resource.setrlimit(resource.RLIMIT_MEMLOCK, (2**16, 2**16))
resource_setrlimit, resource.setrlimit = resource.setrlimit, lambda *_: (_ for _ in ()).throw(ValueError())
said = process.no_swap(Path("/none"))
left = process.no_capabilities()
grown = bytearray(2**26)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps([said, left, int(status["VmLck"].split()[0]), status["CapPrm"].strip()]))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root has the capability to lock memory")
def test_memory_that_is_locked_by_a_capability_stays_locked_and_grows_when_the_others_are_given_up():
    said, left, locked_kib, capabilities = outcomes(LOCKED)
    assert said == "all memory, also that to come, is locked"
    assert left == "CAP_IPC_LOCK is left, for locked memory"
    assert locked_kib > 2**16
    assert int(capabilities, 16) == 1 << 14


def test_an_attester_that_connects_to_a_port_is_refused_where_landlock_knows_no_ports(monkeypatch):
    monkeypatch.setattr(landlock, "require_one_thread", lambda _: None)
    with pytest.raises(NotHardened, match="ABI 3"):
        landlock.restrict(Needs(ports=frozenset({80})), lambda *_: 3)


@pytest.mark.parametrize(("abi", "rights"), [(1, 13), (2, 14), (3, 15), (4, 15), (5, 16), (8, 16), (9, 17), (99, 17)])
def test_each_version_of_landlock_is_asked_for_all_that_it_knows(abi, rights):
    assert landlock.handled_access(abi) == 2**rights - 1


def test_what_an_attester_needs_must_be_there(tmp_path):
    program = """
import json, sys
from pathlib import Path
from vesica.errors import NotHardened
from vesica_attestation.needs import Needs
from vesica_enclave.hardening import landlock, process
process.no_new_privileges()
try:
    print(json.dumps(landlock.restrict(Needs(devices=frozenset({Path(sys.argv[1])})))))
except NotHardened as error:
    print(json.dumps(error.detail))
"""
    assert "is needed, and is not there" in outcomes(program, str(tmp_path / "nsm"))


def test_a_filter_that_one_thread_would_not_get_is_refused():
    with pytest.raises(NotHardened, match="another filter"):
        seccomp.restrict(Needs(), lambda *_: 4711)
    with pytest.raises(NotHardened, match="Invalid argument"):
        seccomp.restrict(Needs(), failing(errno.EINVAL))


def test_on_a_machine_without_a_table_of_calls_there_is_no_filter(monkeypatch):
    monkeypatch.setattr(seccomp, "arch", lambda: None)
    with pytest.raises(NotHardened) as refused:
        seccomp.restrict(Needs(), failing(errno.EPERM))
    assert (refused.value.measure, refused.value.code) == (Measure.SECCOMP, "not-hardened")


def test_what_was_open_when_the_process_was_started_is_closed(tmp_path):
    program = """
import json, os, sys
from vesica_enclave.hardening import process
process.nothing_inherited()
def there(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
print(json.dumps([there(number) for number in (0, 1, 2, int(sys.argv[1]))]))
"""
    with (tmp_path / "log").open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", program, str(file.fileno())],
            pass_fds=[file.fileno()],
            capture_output=True,
            check=True,
        )
    assert json.loads(done.stdout) == [True, True, True, False]
