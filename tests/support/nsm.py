"""/dev/nsm as Linux does it: an ioctl that finds request and response through two iovecs in the caller's memory.

Follows drivers/misc/nsm.c of Linux 6.8: nothing but NSM_IOCTL_RAW, a request of at most 0x1000 bytes, an answer of at
most 0x3000 that is cut to the room that the caller gives, and the number of bytes written left in the second iovec.
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

IOCTL_RAW = 0xC0200A00
REQUEST_BYTES_MAX = 0x1000
RESPONSE_BYTES_MAX = 0x3000


@dataclass
class Nsm:
    """answer: the module's answer (CBOR) to a request (CBOR); may raise OSError. requests: those that came."""

    answer: Callable[[bytes], bytes]
    requests: list[bytes] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def ioctl(self, descriptor: int, number: int, argument: bytearray) -> int:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)  # EBADF if it is not open
        self.descriptors.append(descriptor)
        if number != IOCTL_RAW or len(argument) != 32:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        asked_at, asked_size, answer_at, room = struct.unpack("=QQQQ", argument)
        if asked_size > REQUEST_BYTES_MAX:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        request = ctypes.string_at(asked_at, asked_size)
        self.requests.append(request)
        answer = self.answer(request)[:RESPONSE_BYTES_MAX]
        size = min(room, len(answer))
        ctypes.memmove(answer_at, answer, size)
        struct.pack_into("=Q", argument, 24, size)
        return 0
