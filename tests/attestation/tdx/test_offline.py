"""Verification opens no socket, reads no clock and prints nothing: shown by a process that dies if it tries.

A seccomp filter kills the process at any system call that makes a socket or asks for the time; and since the kernel
answers most questions for the time without a system call, reading the processor's time stamp counter kills it too.
Linux on x86-64 only: elsewhere these tests are skipped.
"""

import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOCK = """
import ctypes, os, struct, sys
sys.path[:0] = [{root!r} + "/attestation", {root!r} + "/tests"]
from datetime import UTC, datetime
from support.tdx import UP_TO_DATE_AT, evidence, policy_for, real
from vesica_attestation import tdx
from vesica_attestation.tdx.abi import parse_quote
quote, collateral = (real("tdx", "v4-uptodate", name) for name in ("quote.bin", "collateral.json"))
report = parse_quote(quote).report
parts, policy = evidence(quote, collateral), policy_for(report)
tdx.verify(parts, report.report_data, policy, UP_TO_DATE_AT)  # imports, which look at clocks, are over now
libc = ctypes.CDLL(None, use_errno=True)
# socket, connect, sendto, bind, socketpair, gettimeofday, time, clock_gettime, io_uring_setup on x86-64
killed = (41, 42, 44, 49, 53, 96, 201, 228, 425)
steps = [(0x20, 0, 0, 0)]  # load the number of the call
for number in killed:
    steps += [(0x15, 0, 1, number), (0x06, 0, 0, 0x80000000)]  # if it is this one: kill the process
steps.append((0x06, 0, 0, 0x7FFF0000))  # allow
code = b"".join(struct.pack("HBBI", *step) for step in steps)
buffer = ctypes.create_string_buffer(code, len(code))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(26, 2, 0, 0, 0) == 0  # PR_SET_TSC: a time stamp read is a SIGSEGV
assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP: the filter
"""
VERIFY = """
assert tdx.verify(parts, report.report_data, policy, UP_TO_DATE_AT).claims["tcb_status"] == "UpToDate"
try:
    tdx.verify(parts, report.report_data, policy, UP_TO_DATE_AT.replace(year=2026))
except tdx.authentic.Refused as refused:
    assert refused.check == "validity"
else:
    os._exit(1)
"""

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="system call numbers of Linux on x86-64"
)


def run(code: str) -> subprocess.CompletedProcess[bytes]:
    """Python code in a process without sockets and clocks."""
    locked = LOCK.format(root=str(ROOT)) + code + "\nos._exit(0)"  # an ordinary exit looks at the clock
    return subprocess.run([sys.executable, "-c", locked], capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("import socket; socket.socket()", signal.SIGSYS),
        ("import time; time.time()", signal.SIGSEGV),
        ("import time; time.monotonic()", signal.SIGSEGV),
    ],
)
def test_the_lock_kills_what_it_should(code, end):
    assert run(code).returncode in {-end, -signal.SIGSYS}


def test_verification_needs_neither_socket_nor_clock_and_prints_nothing():
    ended = run(VERIFY)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
