"""Enclave images: written, read, and their PCRs. The format is as AWS's code has it; nitro-cli was not at hand."""

import hashlib
import json
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesica_images import eif
from vesica_images.files import FileInvalid

METADATA = eif.metadata("vesica", "0.1.0", "6.12", "2026-01-01T00:00:00+00:00")
ENCLAVE = eif.Enclave(b"a kernel", "console=ttyS0", (b"boot", b"application"), METADATA)
TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=50)
ENCLAVES = st.builds(
    eif.Enclave, st.binary(max_size=200), TEXT, st.lists(st.binary(max_size=100), min_size=1, max_size=29).map(tuple),
    st.binary(max_size=100),
)  # fmt: skip


def extended(content):
    return hashlib.sha384(bytes(48) + hashlib.sha384(content).digest()).digest()


@given(ENCLAVES)
def test_what_is_written_is_read_back(enclave):
    assert eif.parse(eif.write(enclave)) == enclave


def test_the_same_parts_give_the_same_bytes():
    assert eif.write(ENCLAVE) == eif.write(replace(ENCLAVE))


def test_the_header_is_as_the_format_says():
    image = eif.write(ENCLAVE)
    magic, version, flags, _, _, reserved, sections = struct.unpack_from(">4sHHQQHH", image)
    assert (magic, version, flags, reserved, sections) == (b".eif", 4, 0, 0, 5)
    offsets, sizes = struct.unpack_from(">32Q", image, 28), struct.unpack_from(">32Q", image, 284)
    kinds = []
    for place, size in zip(offsets[:5], sizes[:5], strict=True):
        kind, _, said = struct.unpack_from(">HHQ", image, place)
        assert said == size
        kinds.append((kind, image[place + 12 : place + 12 + size]))
    assert kinds == [(1, b"a kernel"), (2, b"console=ttyS0"), (5, METADATA), (3, b"boot"), (3, b"application")]
    assert struct.unpack_from(">I", image, 544)[0] == zlib.crc32(image[:544] + image[548:])


def test_pcrs_are_of_the_parts_that_aws_names():
    pcrs = eif.pcrs(ENCLAVE)
    assert pcrs[0] == extended(b"a kernel" + b"console=ttyS0" + b"boot" + b"application")
    assert pcrs[1] == extended(b"a kernel" + b"console=ttyS0" + b"boot")
    assert pcrs[2] == extended(b"application")


def test_an_application_changes_pcr_0_and_2_and_what_boots_it_changes_0_and_1():
    before = eif.pcrs(ENCLAVE)
    application = eif.pcrs(replace(ENCLAVE, ramdisks=(b"boot", b"other")))
    kernel = eif.pcrs(replace(ENCLAVE, kernel=b"other"))
    assert [application[index] == before[index] for index in (0, 1, 2)] == [False, True, False]
    assert [kernel[index] == before[index] for index in (0, 1, 2)] == [False, False, True]


def test_the_order_of_ramdisks_matters():
    assert eif.pcrs(ENCLAVE)[0] != eif.pcrs(replace(ENCLAVE, ramdisks=(b"application", b"boot")))[0]


def test_metadata_is_in_no_pcr():
    assert eif.pcrs(replace(ENCLAVE, metadata=b"{}")) == eif.pcrs(ENCLAVE)


@given(st.data())
@settings(max_examples=300)
def test_flipping_any_bit_is_noticed(data):
    image = bytearray(eif.write(ENCLAVE))
    image[data.draw(st.integers(0, len(image) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(FileInvalid):
        eif.parse(bytes(image))


def with_crc(image):
    return image[:544] + struct.pack(">I", zlib.crc32(image[548:], zlib.crc32(image[:544]))) + image[548:]


@given(st.data())
@settings(max_examples=300)
def test_a_header_that_lies_is_refused_even_if_its_crc_fits(data):
    """Any change of the header, but for memory and processors, which are no part of what runs."""
    image = bytearray(eif.write(ENCLAVE))
    place = data.draw(st.integers(0, 539).filter(lambda at: not 8 <= at < 24))
    image[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(FileInvalid):
        eif.parse(with_crc(bytes(image)))


def test_a_signed_image_has_the_pcrs_of_the_unsigned_one():
    image = bytearray(eif.write(ENCLAVE))
    struct.pack_into(">H", image, 26, 6)
    struct.pack_into(">Q", image, 28 + 8 * 5, len(image))
    struct.pack_into(">Q", image, 284 + 8 * 5, 9)
    signed = with_crc(bytes(image) + struct.pack(">HHQ", 4, 0, 9) + b"signature")
    assert eif.pcrs(eif.parse(signed)) == eif.pcrs(ENCLAVE)


def test_bytes_after_the_last_section_are_refused():
    with pytest.raises(FileInvalid):
        eif.parse(with_crc(eif.write(ENCLAVE) + b"more"))


def test_sections_in_another_order_are_refused():
    one = eif.write(replace(ENCLAVE, kernel=b"12345678", command_line="abcdefgh"))
    swapped = bytearray(one)
    first, second = 548, 548 + 12 + 8
    swapped[first : first + 2], swapped[second : second + 2] = one[second : second + 2], one[first : first + 2]
    with pytest.raises(FileInvalid, match="order"):
        eif.parse(with_crc(bytes(swapped)))


@pytest.mark.parametrize("line", ["", "two\nlines", "end\n", "nul\0", "ümlaut"])
def test_a_command_line_that_cannot_be_measured_one_way_is_refused(line):
    with pytest.raises(FileInvalid, match="one line"):
        eif.write(replace(ENCLAVE, command_line=line))


@pytest.mark.parametrize("count", [0, 30])
def test_an_enclave_has_ramdisks_and_not_too_many(count):
    with pytest.raises(ValueError, match="ramdisks"):
        eif.write(replace(ENCLAVE, ramdisks=(b"x",) * count))


@given(st.binary(max_size=1000))
def test_junk_is_refused(junk):
    for text in (junk, b".eif" + junk, eif.write(ENCLAVE)[: len(junk)]):
        with pytest.raises(FileInvalid):
            eif.parse(text)


def test_the_command_writes_an_image_and_prints_its_pcrs(tmp_path, capsys):
    parts = {"kernel": b"a kernel", "command-line": b"console=ttyS0", "boot": b"boot", "application": b"application"}
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)
    ramdisks = [word for name in ("boot", "application") for word in ("--ramdisk", str(tmp_path / name))]
    files = [word for name in ("kernel", "command-line") for word in (f"--{name}", str(tmp_path / name))]
    output = tmp_path / "vesica.eif"
    assert eif.main([*files, *ramdisks, "--output", str(output)]) == 0
    assert json.loads(capsys.readouterr().out)["pcr0"] == eif.pcrs(ENCLAVE)[0].hex()
    assert eif.pcrs(eif.parse(output.read_bytes())) == eif.pcrs(ENCLAVE)
    (tmp_path / "command-line").write_bytes(b"console=ttyS0\n")
    assert eif.main([*files, *ramdisks, "--output", str(output)]) == 1
