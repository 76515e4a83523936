"""The damage that the check does to a disk: one bit, in what says which files the root file system has."""

import struct

from vesica_images.vm import machine

SECTOR = 512
ROOT_START, INODES = 40 * SECTOR, 4096


def disk(path) -> bytes:
    """As much of a disk as is looked at: the second partition's start, and where its squashfs keeps its inodes."""
    content = bytearray(100 * SECTOR)
    struct.pack_into("<Q", content, 2 * SECTOR + 128 + 32, ROOT_START // SECTOR)
    struct.pack_into("<Q", content, ROOT_START + 64, INODES)
    path.write_bytes(content)
    return bytes(content)


def test_one_bit_of_the_inodes_is_another_and_the_original_is_kept(tmp_path):
    before = disk(tmp_path / "disk")
    machine.flip_a_bit(tmp_path / "disk", tmp_path / "damaged")
    after = (tmp_path / "damaged").read_bytes()
    different = [place for place, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert different == [ROOT_START + INODES + 100]
    assert (before[different[0]] ^ after[different[0]]).bit_count() == 1
    assert (tmp_path / "disk").read_bytes() == before
