"""Sealed submissions: what comes out is what went in, whole and in order, or nothing does."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from vesica import sealed
from vesica.errors import SealBroken

KEY = X25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
DIGEST = "ab" * 32


def sealed_form(plain, digest=DIGEST, party="alice", step=10_000):
    pieces = [plain[i : i + step] for i in range(0, len(plain), step)]
    return list(sealed.seal(pieces, PUBLIC, digest, party))


def open_it(data, key=KEY, digest=DIGEST, party="alice", step=None):
    unsealer = sealed.Unsealer(key, digest, party)
    step = step or max(1, len(data))
    plain = b"".join(unsealer.feed(data[i : i + step]) for i in range(0, len(data), step))
    return plain + unsealer.finish()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 5),
    st.integers(-2, 2),
    st.sampled_from([1_000, 65_535, 65_536, 65_537, 300_000]),
    st.sampled_from([17, 1000, 65_552, 10**6]),
)
def test_what_was_sealed_comes_out_however_it_is_cut(chunks, more, step_in, step_out):
    plain = bytes(range(256)) * ((chunks * sealed.CHUNK_BYTES + 255) // 256)
    plain = plain[: max(0, chunks * sealed.CHUNK_BYTES + more)]
    data = b"".join(sealed_form(plain, step=step_in))
    assert len(data) == sealed.sealed_bytes(len(plain))
    assert open_it(data, step=step_out) == plain


PLAIN = b"id\n" + b"secret-row\n" * 20_000  # four chunks
PIECES = sealed_form(PLAIN)


def test_every_truncation_at_and_around_a_chunk_is_refused():
    data = b"".join(PIECES)
    ends = [0]
    for piece in PIECES:
        ends.append(ends[-1] + len(piece))
    cuts = {
        cut for end in ends for cut in (end - 17, end - 16, end - 1, end, end + 1, end + 15) if 0 <= cut < len(data)
    }
    assert len(cuts) > 20
    for cut in cuts:
        with pytest.raises(SealBroken):
            open_it(data[:cut])


@pytest.mark.parametrize(
    "order",
    [
        [0, 2, 1, 3, 4],
        [0, 1, 1, 2, 3, 4],
        [0, 1, 3, 4],
        [0, 1, 2, 4],
        [0, 4],
        [1, 2, 3, 4],
        [0, 1, 2, 3, 4, 4],
        [0, 4, 1],
    ],
)
def test_chunks_cannot_be_reordered_repeated_dropped_or_added(order):
    assert len(PIECES) == 5
    with pytest.raises(SealBroken):
        open_it(b"".join(PIECES[i] for i in order))


def test_no_bit_can_be_flipped():
    data = bytearray(b"".join(sealed_form(b"id\nx\n")))
    for at in range(len(data)):
        for bit in range(8):
            data[at] ^= 1 << bit
            with pytest.raises(SealBroken):
                open_it(bytes(data))
            data[at] ^= 1 << bit


def test_a_capture_fits_no_other_room_agreement_or_party():
    data = b"".join(PIECES)
    assert open_it(data) == PLAIN
    for other in ({"key": X25519PrivateKey.generate()}, {"digest": "cd" * 32}, {"party": "bob"}, {"party": "alice\0"}):
        with pytest.raises(SealBroken):
            open_it(data, **other)


def test_chunks_of_one_submission_do_not_fit_into_another():
    other = sealed_form(PLAIN)
    with pytest.raises(SealBroken):
        open_it(b"".join([PIECES[0], other[1], *PIECES[2:]]))


def test_the_plain_text_is_not_in_the_sealed_form_and_two_sealings_differ():
    assert b"secret" not in b"".join(PIECES)
    assert sealed_form(PLAIN)[1] != PIECES[1]


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    with pytest.raises(SealBroken):
        open_it(data)


def test_no_plain_text_of_a_chunk_comes_out_before_the_chunk_was_authenticated():
    data = bytearray(b"".join(PIECES))
    data[len(PIECES[0]) + len(PIECES[1]) + 5] ^= 1  # in the second chunk
    unsealer = sealed.Unsealer(KEY, DIGEST, "alice")
    first = unsealer.feed(bytes(data[: len(PIECES[0]) + len(PIECES[1]) + 1]))
    assert first == PLAIN[: sealed.CHUNK_BYTES]
    with pytest.raises(SealBroken):
        unsealer.feed(bytes(data[len(PIECES[0]) + len(PIECES[1]) + 1 :]))
