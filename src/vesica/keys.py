"""Keyed 128-bit hashes of text: what the room keeps in place of an id.

The hash is AES-128 in CBC-MAC over a message that begins with its own length: a pseudorandom function of the text as
long as the key is secret (the length in front makes the encoding prefix-free, which plain CBC-MAC needs). The key is
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

Words = NDArray[np.uint64]  # shape (rows, 2), or (rows,) for one half: little-endian words of an AES block

_BLOCK: Final = 16
_FIRST: Final = 12  # bytes of text in the first AES block, after four bytes of length
_PADDING: Final = bytes(2 * _BLOCK)
_MASKS: Final = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype="<u8")


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
        padded = data + _PADDING
        # Element i is the 8 bytes from byte i on: one gather reads a word of every row, aligned or not.
        words: Words = np.ndarray((len(padded) - 7,), "<u8", padded, 0, (1,))
        lengths = ends - starts
        state = np.empty((starts.size, 2), "<u8")
        state[:, 0] = (_word(words, starts, lengths, 0) << np.uint64(32)) | lengths.astype(np.uint64)
        state[:, 1] = _word(words, starts, lengths, 4)
        state = _encrypt(self._value_cipher, state)
        offset = _FIRST
        rows = np.flatnonzero(lengths > offset)
        while rows.size:
            starts_left, lengths_left = starts[rows], lengths[rows]
            block = state[rows]
            block[:, 0] ^= _word(words, starts_left, lengths_left, offset)
            block[:, 1] ^= _word(words, starts_left, lengths_left, offset + 8)
            state[rows] = _encrypt(self._value_cipher, block)
            offset += _BLOCK
            rows = rows[lengths_left > offset]
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


def _word(words: Words, starts: Index, lengths: Index, offset: int) -> Words:
    """The 8 bytes of each value from ``offset`` on, zero where it has ended."""
    # No index runs past the padding: the first block reads at most 4 + 8 bytes behind a start, and the later ones are
    # read of longer values only.
    word: Words = words[starts + offset] & _MASKS[np.clip(lengths - offset, 0, 8)]
    return word


def _encrypt(cipher: CipherContext, blocks: Words) -> Words:
    plain = np.ascontiguousarray(blocks).view(np.uint8).reshape(-1)
    out = np.empty(plain.size + _BLOCK - 1, np.uint8)  # update_into wants room for one block more
    cipher.update_into(plain.data, out.data)
    return out[: plain.size].view("<u8").reshape(-1, 2)
