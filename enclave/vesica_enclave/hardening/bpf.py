"""A seccomp filter as a program for the kernel: rules in, bytes out. Nothing here touches the kernel.

Source: Linux, Documentation/userspace-api/seccomp_filter.rst and include/uapi/linux/seccomp.h (struct seccomp_data,
return values); linux/filter.h and McCanne & Jacobson 1993 (the instructions).
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

ALLOW: Final = 0x7FFF0000
KILL: Final = 0x80000000  # the whole process, with SIGSYS
_ERRNO: Final = 0x00050000
ERRNO_MAX: Final = 4095
INSTRUCTIONS_MAX: Final = 4096
ARGUMENTS: Final = 6
INSTRUCTION_BYTES: Final = 8

_NR_OFFSET: Final = 0
_ARCH_OFFSET: Final = 4
_ARGUMENTS_OFFSET: Final = 16
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_JUMP_MAX: Final = 255
_X32_BIT: Final = 0x40000000
_WORD: Final = 0xFFFFFFFF
_INSTRUCTION: Final = struct.Struct("<HBBI")  # both kinds of machine are little-endian

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


class Arch(Enum):
    """Kinds of machine, by what ELF and the kernel's audit call them (AUDIT_ARCH_...)."""

    X86_64 = 0xC000003E
    AARCH64 = 0xC00000B7


@dataclass(frozen=True)
class Bits:
    """Holds if the bits of an argument under ``mask`` are those of ``value``. argument: from 0."""

    argument: int
    mask: int
    value: int


@dataclass(frozen=True)
class Rule:
    """One call. any_of: alternatives; if all tests of one of them hold, the call is allowed.

    otherwise: what happens if they do not, or if there are none.
    """

    number: int
    any_of: tuple[tuple[Bits, ...], ...] = ()
    otherwise: int = KILL


def errno_action(errno: int) -> int:
    """The call is not made, and fails with this error."""
    if not 0 < errno <= ERRNO_MAX:
        raise ValueError("no such errno")
    return _ERRNO | errno


def assemble(arch: Arch, rules: Iterable[Rule], default: int) -> bytes:
    """The program: struct sock_filter, one after the other. default: for calls that no rule names.

    Calls made in another convention than the machine's own (32-bit, x32) are killed: their numbers mean other things.

    ValueError for two rules about one call, or a program that is too long.
    """
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_OFFSET),
        (_EQUAL, 1, 0, arch.value),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NR_OFFSET),
    ]
    if arch is Arch.X86_64:
        program += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, KILL)]
    seen: set[int] = set()
    for rule in rules:
        if rule.number in seen:
            raise ValueError(f"two rules about call {rule.number}")
        seen.add(rule.number)
        block = _block(rule)
        program += [(_EQUAL, 0, _jump(len(block)), rule.number), *block]
    program.append((_RETURN, 0, 0, default))
    if len(program) > INSTRUCTIONS_MAX:
        raise ValueError("the program is too long")
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _block(rule: Rule) -> list[Instruction]:
    """What is done about one call. It always returns, so that what it loads disturbs no other rule."""
    block: list[Instruction] = []
    for alternative in rule.any_of:
        if not alternative:
            raise ValueError("an alternative without a test would always hold")
        tests = [piece for test in alternative for piece in _words(test)]
        size = sum(map(len, tests)) + 1  # with the return
        for load_and_mask, value in ((piece[:-1], piece[-1][3]) for piece in tests):
            size -= len(load_and_mask) + 1
            block += [*load_and_mask, (_EQUAL, 0, _jump(size), value)]
        block.append((_RETURN, 0, 0, ALLOW))
    return [*block, (_RETURN, 0, 0, rule.otherwise)]


def _words(test: Bits) -> list[list[Instruction]]:
    """The test of each half of an argument that the mask touches. The last instruction of each compares."""
    if not 0 <= test.argument < ARGUMENTS or test.value & ~test.mask:
        raise ValueError("a test that can never hold")
    pieces = []
    for half in (0, 1):
        mask, value = ((number >> 32 * half) & _WORD for number in (test.mask, test.value))
        if mask:
            load = (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * test.argument + 4 * half)
            narrow = [] if mask == _WORD else [(_AND, 0, 0, mask)]
            pieces.append([load, *narrow, (_EQUAL, 0, 0, value)])
    return pieces


def _jump(distance: int) -> int:
    if distance > _JUMP_MAX:
        raise ValueError("a rule that is too long to jump over")
    return distance
