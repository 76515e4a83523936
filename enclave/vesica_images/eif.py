"""Enclave image files (EIF) of AWS Nitro Enclaves: written, read, and the PCRs that they get.

``python3 -m vesica_images.eif --help`` writes one from files.

A file is a header with the places and sizes of up to 32 sections and a CRC-32 of everything but itself; then the
sections, each behind a header of its own. Numbers are big-endian. Nothing in it depends on time or place.

Source: aws/aws-nitro-enclaves-image-format, README and src/defs (format version 4); AWS Nitro Enclaves user guide,
"Where to get an enclave's measurements". Compared with no file of nitro-cli: see docs/reference-values.md.
"""

import argparse
import hashlib
import json
import struct
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, unique
from itertools import pairwise
from pathlib import Path
from typing import Final

from vesica_images.files import FileInvalid, command_line, read

_MAGIC: Final = b".eif"
_VERSION: Final = 4
_SECTIONS_MAX: Final = 32
# magic, version, flags (bit 0: ARM), memory, processors, reserved, sections, their offsets, their sizes, unused, CRC
_HEADER: Final = struct.Struct(f">4sHHQQHH{_SECTIONS_MAX}Q{_SECTIONS_MAX}QII")
_SECTION: Final = struct.Struct(">HHQ")  # type, flags, size
_CRC_BYTES: Final = 4
# What nitro-cli writes; run-enclave is told memory and processors anyway.
_MEMORY_BYTES: Final = 2**30
_PROCESSORS: Final = 2
_PCR_BYTES: Final = 48


@unique
class _Type(IntEnum):
    KERNEL = 1
    COMMAND_LINE = 2
    RAMDISK = 3
    SIGNATURE = 4
    METADATA = 5


@dataclass(frozen=True)
class Enclave:
    """What an image holds. ramdisks: at least one; by AWS's convention the first has what boots, later ones the
    application. metadata: JSON, measured by nobody.
    """

    kernel: bytes
    command_line: str
    ramdisks: tuple[bytes, ...]
    metadata: bytes


def metadata(name: str, version: str, kernel_version: str, built: str) -> bytes:
    """What nitro-cli's describe-eif wants to read in an image. built: a time of the sources, as text, not of today."""
    build = {
        "BuildTime": built,
        "BuildTool": "vesica",
        "BuildToolVersion": version,
        "OperatingSystem": "Linux",
        "KernelVersion": kernel_version,
    }
    fields = {"ImageName": name, "ImageVersion": version, "BuildMetadata": build, "DockerInfo": {}}
    return json.dumps({**fields, "CustomMetadata": {}}, separators=(",", ":")).encode()


def write(enclave: Enclave) -> bytes:
    """An image for x86-64, unsigned. Raises FileInvalid for a command line that cannot be measured, ValueError for no
    ramdisk or too many.
    """
    command_line(enclave.command_line.encode())
    parts = [
        (_Type.KERNEL, enclave.kernel),
        (_Type.COMMAND_LINE, enclave.command_line.encode("ascii")),
        (_Type.METADATA, enclave.metadata),
        *((_Type.RAMDISK, ramdisk) for ramdisk in enclave.ramdisks),
    ]
    if not enclave.ramdisks or len(parts) > _SECTIONS_MAX:
        raise ValueError(f"an enclave has 1 to {_SECTIONS_MAX - 3} ramdisks")
    offsets, place = [], _HEADER.size
    for _, content in parts:
        offsets.append(place)
        place += _SECTION.size + len(content)
    body = b"".join(_SECTION.pack(kind, 0, len(content)) + content for kind, content in parts)
    return _header(offsets, [len(content) for _, content in parts], body) + body


def parse(image: bytes) -> Enclave:
    """What an image holds, signed or not. Raises FileInvalid for anything that ``write``, or nitro-cli, does not write.

    Every byte is accounted for: the CRC fits, and sections stand one after the other to the end.
    """
    if len(image) < _HEADER.size:
        raise FileInvalid("not an enclave image: shorter than its header")
    magic, version, flags, _, _, reserved, count, *table = _HEADER.unpack_from(image)
    if (magic, version) != (_MAGIC, _VERSION):
        raise FileInvalid(f"not an enclave image of format {_VERSION}")
    offsets, sizes = table[:_SECTIONS_MAX], table[_SECTIONS_MAX : 2 * _SECTIONS_MAX]
    if flags or reserved or not 0 < count <= _SECTIONS_MAX or any(offsets[count:]) or any(sizes[count:]):
        raise FileInvalid("an enclave image with flags or sections that are not known here")
    if table[-1] != _crc(image[: _HEADER.size - _CRC_BYTES], image[_HEADER.size :]):
        raise FileInvalid("a damaged enclave image: its CRC is another")
    starts = [*offsets[:count], len(image)]
    if starts[0] != _HEADER.size:
        raise FileInvalid("an enclave image with something between its header and its sections")
    parts = [_part(image, start, end, size) for (start, end), size in zip(pairwise(starts), sizes[:count], strict=True)]
    return _enclave(parts)


def pcrs(enclave: Enclave) -> dict[int, bytes]:
    """PCR 0 (the image), 1 (kernel, command line, first ramdisk) and 2 (later ramdisks): SHA-384, 48 bytes each.

    A register begins as zeros and is extended once, by the digest of all its bytes one after the other. Signature and
    metadata are in none of them.
    """
    boot = [enclave.kernel, enclave.command_line.encode("ascii"), enclave.ramdisks[0]]
    later = enclave.ramdisks[1:]
    return {0: _extended([*boot, *later]), 1: _extended(boot), 2: _extended(later)}


def _extended(parts: Sequence[bytes]) -> bytes:
    digest = hashlib.sha384()
    for part in parts:
        digest.update(part)
    return hashlib.sha384(bytes(_PCR_BYTES) + digest.digest()).digest()


def _header(offsets: list[int], sizes: list[int], body: bytes) -> bytes:
    empty = [0] * (_SECTIONS_MAX - len(offsets))
    table = [*offsets, *empty, *sizes, *empty]
    without = _HEADER.pack(_MAGIC, _VERSION, 0, _MEMORY_BYTES, _PROCESSORS, 0, len(offsets), *table, 0, 0)[:-_CRC_BYTES]
    return without + struct.pack(">I", _crc(without, body))


def _crc(header: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(header))


def _part(image: bytes, start: int, end: int, size: int) -> tuple[_Type, bytes]:
    content = start + _SECTION.size
    if not _HEADER.size <= start < content <= end or end - content != size:
        raise FileInvalid("an enclave image whose sections do not follow one another")
    kind, flags, said = _SECTION.unpack_from(image, start)
    if kind not in set(_Type) or flags or said != size:
        raise FileInvalid("an enclave image with a section that its header describes otherwise, or of unknown type")
    return _Type(kind), image[content:end]


def _enclave(parts: Sequence[tuple[_Type, bytes]]) -> Enclave:
    kinds = [kind for kind, _ in parts]
    ramdisks = tuple(content for kind, content in parts if kind is _Type.RAMDISK)
    expected = [_Type.KERNEL, _Type.COMMAND_LINE, _Type.METADATA, *([_Type.RAMDISK] * len(ramdisks))]
    if not ramdisks or kinds not in (expected, [*expected, _Type.SIGNATURE]):
        raise FileInvalid("an enclave image with sections in another order than nitro-cli's")
    return Enclave(parts[0][1], command_line(parts[1][1]), ramdisks, parts[2][1])


def main(argv: Sequence[str] | None = None) -> int:
    """The command: files in, an image out, its PCRs as JSON on standard output."""
    parser = argparse.ArgumentParser(
        prog="vesica_images.eif", description="Writes an enclave image and prints its PCRs."
    )
    parser.add_argument("--kernel", metavar="FILE", type=Path, required=True)
    parser.add_argument("--command-line", metavar="FILE", type=Path, required=True, help="one line without an end")
    parser.add_argument(
        "--ramdisk", metavar="FILE", type=Path, action="append", required=True, help="repeat it, in order"
    )
    parser.add_argument("--name", default="vesica", help="metadata, measured by nobody, as are the next three")
    parser.add_argument("--version", default="0")
    parser.add_argument("--kernel-version", default="unknown")
    parser.add_argument("--built", default="1970-01-01T00:00:00+00:00", help="a time of the sources, never of today")
    parser.add_argument("--output", metavar="FILE", type=Path, required=True)
    asked = parser.parse_args(argv)
    try:
        enclave = Enclave(
            kernel=read(asked.kernel),
            command_line=command_line(read(asked.command_line)),
            ramdisks=tuple(map(read, asked.ramdisk)),
            metadata=metadata(asked.name, asked.version, asked.kernel_version, asked.built),
        )
        asked.output.write_bytes(write(enclave))
    except (FileInvalid, ValueError, OSError) as error:
        sys.stderr.write(f"vesica_images.eif: {error}\n")
        return 1
    sys.stdout.write(
        json.dumps({f"pcr{index}": value.hex() for index, value in pcrs(enclave).items()}, indent=2) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
