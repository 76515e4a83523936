"""A second reader of seccomp filters: runs one over a system call as the kernel would, and says what it returns.

Follows include/uapi/linux/bpf_common.h and kernel/seccomp.c: only the instructions that classic BPF has and seccomp
takes; a jump beyond the end, a load that is not aligned, or anything else, is an error, as it is to the kernel.
"""

import struct

X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003


def run(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """The value that the filter returns for a call."""
    assert len(program) % 8 == 0
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    assert 0 < len(code) <= 4096
    padded = [value & 2**64 - 1 for value in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<iIQ6Q", number, arch, 0, *padded)
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, constant = code[at]
        at += 1
        match operation:
            case 0x20:  # load a word of struct seccomp_data
                assert constant % 4 == 0
                (accumulator,) = struct.unpack_from("<I", data, constant)
            case 0x54:  # and
                accumulator &= constant
            case 0x15:  # equal
                at += if_true if accumulator == constant else if_false
            case 0x35:  # at least
                at += if_true if accumulator >= constant else if_false
            case 0x06:
                return constant
            case _:
                raise AssertionError(f"no such instruction: {operation:#x}")
