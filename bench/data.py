"""Lists of ids, made and not stored: the same bytes for the same size every time.

Two parties' lists of ``rows`` ids each, half of them common, each list in an order of its own.
"""

from collections.abc import Iterator
from enum import StrEnum, unique
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

HEADER: Final = b"id\n"
ROWS_AT_ONCE: Final = 2**20
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)  # odd: it permutes the numbers below any power of two
_DOMAINS: Final = (b"@mail.example", b"@post.example.org", b"@box.test", b"@letters.example.com")
_ALPHABET: Final = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)
_DIGITS: Final = 12  # letters of 5 bits: ids are numbers below 2**60
_LOCAL_MIN: Final = 8  # letters of 5 bits: e-mail-like ids differ while a list has fewer than 2**40


@unique
class Ids(StrEnum):
    """What an id looks like."""

    PLAIN = "plain"  # 12 letters and digits: 13 bytes a row
    EMAIL = "email"  # 17 to 37 characters, 25 on average


def common(rows: int) -> int:
    """How many ids two lists of ``rows`` ids share."""
    return rows - rows // 2


def pieces(rows: int, party: int, ids: Ids) -> Iterator[bytes]:
    """The CSV of one party (0 or 1), piece by piece. Party 1's ids begin half a list further on."""
    order = np.arange(rows, dtype=np.uint32)
    np.random.default_rng([rows, party]).shuffle(order)
    first = np.uint64(party * (rows // 2))
    make = _plain if ids is Ids.PLAIN else _email
    yield HEADER
    for at in range(0, rows, ROWS_AT_ONCE):
        yield make(order[at : at + ROWS_AT_ONCE].astype(np.uint64) + first)


def write(file: BinaryIO, rows: int, party: int, ids: Ids) -> int:
    """Writes one party's CSV into a file (in memory, one hopes) and returns its bytes."""
    return sum(file.write(piece) for piece in pieces(rows, party, ids))


def csv(rows: int, party: int, ids: Ids = Ids.PLAIN) -> bytes:
    """The CSV of one party, whole."""
    return b"".join(pieces(rows, party, ids))


def _plain(numbers: NDArray[np.uint64]) -> bytes:
    text = np.empty((numbers.size, _DIGITS + 1), np.uint8)
    _letters(text, (numbers * _FACTOR) & np.uint64(2**60 - 1), _DIGITS)
    text[:, _DIGITS] = ord("\n")
    return text.tobytes()


def _email(numbers: NDArray[np.uint64]) -> bytes:
    """A local part of 8 to 16 letters with the number in its first 8, and one of four domains."""
    scattered = numbers * _FACTOR
    width = 2 * _LOCAL_MIN + max(map(len, _DOMAINS)) + 1
    text = np.zeros((numbers.size, width), np.uint8)
    _letters(text, scattered & np.uint64(2**40 - 1), _LOCAL_MIN)
    filler = scattered ^ (scattered >> np.uint64(29))
    _letters(text[:, _LOCAL_MIN:], filler, _LOCAL_MIN)
    lengths = _LOCAL_MIN + ((scattered >> np.uint64(45)) % np.uint64(_LOCAL_MIN + 1)).astype(np.intp)
    choice = ((scattered >> np.uint64(50)) % np.uint64(len(_DOMAINS))).astype(np.intp)
    text[np.arange(width) >= lengths[:, None]] = 0
    for number, domain in enumerate(_DOMAINS):
        rows = np.flatnonzero(choice == number)
        ending = np.frombuffer(domain + b"\n", np.uint8)
        text[rows[:, None], lengths[rows, None] + np.arange(ending.size)] = ending
    return bytes(text[text != 0].tobytes())


def _letters(text: NDArray[np.uint8], numbers: NDArray[np.uint64], digits: int) -> None:
    for place in range(digits):
        text[:, place] = _ALPHABET[((numbers >> np.uint64(5 * place)) & np.uint64(31)).astype(np.intp)]
