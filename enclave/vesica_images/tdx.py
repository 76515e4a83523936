"""TDX registers of a direct boot under QEMU and KVM: MRTD from the firmware, RTMR 1 and 2 from what it boots.

RTMR 0 is not computed: it has the tables that the host makes for the firmware, which depend on the machine's memory,
processors and devices. None of these values was compared with a machine that has TDX: see docs/reference-values.md.

Sources: Intel TDX Module ABI Specification, TDH.MEM.PAGE.ADD and TDH.MR.EXTEND ("MRTD"); Intel, TDX Virtual Firmware
Design Guide, section 11 (metadata); edk2, OvmfPkg/ResetVector (GUIDed table) and OvmfPkg/Tcg/TdTcg2Dxe (RTMRs); Linux
6.16, arch/x86/kvm/vmx/tdx.c (``tdx_gmem_post_populate``: each page is added, then extended).
"""

import hashlib
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vesica_images import pcr, pe
from vesica_images.files import FileInvalid

_DIGEST_BYTES: Final = 48
_PAGE_BYTES: Final = 4096
_CHUNK_BYTES: Final = 256
_TABLE_END: Final = 32  # the table of OVMF ends so many bytes before the file does
_TABLE: Final = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
_METADATA: Final = uuid.UUID("e47a6535-984a-4798-865e-4685a7bf8ec2").bytes_le
_ENTRY: Final = struct.Struct("<H16s")  # length, GUID: they follow what they describe
_DESCRIPTOR: Final = struct.Struct("<4sIII")  # signature, length, version, sections
_SECTION: Final = struct.Struct("<IIQQII")  # offset and size in the file, address and size in memory, type, attributes
_SECTIONS_MAX: Final = 64
_MEMORY_BYTES_MAX: Final = 2**28
_EXTENDED: Final = 1  # attribute: its content is in MRTD
_LATER: Final = 2  # attribute: its pages are added after launch, and measured by nobody
_EXITS: Final = (b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success")


@dataclass(frozen=True)
class _Section:
    content: bytes
    address: int
    size: int
    attributes: int


def mrtd(firmware: bytes) -> bytes:
    """MRTD, 48 bytes: addresses and content of all pages that the firmware's metadata puts into the guest at launch.

    The order is QEMU's with KVM of Linux 6.16 or later: section after section, page after page, each page first added,
    then extended. Other hosts have other orders, and other values. Raises FileInvalid.
    """
    digest = hashlib.sha384()
    for section in _sections(firmware):
        if section.attributes & _LATER:
            continue
        for start in range(0, section.size, _PAGE_BYTES):
            address = section.address + start
            digest.update(_buffer(b"MEM.PAGE.ADD", address))
            if section.attributes & _EXTENDED:
                page = section.content[start : start + _PAGE_BYTES].ljust(_PAGE_BYTES, b"\0")
                for part in range(0, _PAGE_BYTES, _CHUNK_BYTES):
                    digest.update(_buffer(b"MR.EXTEND", address + part))
                    digest.update(page[part : part + _CHUNK_BYTES])
    return digest.digest()


def rtmr1(kernel: bytes) -> bytes:
    """RTMR 1, 48 bytes, of a direct boot: the kernel, and that it was started.

    On a machine whose devices bring no drivers for the firmware along (``romfile=`` for network devices): it would
    measure those here too. Raises FileInvalid.
    """
    events = (_digest(event) for event in (pcr.CALLING, pcr.SEPARATOR, *_EXITS))
    return pcr.replay([pe.authenticode(kernel, "sha384"), *events], _DIGEST_BYTES)


def rtmr2(initrd: bytes, command_line: str) -> bytes:
    """RTMR 2, 48 bytes, of a direct boot: the command line and the initial file system."""
    return pcr.replay([_digest(pcr.load_options(command_line)), _digest(initrd)], _DIGEST_BYTES)


def _digest(content: bytes) -> bytes:
    return hashlib.sha384(content).digest()


def _buffer(operation: bytes, address: int) -> bytes:
    """What the TDX module hashes for an operation: its name, padded to 16 bytes, the address, zeros up to 128."""
    return (operation.ljust(16, b"\0") + struct.pack("<Q", address)).ljust(128, b"\0")


def _sections(firmware: bytes) -> tuple[_Section, ...]:
    try:
        return tuple(_described(firmware))
    except struct.error:
        raise FileInvalid("firmware whose TDX metadata ends too early") from None


def _described(firmware: bytes) -> Iterator[_Section]:
    place = _metadata_at(firmware)
    signature, length, version, count = _DESCRIPTOR.unpack_from(firmware, place)
    if (signature, version) != (b"TDVF", 1) or not 0 < count <= _SECTIONS_MAX:
        raise FileInvalid("firmware with TDX metadata of a version that is not known here")
    if length != _DESCRIPTOR.size + count * _SECTION.size:
        raise FileInvalid("firmware with TDX metadata of another length than its sections have")
    for number in range(count):
        row = _SECTION.unpack_from(firmware, place + _DESCRIPTOR.size + number * _SECTION.size)
        offset, raw, address, size, _, attributes = row
        if attributes & ~(_EXTENDED | _LATER) or offset + raw > len(firmware) or raw > size:
            raise FileInvalid("firmware with a section of TDX metadata that is not understood here")
        if address % _PAGE_BYTES or size % _PAGE_BYTES or (size > _MEMORY_BYTES_MAX and not attributes & _LATER):
            raise FileInvalid("firmware with a section of TDX metadata that is no whole number of pages, or too large")
        yield _Section(firmware[offset : offset + raw], address, size, attributes)


def _metadata_at(firmware: bytes) -> int:
    """Where the metadata begins: the table is read backwards from its end, as OVMF and QEMU do."""
    end = len(firmware) - _TABLE_END - _ENTRY.size
    if end < 0:
        raise FileInvalid("not firmware: too short")
    length, name = _ENTRY.unpack_from(firmware, end)
    if name != _TABLE or not _ENTRY.size <= length <= end + _ENTRY.size:
        raise FileInvalid("firmware without OVMF's table")
    start = end + _ENTRY.size - length
    while end > start:
        length, name = _ENTRY.unpack_from(firmware, end - _ENTRY.size)
        if not _ENTRY.size <= length <= end - start:
            raise FileInvalid("firmware whose table is damaged")
        if name == _METADATA:
            from_end = int.from_bytes(firmware[end - length : end - length + 4], "little")
            if not _DESCRIPTOR.size <= from_end <= len(firmware):
                raise FileInvalid("firmware whose TDX metadata is outside of it")
            return len(firmware) - from_end
        end -= length
    raise FileInvalid("firmware without TDX metadata")
