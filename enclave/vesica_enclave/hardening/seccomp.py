"""Which system calls a sealed room may still make. Everything else is refused, or ends the process.

The room receives and answers on connections that it accepts, computes, makes threads, and reads. What more an attester
needs, it names (``vesica_attestation.needs``). A filter sees numbers and no paths: which files and ports they are is
Landlock's part.

Source: Linux, seccomp(2); the calls are those that a room was seen to make (strace), and those that glibc and musl make
in their place.
"""

import errno
import fcntl
import mmap
import os
import socket
import struct
import termios
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from ctypes import addressof, create_string_buffer
from typing import Final

from vesica.errors import NotHardened
from vesica_attestation.needs import Needs
from vesica_enclave.hardening._linux import Syscall, arch, syscall
from vesica_enclave.hardening.bpf import ALLOW, INSTRUCTION_BYTES, KILL, Arch, Bits, Rule, assemble, errno_action
from vesica_enclave.hardening.calls import NUMBERS
from vesica_enclave.hardening.measures import Measure


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Allowed whatever their arguments: each acts on what the process already has, or tells what is no secret.
ALWAYS: Final = _names("""
    read readv pread64 write writev close lseek fstat newfstatat stat lstat statx access faccessat faccessat2 readlink
    readlinkat getcwd getdents getdents64
    poll ppoll epoll_wait epoll_pwait epoll_ctl
    accept accept4 recvfrom recvmsg getsockname getpeername getsockopt shutdown
    brk munmap mremap madvise
    futex set_robust_list rseq exit exit_group sched_yield sched_getaffinity gettid getpid
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall
    clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time
    getrandom uname sysinfo getrusage getuid geteuid getgid getegid
""")

# No library tries these, to see whether they work: whoever does is taking the process over.
KILLED: Final = _names("""
    execve execveat ptrace process_vm_readv process_vm_writev pidfd_getfd open_by_handle_at
    mount umount2 pivot_root open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr setns unshare chroot
    kexec_load kexec_file_load init_module finit_module delete_module bpf perf_event_open userfaultfd
    swapon swapoff reboot iopl ioperm
""")

# Not permitted, and said so, because a library may try them. (What is named nowhere is unknown: see DEFAULT.)
REFUSED: Final = _names("""
    creat mknod mknodat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
    truncate ftruncate fallocate chmod fchmod fchmodat chown fchown lchown fchownat memfd_create memfd_secret
    pwrite64 pwritev pwritev2 sendfile splice copy_file_range
    socket socketpair connect bind listen sendmmsg pipe pipe2 shmget shmat
    fork vfork kill rt_sigqueueinfo pidfd_send_signal
    setuid setgid setreuid setregid setresuid setresgid setgroups capset setrlimit personality
    seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
    io_uring_setup io_uring_enter io_uring_register
""")

EPERM: Final = errno_action(errno.EPERM)
# An unknown call is one that does not exist: a C library then takes an older one, which is here. That holds for clone3
# and openat2 as well, whose arguments are in memory, where a filter cannot look.
DEFAULT: Final = errno_action(errno.ENOSYS)

_SET_MODE_FILTER: Final = 1
_FLAG_TSYNC: Final = 1
_INT: Final = 0xFFFFFFFF  # arguments of type int: the kernel reads no more of them
_LONG: Final = 0xFFFFFFFF_FFFFFFFF
_MSG_FASTOPEN: Final = 0x20000000
_TMPFILE: Final = 0o20000000  # __O_TMPFILE; the other half of O_TMPFILE is O_DIRECTORY
_AT_REMOVEDIR: Final = 0x200
_PR_SET_NAME: Final = 15
_PR_SET_VMA: Final = 0x53564D41  # malloc names its memory
_CLONE_VM_AND_THREAD: Final = 0x00000100 | 0x00010000
# New namespaces, CLONE_PTRACE, CLONE_UNTRACED and CLONE_PIDFD have no use for a thread.
_CLONE_NOT: Final = 0x7E020000 | 0x00000080 | 0x00002000 | 0x00800000 | 0x00001000
_IOCTLS: Final = (termios.FIONBIO, termios.FIOCLEX, termios.FIONREAD, termios.TCGETS, termios.TIOCGWINSZ)
_FCNTLS: Final = (fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_DUPFD_CLOEXEC)
_SOCKET_TYPE: Final = _INT & ~(0o2000000 | 0o4000)  # without SOCK_CLOEXEC and SOCK_NONBLOCK

Alternatives = tuple[tuple[Bits, ...], ...]


def program(arch: Arch, needs: Needs, pid: int) -> bytes:
    """The filter of a room whose attester has these needs. pid: the process's own, the only one it may signal."""
    always = ALWAYS | _always(needs)
    conditional = {**_CONDITIONAL, **_reading(needs), **_connecting(needs), "tgkill": ((_is(0, pid),),)}
    refused = REFUSED - always - conditional.keys()
    # Calls with conditions first: of all others the kernel remembers the answer, and does not run the filter again.
    rules = [
        Rule(number, alternatives, EPERM)
        for name, alternatives in conditional.items()
        for number in _numbers({name}, arch)
    ]
    for names, action in ((always, ALLOW), (KILLED, KILL), (refused, EPERM)):
        rules += [Rule(number, otherwise=action) for number in _numbers(names, arch)]
    return assemble(arch, rules, DEFAULT)


def restrict(needs: Needs, call: Syscall = syscall) -> str:
    """Puts the filter on every thread of this process, for good. Asks for no_new_privs.

    Raises NotHardened.
    """
    machine = arch()
    if machine is None:
        raise NotHardened(Measure.SECCOMP, "there is no filter for this machine; it takes Linux on x86_64 or aarch64")
    filtering = create_string_buffer(program(machine, needs, os.getpid()))
    count = (len(filtering) - 1) // INSTRUCTION_BYTES
    described = create_string_buffer(struct.pack("=H6xQ", count, addressof(filtering)))  # struct sock_fprog
    number = _numbers({"seccomp"}, machine)[0]
    try:
        unwilling = call(number, _SET_MODE_FILTER, _FLAG_TSYNC, described)
    except OSError as error:
        why = error.strerror
    else:
        if not unwilling:
            return f"a filter of {count} instructions; {len(KILLED)} kinds of calls end the process"
        why = "one of the threads has another filter already"
    raise NotHardened(Measure.SECCOMP, f"the kernel did not take the filter: {why}")


def _always(needs: Needs) -> AbstractSet[str]:
    """What an attester's needs add to ALWAYS. Landlock says where."""
    calls: AbstractSet[str] = {"mkdir", "mkdirat", "rmdir"} if needs.entries else set()
    return calls | ({"connect"} if needs.sockets or needs.ports else set())


def _reading(needs: Needs) -> dict[str, Alternatives]:
    """Opening files: none is made, none is cut, and none is written but where an attester must."""
    never = os.O_CREAT | os.O_TRUNC | _TMPFILE
    if not (needs.devices or needs.entries):
        never |= os.O_WRONLY | os.O_RDWR
    requests = sorted({*_IOCTLS, *needs.ioctls})
    rules: dict[str, Alternatives] = {
        "open": ((Bits(1, never, 0),),),
        "openat": ((Bits(2, never, 0),),),
        "ioctl": tuple((_is(1, request),) for request in requests),
    }
    if needs.entries:
        rules["unlinkat"] = ((Bits(2, _AT_REMOVEDIR, _AT_REMOVEDIR),),)
    return rules


def _connecting(needs: Needs) -> dict[str, Alternatives]:
    """Sockets that connect. Only the plain kinds: Landlock's rule about ports is about TCP, and not about MPTCP."""
    stream = Bits(1, _SOCKET_TYPE, socket.SOCK_STREAM)
    alternatives: list[tuple[Bits, ...]] = []
    if needs.sockets:
        alternatives.append((_is(0, socket.AF_UNIX), stream, _is(2, 0)))
    if needs.ports:
        alternatives += [(_is(0, socket.AF_INET), stream, _is(2, protocol)) for protocol in (0, socket.IPPROTO_TCP)]
    return {"socket": tuple(alternatives)} if alternatives else {}


def _is(argument: int, value: int) -> Bits:
    return Bits(argument, _INT, value)


def _numbers(names: AbstractSet[str], arch: Arch) -> list[int]:
    """Numbers, in order. A call that a machine has not needs no rule: it has no number."""
    at = 0 if arch is Arch.X86_64 else 1
    return sorted(number for name in names if (number := NUMBERS[name][at]) is not None)


_NO_CODE: Final[Alternatives] = ((Bits(2, mmap.PROT_EXEC, 0),),)  # no new code, whoever wrote it
_CONDITIONAL: Final[Mapping[str, Alternatives]] = {
    "mmap": _NO_CODE,
    "mprotect": _NO_CODE,
    "clone": ((Bits(0, _CLONE_VM_AND_THREAD, _CLONE_VM_AND_THREAD), Bits(0, _CLONE_NOT, 0)),),
    # TCP Fast Open connects while it sends, and neither Landlock nor a rule about connect() sees that.
    "sendto": ((Bits(3, _MSG_FASTOPEN, 0), Bits(4, _LONG, 0)),),
    "sendmsg": ((Bits(2, _MSG_FASTOPEN, 0),),),
    "setsockopt": ((_is(1, socket.IPPROTO_TCP), _is(2, socket.TCP_NODELAY)),),
    "fcntl": tuple((_is(1, command),) for command in _FCNTLS),
    "prlimit64": ((Bits(2, _LONG, 0),),),  # to ask, not to set
    "prctl": ((_is(0, _PR_SET_NAME),), (_is(0, _PR_SET_VMA),)),
}
