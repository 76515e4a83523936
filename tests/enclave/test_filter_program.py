"""The seccomp filter as bytes, run by an interpreter of our own: what it says to each call, on both machines."""

import errno
import os
import re
from pathlib import Path

import pytest

from support.bpf_machine import AARCH64, I386, X86_64, run
from vesica_attestation.needs import Needs
from vesica_enclave.hardening.bpf import ALLOW, KILL, Arch, Bits, Rule, assemble, errno_action
from vesica_enclave.hardening.calls import NUMBERS
from vesica_enclave.hardening.seccomp import ALWAYS, KILLED, REFUSED, program

EPERM, ENOSYS = errno_action(errno.EPERM), errno_action(errno.ENOSYS)
PID = 4711
NONE = Needs()
TSM = Needs(entries=frozenset({Path("/sys/kernel/config/tsm/report")}))
NSM = Needs(devices=frozenset({Path("/dev/nsm")}), ioctls=frozenset({0xC0200A00}))
SOCKET = Needs(sockets=frozenset({Path("/run/x.sock")}))
IMDS = Needs(ports=frozenset({80}))
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK = 1, 2, 10, 16, 17, 40
STREAM, DATAGRAM, RAW, CLOEXEC, NONBLOCK = 1, 2, 3, 0o2000000, 0o4000
TCP, UDP, MPTCP, SCTP = 6, 17, 262, 132


@pytest.fixture(params=[Arch.X86_64, Arch.AARCH64], ids=lambda arch: arch.name)
def arch(request):
    return request.param


def says(arch: Arch, name: str, *arguments: int, needs: Needs = NONE) -> int | None:
    """What the filter returns; None where the machine has no such call."""
    number = NUMBERS[name][0 if arch is Arch.X86_64 else 1]
    if number is None:
        return None
    return run(program(arch, needs, PID), arch.value, number, *arguments)


def test_every_call_that_is_named_gets_what_its_set_says(arch):
    assert not ALWAYS & KILLED
    assert not ALWAYS & REFUSED
    assert not KILLED & REFUSED
    for names, action in ((ALWAYS, ALLOW), (KILLED, KILL), (REFUSED, EPERM)):
        for name in names:
            assert says(arch, name) in {action, None}, name


def test_a_call_that_nobody_named_does_not_exist(arch):
    named = {numbers[0 if arch is Arch.X86_64 else 1] for numbers in NUMBERS.values()}
    filter_ = program(arch, Needs(), PID)
    for number in set(range(700)) - named:
        assert run(filter_, arch.value, number) == ENOSYS, number
    assert says(arch, "clone3") == ENOSYS  # what it is to do stands in memory
    assert says(arch, "openat2") == ENOSYS


@pytest.mark.parametrize("number", [0, 1, 2, 11, 59, 221])
def test_calls_in_another_convention_end_the_process(arch, number):
    filter_ = program(arch, Needs(), PID)
    for foreign in {X86_64, AARCH64, I386, 0} - {arch.value}:
        assert run(filter_, foreign, number) == KILL
    if arch is Arch.X86_64:
        x32 = 0x40000000
        assert run(filter_, X86_64, x32 | number) == run(filter_, X86_64, -1) == KILL


@pytest.mark.parametrize(
    "flags",
    [
        os.O_WRONLY,
        os.O_RDWR,
        os.O_CREAT,
        os.O_TRUNC,
        os.O_RDONLY | os.O_CREAT,
        os.O_RDWR | os.O_TMPFILE,
        os.O_TMPFILE,
        3,
    ],
)
def test_a_file_is_opened_for_reading_and_nothing_else(arch, flags):
    assert says(arch, "openat", -100, 1, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NONBLOCK) == ALLOW
    assert says(arch, "openat", -100, 1, flags | os.O_CLOEXEC) == EPERM
    # The kernel reads 32 bits of the flags: what stands above them changes nothing.
    assert says(arch, "openat", -100, 1, flags | 1 << 40) == EPERM
    assert says(arch, "open", 1, flags) in {EPERM, None}


@pytest.mark.parametrize("needs", [TSM, NSM])
def test_an_attester_that_writes_may_open_for_writing_and_still_make_and_cut_nothing(arch, needs):
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CLOEXEC):
        assert says(arch, "openat", -100, 1, flags, needs=needs) == ALLOW
    for flags in (os.O_CREAT | os.O_WRONLY, os.O_TRUNC | os.O_WRONLY, os.O_TMPFILE | os.O_RDWR):
        assert says(arch, "openat", -100, 1, flags, needs=needs) == EPERM


def test_only_configfs_makes_and_removes_folders_and_no_attester_removes_files(arch):
    removes_folder = 0x200
    for needs in (Needs(), NSM, SOCKET, IMDS):
        assert says(arch, "mkdirat", needs=needs) == EPERM
        assert says(arch, "unlinkat", -100, 1, removes_folder, needs=needs) == EPERM
    assert says(arch, "mkdirat", needs=TSM) == ALLOW
    assert says(arch, "mkdir", needs=TSM) in {ALLOW, None}
    assert says(arch, "unlinkat", -100, 1, removes_folder, needs=TSM) == ALLOW
    assert says(arch, "unlinkat", -100, 1, 0, needs=TSM) == EPERM
    assert says(arch, "unlink", needs=TSM) in {EPERM, None}


def test_no_socket_is_made_unless_an_attester_needs_one_and_then_of_its_kind_only(arch):
    for domain in (AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK):
        for kind in (STREAM, DATAGRAM, RAW):
            for needs in (Needs(), TSM, NSM):
                assert says(arch, "socket", domain, kind, needs=needs) == EPERM
            for needs, allowed in ((SOCKET, AF_UNIX), (IMDS, AF_INET)):
                expected = ALLOW if (domain, kind) == (allowed, STREAM) else EPERM
                assert says(arch, "socket", domain, kind, needs=needs) == expected
                assert says(arch, "socket", domain, kind | CLOEXEC | NONBLOCK, needs=needs) == expected


@pytest.mark.parametrize("protocol", [MPTCP, SCTP, UDP])
def test_only_plain_tcp_is_made_for_landlock_judges_no_other(arch, protocol):
    assert says(arch, "socket", AF_INET, STREAM, TCP, needs=IMDS) == ALLOW
    assert says(arch, "socket", AF_INET, STREAM, protocol, needs=IMDS) == EPERM
    assert says(arch, "socket", AF_UNIX, STREAM, protocol, needs=SOCKET) == EPERM


def test_nothing_connects_unless_an_attester_does_and_sending_does_not_connect(arch):
    fast_open = 0x20000000
    for needs in (Needs(), TSM, NSM):
        assert says(arch, "connect", needs=needs) == EPERM
    assert says(arch, "connect", needs=SOCKET) == says(arch, "connect", needs=IMDS) == ALLOW
    assert says(arch, "sendto", 4, 1, 2, 0x4000) == ALLOW
    assert says(arch, "sendto", 4, 1, 2, fast_open) == EPERM
    assert says(arch, "sendto", 4, 1, 2, 0, 0x7FFE_0000_0000, 16) == EPERM  # a pointer whose lower half is zero
    assert says(arch, "sendto", 4, 1, 2, 0, 1, 16) == EPERM
    assert says(arch, "sendmsg", 4, 1, 0x4000) == ALLOW
    assert says(arch, "sendmsg", 4, 1, fast_open) == EPERM


def test_no_memory_becomes_code(arch):
    read, write, execute = 1, 2, 4
    for name in ("mmap", "mprotect"):
        assert says(arch, name, 0, 4096, read | write) == ALLOW
        for prot in (execute, read | execute, read | write | execute, execute | 0x1000000):
            assert says(arch, name, 0, 4096, prot) == EPERM
    assert says(arch, "personality", 0x0400000) == EPERM  # READ_IMPLIES_EXEC


def test_threads_are_made_and_no_processes_or_namespaces(arch):
    glibc, musl = 0x3D0F00, 0x7D0F00
    assert says(arch, "clone", glibc) == says(arch, "clone", musl) == ALLOW
    assert says(arch, "clone", 17) == EPERM  # fork
    assert says(arch, "clone", 0x4111) == EPERM  # vfork
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
        assert says(arch, "clone", glibc | flag) == EPERM


def test_it_signals_nobody_but_itself(arch):
    assert says(arch, "tgkill", PID, 1, 6) == ALLOW
    assert says(arch, "tgkill", PID + 1, 1, 6) == EPERM
    assert says(arch, "kill", PID, 6) == EPERM


def test_limits_are_read_and_not_set_and_dumping_stays_off(arch):
    assert says(arch, "prlimit64", 0, 4, 0, 0x7FFE_0000_1000) == ALLOW
    assert says(arch, "prlimit64", 0, 4, 0x7FFE_0000_0000, 0) == EPERM
    assert says(arch, "prctl", 15, 1) == ALLOW  # a thread's name
    for option in (4, 38, 22, 8, 0x59616D61):
        assert says(arch, "prctl", option, 1) == EPERM


def test_a_terminal_is_not_typed_into_and_only_the_attester_that_needs_it_asks_its_device(arch):
    typing = 0x5412  # TIOCSTI
    for needs in (Needs(), TSM, NSM, SOCKET, IMDS):
        assert says(arch, "ioctl", 0, typing, needs=needs) == EPERM
    assert says(arch, "ioctl", 4, 0xC0200A00) == EPERM
    assert says(arch, "ioctl", 4, 0xC0200A00, needs=NSM) == ALLOW
    assert says(arch, "ioctl", 4, 0x5421) == ALLOW  # FIONBIO


# The assembler by itself.


def test_a_rule_holds_if_all_tests_of_one_alternative_do(arch):
    rule = Rule(7, ((Bits(0, 0xF0, 0x20), Bits(1, 2**64 - 1, 5 << 32)), (Bits(2, 1, 1),)), EPERM)
    filter_ = assemble(arch, [rule], ENOSYS)

    def returns(*arguments: int) -> int:
        return run(filter_, arch.value, 7, *arguments)

    assert returns(0x12F, 5 << 32) == ALLOW
    assert returns(0x13F, 5 << 32) == EPERM
    assert returns(0x12F, 5 << 32 | 1) == EPERM
    assert returns(0x12F, 5) == EPERM
    assert returns(0, 0, 3) == ALLOW
    assert run(filter_, arch.value, 8, 0, 0, 3) == ENOSYS


def test_what_would_forget_a_rule_is_a_bug_and_no_program():
    with pytest.raises(ValueError, match="two rules"):
        assemble(Arch.X86_64, [Rule(1, otherwise=ALLOW), Rule(1)], KILL)
    with pytest.raises(ValueError, match="without a test"):
        assemble(Arch.X86_64, [Rule(1, ((),))], KILL)
    with pytest.raises(ValueError, match="never hold"):
        assemble(Arch.X86_64, [Rule(1, ((Bits(0, 1, 2),),))], KILL)
    with pytest.raises(ValueError, match="too long"):
        assemble(Arch.X86_64, [Rule(1, tuple((Bits(0, 255, value),) for value in range(200)))], KILL)
    with pytest.raises(ValueError, match="too long"):
        assemble(Arch.X86_64, [Rule(number) for number in range(3000)], KILL)
    with pytest.raises(ValueError, match="errno"):
        errno_action(0)


HEADERS = {
    Arch.X86_64: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Arch.AARCH64: Path("/usr/include/asm-generic/unistd.h"),
}
_DEFINED = re.compile(r"^#define\s+__NR(?:3264)?_(\w+)\s+(\d+)\s*$", re.MULTILINE)
_NAMED_OTHERWISE = {"newfstatat": "fstatat"}  # as the generic header calls it


def test_the_numbers_are_those_of_the_kernels_own_headers(arch):
    header = HEADERS[arch]
    if not header.exists():
        pytest.skip(f"needs {header}, which Debian's linux-libc-dev has")
    kernels = {name: int(number) for name, number in _DEFINED.findall(header.read_text())}
    assert len(kernels) > 300
    for name, numbers in NUMBERS.items():
        ours = numbers[0 if arch is Arch.X86_64 else 1]
        theirs = kernels.get(name, kernels.get(_NAMED_OTHERWISE.get(name, "")))
        assert theirs == ours, name


def test_every_name_in_the_sets_has_a_number():
    assert NUMBERS.keys() >= ALWAYS | KILLED | REFUSED
