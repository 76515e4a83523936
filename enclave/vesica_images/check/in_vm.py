"""What must hold in a running VM, tried from inside of it. Runs only in an image of its own.

The shipped image has no way to run anything. So for this check there is a second one: the same root file system, byte
for byte, the same kernel and the same command line, but an initial file system in which a second process is started
that does not belong there. Its PCR 4 and 11 are others, and no policy for the shipped image accepts it.

This file is handed to the root file system's Python as text; it needs the standard library and ``vesica_init``.
"""

import contextlib
import ctypes
import errno
import os
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

ROOM_USER: Final = 10001
PORT: Final = 8443
MARK: Final = "selftest:"
RESIDENT_KIB_MAX: Final = 200 * 1024
_PTRACE_ATTACH: Final = 16
_FINIT_MODULE, _KEXEC_LOAD, _PROCESS_VM_READV = 313, 246, 310
_WAIT_SECONDS_MAX: Final = 300
_BRIDGE_SECONDS_MAX: Final = 60
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_IN_MEMORY: Final = frozenset({"tmpfs", "devtmpfs", "proc", "configfs"})

_libc: Final = ctypes.CDLL(None, use_errno=True)


def refused(action: Callable[[], object], allowed: frozenset[int] = _REFUSED) -> str:
    """The error by which the system refuses. Raises AssertionError if it does not, or for another reason."""
    try:
        action()
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        if error.errno not in allowed:
            raise AssertionError(f"{name} instead of a refusal") from None
        return name
    raise AssertionError("it was allowed")


def write_only_in_memory(room: int) -> str:
    """As root, which the room is not."""
    del room
    told = [
        f"{place} {refused(Path(place, 'x').touch)}" for place in ("/", "/usr", "/etc", "/opt/vesica", "/var", "/sys")
    ]
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options = line.split()[:4]
        if "rw" in options.split(",") and kind not in _IN_MEMORY:
            raise AssertionError(f"{place}, a {kind}, can be written")
    return ", ".join(told)


def write_as_the_room(room: int) -> str:
    """As the room's own user: /tmp, and nothing else that there is."""
    del room
    places = [
        path for path in ("/run", "/run/vesica", "/dev", "/proc", "/root", "/var/tmp", "/etc") if Path(path).exists()
    ]
    told = [f"{place} {refused(Path(place, 'x').touch, _REFUSED | {errno.ENOENT})}" for place in places]
    refused(partial(os.open, "/run/vesica/agreement.toml", os.O_WRONLY))
    Path("/tmp/x").write_text("x")
    Path("/tmp/x").unlink()
    return ", ".join(told)


def no_disk_written(room: int) -> str:
    """Block devices, as the room's user."""
    del room
    disks = sorted(Path("/dev") / path.name for path in Path("/sys/class/block").iterdir())
    return ", ".join(f"{disk.name} {refused(partial(os.open, disk, os.O_RDWR))}" for disk in disks if disk.exists())


def no_way_out(room: int) -> str:
    """Connections to elsewhere."""
    del room
    targets = (("192.0.2.1", 443), ("10.0.2.2", 443), ("10.0.2.3", 53))
    told = []
    for target in targets:
        with socket.socket() as client:
            client.settimeout(3)
            try:
                client.connect(target)
            except OSError as error:
                told.append(f"{target[0]} {errno.errorcode.get(error.errno or 0, 'no answer')}")
            else:
                raise AssertionError(f"{target[0]} was reached")
    if len(Path("/proc/net/route").read_text().splitlines()) != 2:  # noqa: PLR2004 (headline, own network)
        raise AssertionError("there is a route to elsewhere")
    return ", ".join(told)


def memory_unreadable(room: int) -> str:
    """The room's memory, for a process of the same user."""

    def read() -> None:
        with Path(f"/proc/{room}/mem").open("rb") as memory:
            memory.seek(_an_address())
            memory.read(1)

    byte = ctypes.create_string_buffer(1)
    here, there = ((ctypes.c_size_t * 2)(place, 1) for place in (ctypes.addressof(byte), _an_address()))
    ways = (
        ("mem", read),
        ("maps", lambda: Path(f"/proc/{room}/maps").read_bytes()),
        ("process_vm_readv", lambda: call(_PROCESS_VM_READV, room, here, 1, there, 1, 0)),
    )
    return ", ".join(f"{name} {refused(way, _REFUSED | {errno.ENOENT})}" for name, way in ways)


def not_traceable(room: int) -> str:
    """Debuggers, for the same user and for root."""
    return refused(lambda: _checked(_libc.ptrace(_PTRACE_ATTACH, room, 0, 0)))


def no_core_file(room: int) -> str:
    """A process of the room's user that crashes, with no limit of its own on core dumps."""
    del room
    child = os.fork()
    if child == 0:
        os.chdir("/tmp")
        with contextlib.suppress(OSError, ValueError):
            hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGSEGV:
        raise AssertionError("the process did not crash")
    left = [str(path) for place in ("/tmp", "/run") for path in Path(place).rglob("*core*")]
    if left:
        raise AssertionError(f"left behind: {left}")
    return f"core_pattern {Path('/proc/sys/kernel/core_pattern').read_text().strip()}"


def closed_kernel(room: int) -> str:
    """Drivers and other kernels, as root with all capabilities."""
    del room
    with Path("/usr/bin/python3").open("rb") as file:
        told = f"finit_module {refused(lambda: call(_FINIT_MODULE, file.fileno(), b'', 0))}"
    told += f", kexec_load {refused(lambda: call(_KEXEC_LOAD, 0, 0, 0, 0))}"
    lockdown = Path("/sys/kernel/security/lockdown").read_text().strip()
    if "[confidentiality]" not in lockdown:
        raise AssertionError(f"lockdown {lockdown}")
    return f"{told}, lockdown confidentiality"


def no_rights(room: int) -> str:
    """The room's own standing, from the kernel."""
    lines = Path(f"/proc/{room}/status").read_text().splitlines()
    status = {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}
    if set(status["Uid"]) != {str(ROOM_USER)} or set(status["Gid"]) != {str(ROOM_USER)} or status["Groups"]:
        raise AssertionError("another user than the room's")
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name][0], 16):
            raise AssertionError(f"{name} {status[name][0]}")
    if status["NoNewPrivs"] != ["1"] or status["Seccomp"] != ["2"]:
        raise AssertionError(f"NoNewPrivs {status['NoNewPrivs']}, Seccomp {status['Seccomp']}")
    resident = int(status["VmRSS"][0])
    if resident > RESIDENT_KIB_MAX:
        raise AssertionError(f"{resident} KiB resident at start")
    return f"uid {ROOM_USER}, no capability, NoNewPrivs, seccomp filter, {resident // 1024} MiB resident"


def nobody_else(room: int) -> str:
    """Programs that run: no login, no shell, nothing but ours. And no swap."""
    del room
    names = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and int(path.name) not in {os.getpid(), os.getppid()}:
            words = (path / "cmdline").read_bytes().split(b"\0")
            if words != [b""]:  # the kernel's own
                names[int(path.name)] = words[1:4]
    expected = {b"/usr/lib/vesica/boot.py", b"serve", b"vesica_attestation.tsm_broker"}
    odd = {pid: words for pid, words in names.items() if not expected & set(words)}
    if odd or len(names) != len(expected):
        raise AssertionError(f"{names}")
    if len(Path("/proc/swaps").read_text().splitlines()) != 1:
        raise AssertionError("there is swap")
    return f"{len(names)} processes: init, room, broker; no swap"


def reports_by_broker_only(room: int) -> str:
    """configfs-tsm as the room's user, and the broker, which has no TEE to speak for here."""
    del room
    told = refused(Path("/sys/kernel/config/tsm/report/x").mkdir)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect("/run/vesica/tsm.sock")
        client.sendall(bytes(64))
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(4096).decode()
    if "no TEE's guest driver has registered" not in answer:
        raise AssertionError(f"the broker said {answer}")
    os.close(os.open("/dev/tpmrm0", os.O_RDWR))
    return f"mkdir {told}; the broker says that there is no TEE; the TPM can be used"


def bridge_over_vsock(room: int) -> str:
    """The bridge of Nitro enclaves, both halves of it, over vsock's loopback."""
    del room
    bridges = (("vsock:any:9443", f"tcp:127.0.0.1:{PORT}"), ("tcp:127.0.0.1:9444", "vsock:1:9443"))
    for pair in bridges:
        if os.fork() == 0:
            command = ["/usr/bin/python3", "-ISB", "/usr/lib/vesica/bridge.py", *pair]
            os.execve(command[0], command, {})  # noqa: S606 (no shell)
    deadline = time.monotonic() + _BRIDGE_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if healthy(("127.0.0.1", 9444), unverified()):
                return "TCP to vsock to TCP to the room"
        time.sleep(1)
    raise AssertionError("the room was not reached")


AS_ROOT: Final = (write_only_in_memory, closed_kernel, no_rights, nobody_else, not_traceable)
AS_ROOM: Final = (
    write_as_the_room, no_disk_written, no_way_out, memory_unreadable, not_traceable, no_core_file,
    reports_by_broker_only, bridge_over_vsock,
)  # fmt: skip


def call(number: int, *arguments: object) -> None:
    """A system call by its number. Raises OSError."""
    wide = (ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments)
    _checked(_libc.syscall(ctypes.c_long(number), *wide))


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _an_address() -> int:
    return ctypes.addressof(ctypes.create_string_buffer(1))


def say(text: str) -> None:
    """A line on the console."""
    sys.stdout.write(f"{MARK} {text}\n")
    sys.stdout.flush()


def run(checks: tuple[Callable[[int], str], ...], room: int, user: str) -> None:
    """Runs each in a process of its own, and says how it went."""
    for check in checks:
        child = os.fork()
        if child == 0:
            try:
                if user == "room":
                    sys.path.insert(0, "/usr/lib/vesica")
                    from vesica_init import linux  # noqa: PLC0415

                    linux.drop_to(ROOM_USER, ROOM_USER)
                say(f"ok {check.__name__} as {user}: {check(room)}")
            except BaseException as error:  # noqa: BLE001 (a check that breaks has failed)
                say(f"FAILED {check.__name__} as {user}: {type(error).__name__}: {error}")
            os._exit(0)
        os.waitpid(child, 0)


def unverified() -> ssl.SSLContext:
    """Who the room is, is not asked in here."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def healthy(address: tuple[str, int], context: ssl.SSLContext) -> bool:
    """Whether a room answers there."""
    return b" 200 " in get(address, context, "/healthz")


def get(address: tuple[str, int], context: ssl.SSLContext, path: str) -> bytes:
    """The raw answer. Raises OSError."""
    with socket.create_connection(address, 30) as plain, context.wrap_socket(plain) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := client.recv(2**16):
            answer += piece
        return answer


def wait_for_submission() -> None:
    """Until a party has sent its file: then there is something to lose."""
    for _ in range(_WAIT_SECONDS_MAX):
        if b'"submitted":true' in get(("127.0.0.1", PORT), unverified(), "/room"):
            return
        time.sleep(1)
    raise AssertionError("nobody submitted")


def room_process() -> int:
    """Waits until the room answers, and finds it."""
    for _ in range(_WAIT_SECONDS_MAX):
        with contextlib.suppress(OSError):
            if healthy(("127.0.0.1", PORT), unverified()):
                break
        time.sleep(1)
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and b"\0serve\0" in (path / "cmdline").read_bytes():
            return int(path.name)
    raise AssertionError("there is no room")


def main() -> None:
    """All checks; then, once a party has submitted, the room crashes: the machine must go off."""
    try:
        room = room_process()
        registers = {
            number: Path(f"/sys/class/tpm/tpm0/pcr-sha256/{number}").read_text().strip() for number in range(16)
        }
        say(f"command line {Path('/proc/cmdline').read_text().strip()}")
        for number, value in registers.items():
            say(f"pcr {number} {value.lower()}")
        run(AS_ROOT, room, "root")
        run(AS_ROOM, room, "room")
        say("waiting for a submission")
        wait_for_submission()
        say("done")
        os.kill(room, signal.SIGSEGV)
    except BaseException as error:  # noqa: BLE001 (to be seen on the console)
        say(f"FAILED main: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
