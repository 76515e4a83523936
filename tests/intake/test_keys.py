"""Keyed hashes against a plain reading of the construction, one value at a time."""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from vesica.keys import KeyedHash, KeySecret

SECRET = KeySecret(bytes(range(16)), bytes(range(16, 32)))


def cbc_mac(key, message):
    """The last block of AES-CBC with a zero IV: 12 bytes of the message, its 32-bit length, the rest, zero padded."""
    framed = message[:12].ljust(12, b"\0") + len(message).to_bytes(4, "little") + message[12:]
    framed += bytes(-len(framed) % 16)
    encryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor()
    return (encryptor.update(framed) + encryptor.finalize())[-16:]


def hash_values(values):
    data = b"".join(values)
    ends = np.cumsum([len(value) for value in values])
    starts = np.concatenate(([0], ends[:-1]))
    return KeyedHash(SECRET).values(data, starts, ends)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=70), min_size=1, max_size=20))
def test_the_hash_of_many_values_at_once_is_that_of_each_alone(values):
    assert [row.tobytes() for row in hash_values(values)] == [cbc_mac(SECRET.value_key, value) for value in values]


@given(st.integers(0, 40), st.integers(1, 5), st.integers(0, 6), st.integers(0, 2))
def test_values_at_even_distances_are_hashed_like_any_others(width, gap, rows, shifted):
    data = bytes(range(48, 96)) * 8
    starts = np.arange(rows, dtype=np.int64) * (width + gap)
    starts[shifted:] += 1  # the first distances may be even and the others not
    values = [data[start : start + width] for start in starts.tolist()]
    hashed = KeyedHash(SECRET).values(data, starts, starts + width)
    assert [row.tobytes() for row in hashed] == [cbc_mac(SECRET.value_key, value) for value in values]


def test_every_length_up_to_the_longest_value_is_hashed_right():
    values = [bytes([65 + n % 26]) * n for n in (*range(100), 4095, 4096)]
    assert [row.tobytes() for row in hash_values(values)] == [cbc_mac(SECRET.value_key, value) for value in values]


def test_trailing_zeros_and_lengths_do_not_collide():
    values = [b"a" + bytes(n) for n in range(40)]
    assert len({row.tobytes() for row in hash_values(values)}) == 40


def test_values_do_not_run_into_each_other():
    hasher = KeyedHash(SECRET)
    rows = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("c", "ab")]
    hashed = set()
    for first, second in rows:
        columns = []
        for value in (first, second):
            data = value.encode()
            columns.append(hasher.values(data, np.array([0]), np.array([len(data)])))
        hashed.add(hasher.rows(columns).tobytes())
    assert len(hashed) == len(rows)


def test_another_secret_gives_other_hashes_and_a_secret_is_not_printed():
    one, two = KeySecret(), KeySecret()
    assert one.value_key != two.value_key
    assert one.value_key != one.row_key
    assert one.value_key.hex() not in repr(one)
    assert str(one.value_key) not in repr(one)
