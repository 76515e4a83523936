"""How the process's memory allocator is set: memory that is freed is kept for the next block.

Intake works a block at a time and frees all of it each time. glibc would give such memory back to the system and fetch
it again, page by page, for every block: a third of the time of a submission (measured; docs/scaling.md).
"""

import ctypes
from typing import Final

# <malloc.h>. Setting either also ends glibc's own guessing at both.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

KEPT_BYTES_MAX: Final = 32 * 2**20  # freed memory that a thread's heap keeps at its end
MAPPED_BYTES_MIN: Final = 8 * 2**20  # what is at least so large goes back when it is freed: all arrays of keys


def keep_freed_memory() -> None:
    """Tells glibc so. Another C library is left as it is: all of this is speed, and nothing depends on it."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES_MAX)
    mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES_MIN)
