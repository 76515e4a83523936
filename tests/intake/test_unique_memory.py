"""What it takes to decide whether keys are unique: at most 24 bytes a row, also for a file that is refused.

Peaks of memory that the system has given, each in a process of its own: what is asked for and never touched costs
nothing.
"""

import multiprocessing
import sys

import numpy as np
import pytest

from bench.clocks import peak_bytes
from vesica import unique
from vesica.errors import DuplicateRow
from vesica_enclave.allocator import keep_freed_memory

ROWS = 2**24
BLOCK_ROWS = 2**17


def words(block):
    """Some keys, always the same for the same number."""
    return np.random.default_rng(block).integers(0, 2**64, (BLOCK_ROWS, 2), np.uint64)


def filled(different):
    """A log of keys, of which so many blocks are different; what this took is counted, too."""
    log = unique.KeyLog()
    for block in range(ROWS // BLOCK_ROWS):
        log.append(words(block % different), 2 + block * BLOCK_ROWS)
    return log


def different_keys():
    assert filled(ROWS // BLOCK_ROWS).all_different().size == ROWS


def a_file_full_of_repeats_that_is_refused():
    with pytest.raises(DuplicateRow, match="already"):
        filled(ROWS // BLOCK_ROWS // 2).all_different()


def a_file_full_of_repeats_that_are_dropped():
    assert filled(ROWS // BLOCK_ROWS // 2).distinct().size == ROWS // 2


def bytes_a_row(decide):
    """In a process of its own, whose memory is kept as a room keeps it."""
    keep_freed_memory()
    unique.thread_count = lambda: 2  # each thread holds a chunk beside what a row takes
    unique.KeyLog().append(words(0), 2)
    before = peak_bytes()
    decide()
    return (peak_bytes() - before) / ROWS


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it")
@pytest.mark.parametrize(
    "decide", [different_keys, a_file_full_of_repeats_that_is_refused, a_file_full_of_repeats_that_are_dropped]
)
def test_no_file_takes_more_than_24_bytes_a_row(decide):
    with multiprocessing.get_context("spawn").Pool(1) as process:
        assert 18 < process.apply(bytes_a_row, (decide,)) <= 24
