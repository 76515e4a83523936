"""Keyed 128-bit hashes of text: what the room keeps in place of an id.

The hash is AES-128 in CBC-MAC over a message whose first block holds its length: a pseudorandom function of the text as
long as the key is secret (no message is then a prefix of another, which plain CBC-MAC needs). The key is
made at start and never leaves the process. One AES call does a block for all rows at once, so that hashing costs less
than finding the line ends.

Sources: Bellare, Kilian, Rogaway, "The security of the cipher block chaining message authentication code", JCSS 2000,
section 5 (length prepending); Petrank, Rackoff, "CBC MAC for real-time data sources", J. Cryptology 2000.
"""

import secrets
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from vesica.csvtext import Index
from vesica.evenrows import EvenRows

Words = NDArray[np.uint64]  # shape (rows, 2), or (rows,) for one half: little-endian words of an AES block

_BLOCK: Final = 16
_FIRST: Final = 12  # bytes of text in the first AES block, before four bytes of length
PADDING: Final = _BLOCK  # bytes behind a text, so that each AES block of it can be read whole
# Entry n has ones in its first n bytes. complex128 is numpy's type of 16 aligned bytes: gathering those is several
# times faster than gathering pairs or raw bytes. Nothing is ever calculated with them.
_MASKS: Final = np.frombuffer(b"".join(b"\xff" * n + bytes(_BLOCK - n) for n in range(_BLOCK + 1)), np.complex128)
_ALL_ONES: Final = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class KeySecret:
    """Two AES-128 keys, one for values and one for rows of several columns. Random, in memory only, never printed."""

    value_key: bytes = field(default_factory=lambda: secrets.token_bytes(_BLOCK), repr=False)
    row_key: bytes = field(default_factory=lambda: secrets.token_bytes(_BLOCK), repr=False)


class KeyedHash:
    """Hashes values under one secret. Not to be shared between threads: it holds two cipher contexts."""

    def __init__(self, secret: KeySecret) -> None:
        self._value_cipher = _aes(secret.value_key)
        self._row_cipher = _aes(secret.row_key)

    def values(self, data: bytes, starts: Index, ends: Index) -> Words:
        """Hashes of ``data[starts[i]:ends[i]]``, shape (rows, 2). starts, ends: shape (rows,); lengths below 2**32."""
        padded = data + bytes(PADDING)
        # Element i is the 16 bytes from byte i on: one gather reads an AES block of every row, aligned or not.
        blocks = np.ndarray((len(padded) - _BLOCK + 1,), f"V{_BLOCK}", padded, 0, (1,))
        lengths = ends - starts
        if not lengths.size:
            return np.empty((0, 2), "<u8")
        state = _text(blocks, starts, lengths, _FIRST)
        state[:, 1] |= lengths.view("<u8") << np.uint64(32)
        state = _encrypt(self._value_cipher, state)
        offset = _FIRST
        while (longer := lengths > offset).any():
            if longer.all():  # as in a list of e-mail addresses: nothing to pick out
                state ^= _text(blocks, starts + offset, lengths - offset, _BLOCK)
                state = _encrypt(self._value_cipher, state)
            else:
                rows = np.flatnonzero(longer)
                block = _text(blocks, starts[rows] + offset, lengths[rows] - offset, _BLOCK)
                block ^= _rows_of(state, rows)
                state.view(np.complex128)[rows, 0] = _encrypt(self._value_cipher, block).view(np.complex128)[:, 0]
            offset += _BLOCK
        return state

    def even(self, data: NDArray[np.uint8], rows: EvenRows) -> Words:
        """``values`` of even rows. data: begins with them, and has ``PADDING`` more bytes, whatever they are."""

        def text(offset: int, longest: int) -> Words:
            blocks = np.ndarray((rows.count,), np.complex128, data, offset, (rows.length + 1,))
            words: Words = blocks.copy().view("<u8").reshape(-1, 2)
            if rows.length - offset < longest:
                _cut(words, rows.length - offset)
            return words

        state = text(0, _FIRST)
        state.view("<u4")[:, 3] = rows.length  # in place of the text behind the first bytes, if there is more
        state = _encrypt(self._value_cipher, state)
        for offset in range(_FIRST, rows.length, _BLOCK):
            state ^= text(offset, _BLOCK)
            state = _encrypt(self._value_cipher, state)
        return state

    def rows(self, columns: list[Words]) -> Words:
        """Hashes of rows from those of their values. Each value has its own 16 bytes: ("ab", "c") is not ("a",
        "bc").
        """
        if len(columns) == 1:
            return columns[0]
        state = _encrypt(self._row_cipher, columns[0])
        for column in columns[1:]:
            state = _encrypt(self._row_cipher, state ^ column)
        return state


def _aes(key: bytes) -> CipherContext:
    # ECB is the bare block cipher here; the chaining is done above, for all rows at once.
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305


def _text(blocks: NDArray[np.void], starts: Index, lengths: Index, longest: int) -> Words:
    """What AES blocks hold of each text: its first ``longest`` bytes, zero where it has ended; shape (rows, 2)."""
    words: Words = _taken(blocks, starts).view("<u8").reshape(-1, 2)
    kept = np.minimum(lengths, longest)
    if kept.min() == kept.max():  # as in a list of ids of one width: one mask for all
        _cut(words, int(kept[0]))
        return words
    words &= _rows_of(_MASKS.view("<u8").reshape(-1, 2), kept)
    return words


def _cut(words: Words, kept: int) -> None:
    """Leaves zeros of each block behind its first ``kept`` bytes."""
    for half, mask in enumerate(_MASKS.view("<u8").reshape(-1, 2)[kept]):
        if mask != _ALL_ONES:
            words[:, half] &= mask


def _taken(blocks: NDArray[np.void], starts: Index) -> NDArray[np.void]:
    """``blocks[starts]``, several times faster where texts stand at even distances."""
    if starts.size > 1:
        step = int(starts[1] - starts[0])
        if step > 0 and (starts[1:] - starts[:-1] == step).all():
            return blocks[int(starts[0]) : int(starts[-1]) + 1 : step].copy()
    return blocks[starts]


def _rows_of(table: Words, rows: Index) -> Words:
    """``table[rows]``, several times faster."""
    return table.view(np.complex128)[:, 0][rows].view("<u8").reshape(-1, 2)


def _encrypt(cipher: CipherContext, blocks: Words) -> Words:
    plain = np.ascontiguousarray(blocks).view(np.uint8).reshape(-1)
    out = np.empty(plain.size + _BLOCK - 1, np.uint8)  # update_into wants room for one block more
    cipher.update_into(plain.data, out.data)
    return out[: plain.size].view("<u8").reshape(-1, 2)
