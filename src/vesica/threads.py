"""Work on several pieces at once. numpy lets other threads run while it works, so threads are enough."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vesica.limits import THREADS_MAX

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def thread_count() -> int:
    """How many threads work is spread over: one a processor, and not more than THREADS_MAX."""
    return min(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1, THREADS_MAX)


def in_threads(work: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """``work`` of each piece, in the order of the pieces. Raises what ``work`` raises first in that order."""
    if len(pieces) < 2 or thread_count() == 1:  # noqa: PLR2004 (one piece needs no second thread)
        return [work(piece) for piece in pieces]
    with ThreadPoolExecutor(thread_count(), "vesica-linkage") as pool:
        return list(pool.map(work, pieces))
