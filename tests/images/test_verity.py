"""Root hashes of dm-verity, against veritysetup."""

import hashlib
import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesica_images import verity
from vesica_images.files import FileInvalid

BLOCK = verity.BLOCK_BYTES
SALT = bytes(range(32))
# Printed by `veritysetup format --no-superblock` of cryptsetup 2.6.1 for `data(blocks)`, without a salt and with SALT.
PRINTED = {
    1: (
        "466326cdbb1d3501bc09289ee8fa2e765e36d655d4ba3458e7d195155d2ec6b1",
        "3786651663e2ee2ecb034693c0e51ed71f7ed7fd80b8c872f0e03df3ffbd17d9",
    ),
    2: (
        "dcbc1b622e036b2fcfd087bf7eb73f89eb4f4360517e7e063e4382de215fa81c",
        "5a5b02bf6605ec5ce502a7de56f66f7347c470775ab03fe48c78a7e832789815",
    ),
    128: (
        "14e61ab6ebf554779cd883a4ffcd3d134bc446b5ef1e9efb4aeea529a14280d3",
        "675fc43420d1e9c8c56f3c79abab5551d900161bb67b2b8e53ecb2934e1d1e3d",
    ),
    129: (
        "d4b6b3c9544e4105ca90243abe42492852ca909db7ee8552543dc473af476a17",
        "fce27d9da8c05446e07ee4d71c9586696df92b25bcea9551cd6992310c833c34",
    ),
    16385: (
        "f9c0a5aec22d4bd44d34b48d1224d237791d6e855a48253b1c11478d90c501b7",
        "4e0830653fc2cd0cc43a438ebb897325c0f96d38b082dfce4e274cc8945aca86",
    ),
}


def data(blocks):
    return b"".join(hashlib.sha256(number.to_bytes(4, "big")).digest() * 128 for number in range(blocks))


def root(content, salt=b""):
    return verity.root_of((content[place : place + BLOCK] for place in range(0, len(content), BLOCK)), salt)


@pytest.mark.parametrize("blocks", PRINTED)
def test_the_root_hash_is_what_veritysetup_printed(blocks, tmp_path):
    plain, salted = PRINTED[blocks]
    (tmp_path / "data").write_bytes(data(blocks))
    assert verity.root_hash(tmp_path / "data").hex() == plain
    assert verity.root_hash(tmp_path / "data", SALT).hex() == salted


@pytest.mark.parametrize("blocks", [1, 127, 128 * 128, 3 * 128 * 128])
def test_the_root_hash_is_what_veritysetup_prints_here(blocks, tmp_path):
    tool = shutil.which("veritysetup", path="/usr/sbin:/sbin:/usr/bin")
    if tool is None:
        pytest.skip("veritysetup is not installed; recorded values are compared above")
    (tmp_path / "data").write_bytes(data(blocks))
    command = [tool, "format", "--no-superblock", f"--salt={SALT.hex()}", tmp_path / "data", tmp_path / "tree"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert verity.root_hash(tmp_path / "data", SALT).hex() == re.search(r"Root hash:\s+(\S+)", told)[1]


@given(st.integers(1, 130), st.data())
@settings(max_examples=30, deadline=None)
def test_flipping_any_bit_changes_the_root_hash(blocks, draw):
    content = bytearray(data(blocks))
    before = root(bytes(content))
    content[draw.draw(st.integers(0, len(content) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    assert root(bytes(content)) != before


def test_blocks_in_another_order_and_another_salt_have_another_root_hash():
    content = data(3)
    assert root(content[BLOCK:] + content[:BLOCK]) != root(content)
    assert root(content, b"salt") != root(content)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK + 1])
def test_a_file_that_is_not_whole_blocks_is_refused(size, tmp_path):
    (tmp_path / "data").write_bytes(bytes(size))
    with pytest.raises(FileInvalid, match="whole number"):
        verity.root_hash(tmp_path / "data")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileInvalid, match="missing"):
        verity.root_hash(tmp_path / "missing")


def test_a_salt_larger_than_veritysetup_takes_is_a_bug():
    with pytest.raises(ValueError, match="salt"):
        root(data(1), bytes(257))
