"""MRTD and RTMRs, against a second writing of the specification. No machine with TDX was at hand."""

import hashlib
import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.image_files import firmware, kernel
from vesica_images import pe, tdx
from vesica_images.files import FileInvalid

FIRMWARE = firmware()
CODE = range(0x1000, 0x4000)  # what the metadata of this firmware says is in MRTD


def by_the_specification(image):
    """MRTD as the TDX Module ABI Specification has it: a log of operations, then one hash over it."""
    log = []

    def add(address):
        log.append(b"MEM.PAGE.ADD\0\0\0\0" + address.to_bytes(8, "little") + bytes(104))

    def extend(address, content):
        log.append(b"MR.EXTEND\0\0\0\0\0\0\0" + address.to_bytes(8, "little") + bytes(104) + content)

    for page in range(3):
        add(0xFFFFD000 + 4096 * page)
        for part in range(16):
            place = 4096 * page + 256 * part
            extend(0xFFFFD000 + place, image[0x1000 + place : 0x1000 + place + 256])
    for address in (0xFFFFC000, 0x810000, 0x811000):
        add(address)
    return hashlib.sha384(b"".join(log)).digest()


def test_mrtd_is_what_a_second_writing_of_the_specification_gives():
    assert tdx.mrtd(FIRMWARE) == by_the_specification(FIRMWARE)


@given(st.sampled_from(CODE), st.integers(0, 7))
@settings(max_examples=200)
def test_flipping_any_bit_of_the_code_changes_mrtd_or_is_refused(place, bit):
    flipped = bytearray(FIRMWARE)
    flipped[place] ^= 1 << bit
    with suppress(FileInvalid):
        assert tdx.mrtd(bytes(flipped)) != tdx.mrtd(FIRMWARE)


def test_variables_are_not_in_mrtd():
    assert tdx.mrtd(b"\x01" + FIRMWARE[1:]) == tdx.mrtd(FIRMWARE)


def changed(place, content):
    image = bytearray(FIRMWARE)
    image[place : place + len(content)] = content
    return bytes(image)


@pytest.mark.parametrize(
    ("place", "content"),
    [
        (0x1800, b"TDVX"),
        (0x1808, struct.pack("<I", 2)),  # version
        (0x180C, struct.pack("<I", 0)),  # sections
        (0x180C, struct.pack("<I", 65)),
        (0x1804, struct.pack("<I", 0)),  # length
        (0x1810 + 4, struct.pack("<I", 0x4000)),  # more in the file than in memory
        (0x1810, struct.pack("<I", 0x4000)),  # beyond the file
        (0x1810 + 8, struct.pack("<Q", 0xFFFFD001)),  # no page
        (0x1810 + 16, struct.pack("<Q", 2**40)),
        (0x1810 + 28, struct.pack("<I", 4)),  # an attribute that is not known
    ],
)
def test_metadata_that_is_not_understood_is_refused(place, content):
    with pytest.raises(FileInvalid):
        tdx.mrtd(changed(place, content))


def test_firmware_without_tdx_metadata_is_refused():
    with pytest.raises(FileInvalid, match="without TDX"):
        tdx.mrtd(firmware(tdx=False))


@given(st.binary(max_size=300))
def test_junk_is_refused(junk):
    for image in (junk, junk + FIRMWARE[-100:], FIRMWARE[-200:-100] + FIRMWARE[-100:]):
        with pytest.raises(FileInvalid):
            tdx.mrtd(image)


def replayed(*digests):
    register = bytes(48)
    for digest in digests:
        register = hashlib.sha384(register + digest).digest()
    return register


def sha(content):
    return hashlib.sha384(content).digest()


def test_rtmr_1_is_the_kernel_and_its_start():
    assert tdx.rtmr1(kernel()) == replayed(
        pe.authenticode(kernel(), "sha384"),
        sha(b"Calling EFI Application from Boot Option"),
        sha(bytes(4)),
        sha(b"Exit Boot Services Invocation"),
        sha(b"Exit Boot Services Returned with Success"),
    )


def test_rtmr_2_is_the_command_line_and_the_initial_file_system():
    line = "console=ttyS0 initrd=initrd\0".encode("utf-16-le")
    assert tdx.rtmr2(b"an initial file system", "console=ttyS0") == replayed(sha(line), sha(b"an initial file system"))
    assert tdx.rtmr2(b"a", "b") != tdx.rtmr2(b"a", "c")
