"""Programs for UEFI firmware (PE/COFF): their sections, and the digest by which firmware and signatures name them.

Sources: Microsoft, "PE Format"; Microsoft, "Windows Authenticode Portable Executable Signature Format" (2008),
"Calculating the PE Image Hash"; TCG PC Client Platform Firmware Profile 1.06, section 10.4.4.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from vesica_images.files import FileInvalid

SECTIONS_MAX: Final = 96  # what Windows' loader takes; a unified kernel image has about fifteen
_PE_OFFSET_AT: Final = 0x3C
_SIGNATURE: Final = b"PE\0\0"
_COFF: Final = struct.Struct("<HHIIIHH")  # machine, sections, time, symbols, number of symbols, optional header, flags
_SECTION: Final = struct.Struct("<8sIIII16x")  # name, virtual size, address, raw size, raw offset
_PE32_PLUS: Final = 0x20B
_CHECKSUM_AT: Final = 64  # all four in the optional header of PE32+
_HEADERS_SIZE_AT: Final = 60
_DIRECTORIES_AT: Final = 108
_CERTIFICATES_AT: Final = 112 + 4 * 8
_CERTIFICATES: Final = 4  # index of the directory of certificates


@dataclass(frozen=True)
class Section:
    """A section. content: as it is in memory, ``virtual_size`` bytes; what the file does not have of it is zeros."""

    name: str
    content: bytes


@dataclass(frozen=True)
class _Header:
    """Where things stand in the file. raw: offset and size of each section's bytes in it."""

    checksum: int
    directory: int
    headers_size: int
    certificates_size: int
    raw: tuple[tuple[int, int], ...]
    sections: tuple[Section, ...]


def sections(image: bytes) -> tuple[Section, ...]:
    """The sections of a program, in the order of its table. Raises FileInvalid."""
    return _parse(image).sections


def authenticode(image: bytes, algorithm: str = "sha256") -> bytes:
    """The Authenticode digest: of all but the checksum, the certificates, and where those are.

    So a program has the same digest signed and unsigned; firmware measures this into PCR 4. Raises FileInvalid.
    """
    header = _parse(image)
    digest = hashlib.new(algorithm)
    digest.update(image[: header.checksum])
    digest.update(image[header.checksum + 4 : header.directory])
    digest.update(image[header.directory + 8 : header.headers_size])
    hashed = header.headers_size
    for offset, size in sorted(header.raw):
        digest.update(image[offset : offset + size])
        hashed += size
    digest.update(image[hashed : len(image) - header.certificates_size])
    return digest.digest()


def _parse(image: bytes) -> _Header:
    try:
        return _parsed(image)
    except struct.error:
        raise FileInvalid("not a program for UEFI: it ends within its headers") from None


def _parsed(image: bytes) -> _Header:
    (start,) = struct.unpack_from("<I", image, _PE_OFFSET_AT)
    if image[:2] != b"MZ" or image[start : start + 4] != _SIGNATURE:
        raise FileInvalid("not a program for UEFI: no PE header")
    _, count, _, _, _, optional_size, _ = _COFF.unpack_from(image, start + 4)
    optional = start + 4 + _COFF.size
    (magic,) = struct.unpack_from("<H", image, optional)
    (directories,) = struct.unpack_from("<I", image, optional + _DIRECTORIES_AT)
    if magic != _PE32_PLUS or directories <= _CERTIFICATES or optional_size < _CERTIFICATES_AT + 8:
        raise FileInvalid("not a program for 64-bit UEFI")
    if not 0 < count <= SECTIONS_MAX:
        raise FileInvalid(f"a program with {count} sections")
    (headers_size,) = struct.unpack_from("<I", image, optional + _HEADERS_SIZE_AT)
    certificates = struct.unpack_from("<II", image, optional + _CERTIFICATES_AT)
    table = optional + optional_size
    if not table + count * _SECTION.size <= headers_size <= len(image):
        raise FileInvalid("a program whose headers do not hold its table of sections")
    if certificates != (0, 0) and sum(certificates) != len(image):
        raise FileInvalid("a program whose certificates are not at its end")
    rows = [_SECTION.unpack_from(image, table + number * _SECTION.size) for number in range(count)]
    raw = tuple((offset, size) for _, _, _, size, offset in rows if size)
    _apart(raw, headers_size, len(image) - certificates[1])
    return _Header(
        checksum=optional + _CHECKSUM_AT,
        directory=optional + _CERTIFICATES_AT,
        headers_size=headers_size,
        certificates_size=certificates[1],
        raw=raw,
        sections=tuple(_section(image, row) for row in rows),
    )


def _apart(raw: tuple[tuple[int, int], ...], start: int, end: int) -> None:
    """Sections must follow one another without gap or overlap: every byte is then in the digest, and in it once."""
    for offset, size in sorted(raw):
        if offset != start:
            raise FileInvalid("a program whose sections overlap, or have something between them")
        start = offset + size
    if start > end:
        raise FileInvalid("a program that ends within its sections")


def _section(image: bytes, row: tuple[bytes, int, int, int, int]) -> Section:
    name, virtual_size, _, size, offset = row
    if virtual_size > len(image) + 2**24:  # .bss and the like are small
        raise FileInvalid("a section larger than any in a program for UEFI")
    content = image[offset : offset + min(size, virtual_size)] if size else b""
    return Section(name.rstrip(b"\0").decode("ascii", "replace"), content.ljust(virtual_size, b"\0"))
