"""Authenticode digests and sections of programs for UEFI firmware."""

import struct
from contextlib import suppress

import lief
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.image_files import padded, program
from vesica_images import pe
from vesica_images.files import FileInvalid

CHECKSUM = range(64 + 4 + 20 + 64, 64 + 4 + 20 + 68)
DIRECTORY = range(64 + 4 + 20 + 144, 64 + 4 + 20 + 152)
CONTENTS = st.lists(st.binary(min_size=1, max_size=1500), min_size=1, max_size=5)
IMAGE = program([(".text", b"code" * 200), (".data", b"data")])


def named(contents):
    return [(f".s{number}", content) for number, content in enumerate(contents)]


@given(CONTENTS)
@settings(max_examples=50, deadline=None)
def test_the_digest_is_the_one_that_another_library_computes(contents):
    image = program(named(contents))
    other = lief.PE.parse(list(image))
    assert pe.authenticode(image) == bytes(other.authentihash(lief.PE.ALGORITHMS.SHA_256))
    assert pe.authenticode(image, "sha384") == bytes(other.authentihash(lief.PE.ALGORITHMS.SHA_384))


@given(CONTENTS, st.integers(1, 100))
@settings(max_examples=50)
def test_a_signature_does_not_change_the_digest(contents, size):
    signed = program(named(contents), certificates=padded(b"s" * size, 8))
    assert pe.authenticode(signed) == pe.authenticode(program(named(contents)))


@given(st.data())
@settings(max_examples=300)
def test_flipping_any_bit_changes_the_digest_or_is_refused_but_for_checksum_and_certificates(data):
    place = data.draw(st.integers(0, len(IMAGE) - 1).filter(lambda at: at not in CHECKSUM and at not in DIRECTORY))
    flipped = bytearray(IMAGE)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(FileInvalid):
        assert pe.authenticode(bytes(flipped)) != pe.authenticode(IMAGE)


def test_the_checksum_is_not_in_the_digest():
    other = bytearray(IMAGE)
    other[CHECKSUM[0]] ^= 0xFF
    assert pe.authenticode(bytes(other)) == pe.authenticode(IMAGE)


def test_what_follows_the_sections_is_in_the_digest():
    sections = [(".text", b"code")]
    assert pe.authenticode(program(sections, after=b"hidden!!")) != pe.authenticode(program(sections))


@given(CONTENTS)
@settings(max_examples=50)
def test_sections_come_back_as_they_went_in(contents):
    assert [(section.name, section.content) for section in pe.sections(program(named(contents)))] == named(contents)


def test_what_a_section_has_in_memory_and_not_in_the_file_is_zeros():
    image = bytearray(program([(".bss", b"x" * 10)]))
    struct.pack_into("<I", image, 64 + 4 + 20 + 240 + 8, 1000)
    assert pe.sections(bytes(image))[0].content == (b"x" * 10).ljust(1000, b"\0")


def test_sections_that_overlap_are_refused():
    image = bytearray(program([(".a", b"a" * 600), (".b", b"b" * 600)]))
    second = 64 + 4 + 20 + 240 + 40
    struct.pack_into("<I", image, second + 20, struct.unpack_from("<I", image, second + 20)[0] - 512)
    with pytest.raises(FileInvalid, match="overlap"):
        pe.authenticode(bytes(image))


def test_certificates_that_are_not_at_the_end_are_refused():
    image = program([(".a", b"a")], certificates=bytes(16)) + b"more"
    with pytest.raises(FileInvalid, match="certificates"):
        pe.authenticode(image)


@given(st.binary(max_size=400))
def test_junk_is_refused(junk):
    for text in (junk, b"MZ" + junk, IMAGE[: len(junk)]):
        with pytest.raises(FileInvalid):
            pe.sections(text)
