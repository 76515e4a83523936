"""The root hash of a dm-verity tree, from the data alone.

Source: Linux, Documentation/admin-guide/device-mapper/verity.rst; cryptsetup, "DMVerity" (hash type 1: the salt comes
before what is hashed, and digests fill blocks of the tree, the last of which ends in zeros).
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from vesica_images.files import FileInvalid

BLOCK_BYTES: Final = 4096  # of data and of the tree
SALT_BYTES_MAX: Final = 256  # as veritysetup has it


def root_hash(data: Path, salt: bytes = b"") -> bytes:
    """The root hash, SHA-256, of a file that is whole blocks, as ``veritysetup format`` prints it.

    Raises FileInvalid.
    """
    try:
        size = data.stat().st_size
        if size == 0 or size % BLOCK_BYTES:
            raise FileInvalid(f"{data}: not a whole number of blocks of {BLOCK_BYTES} bytes")
        with data.open("rb") as file:
            return root_of(_blocks(file), salt)
    except OSError as error:
        raise FileInvalid(f"cannot read {data}: {error.strerror}") from None


def root_of(blocks: Iterable[bytes], salt: bytes = b"") -> bytes:
    """The root hash of blocks of data, at least one, each of BLOCK_BYTES."""
    if len(salt) > SALT_BYTES_MAX:
        raise ValueError(f"a salt of more than {SALT_BYTES_MAX} bytes")
    salted = hashlib.sha256(salt)
    digests = _level(blocks, salted)
    while len(digests) > salted.digest_size:
        level = (digests[start : start + BLOCK_BYTES] for start in range(0, len(digests), BLOCK_BYTES))
        digests = _level((block.ljust(BLOCK_BYTES, b"\0") for block in level), salted)
    return digests


def _level(blocks: Iterable[bytes], salted: "hashlib._Hash") -> bytes:
    """The digests of blocks, one after the other. salted: a hash that has already taken in the salt."""
    digests = bytearray()
    for block in blocks:
        hashed = salted.copy()
        hashed.update(block)
        digests += hashed.digest()
    return bytes(digests)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block
