"""The event log that firmware keeps of what it measured: parsing, replaying, and what was launched.

The log is signed by nobody. It is believed only as far as its digests, replayed, give PCRs that a TPM signed; which
events there were, and in which order, is then as sure as the hash. Types and descriptions of events are in no hash:
they are stepped over, except to tell events that extend nothing, where a lie makes the replay fail.

Source: TCG PC Client Platform Firmware Profile 1.06, sections 10.2.1 (TCG_PCClientPCREvent), 10.2.2 (TCG_PCR_EVENT2),
10.4.5.1 (TCG_EfiSpecIDEvent), 10.4.5.3 (startup locality), 3.3.4.5 and 10.4.1 (PCR 4); systemd,
docs/TPM2_PCR_MEASUREMENTS.md (PCR 11). All integers are little-endian.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from vesica_attestation._tpm.constants import ALG_SHA256, PCR_BYTES
from vesica_attestation._tpm.policy import PCRS_THAT_HOLD
from vesica_attestation._tpm.reader import Reader
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

LOG_BYTES_MAX: Final = 128 * 2**10
_NO_ACTION: Final = 3
_SHA1_BYTES: Final = 20
_SIGNATURE: Final = b"Spec ID Event03\0"
_ALGORITHMS_MAX: Final = 8
_LOCALITY: Final = b"StartupLocality\0"
# Where the first code that measures ran: 0 by default, 3 or 4 with a root of trust below the firmware.
_LOCALITIES: Final = (b"\0", b"\3", b"\4")
_FIRMWARE_PCRS: Final = range(8)
BOOT_MANAGER_PCR: Final = 4
UNIFIED_KERNEL_PCR: Final = 11
# What PCR 4 holds besides programs.
_ACTIONS: Final = frozenset(
    hashlib.sha256(text).digest()
    for text in (
        b"Calling EFI Application from Boot Option",
        b"Returning from EFI Application from Boot Option",
        bytes(4),
        b"\xff" * 4,
    )
)
_SECTIONS: Final[Mapping[bytes, str]] = {
    hashlib.sha256(name.encode("ascii") + b"\0").digest(): name
    for name in (
        ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".dtbauto", ".uname", ".sbat",
        ".pcrpkey", ".profile", ".hwids", ".efifw",
    )
}  # fmt: skip


_refused: Final = partial(Refused, Kind.TPM)


@dataclass(frozen=True)
class EventLog:
    """locality: where the first code that measures ran. events: PCR and SHA-256 digest of each measurement, in their
    order.
    """

    locality: int
    events: tuple[tuple[int, bytes], ...]

    def replayed(self) -> dict[int, bytes]:
        """What the PCRs hold, if the log is true and whole: those of the firmware, and those that it measures into.
        (Into others an operating system may have measured, with logs of its own.)
        """
        pcrs = {pcr: bytes(PCR_BYTES) for pcr in _FIRMWARE_PCRS}
        pcrs[0] = self.locality.to_bytes(PCR_BYTES, "big")
        for pcr, digest in self.events:
            pcrs[pcr] = hashlib.sha256(pcrs.get(pcr, bytes(PCR_BYTES)) + digest).digest()
        return pcrs

    def require_replayed(self, pcrs: Sequence[bytes]) -> None:
        """Each of those PCRs must hold what the log says. Raises Refused (check "event-log")."""
        for pcr, value in self.replayed().items():
            if pcrs[pcr] != value:
                raise Refused(Kind.TPM, "event-log", f"its events do not give what PCR {pcr} holds")

    def programs(self) -> list[str]:
        """Authenticode digests, hex, of what firmware launched: boot loader, unified kernel image, kernel (PCR 4)."""
        return [digest.hex() for pcr, digest in self.events if pcr == BOOT_MANAGER_PCR and digest not in _ACTIONS]

    def sections(self) -> list[str]:
        """Names and SHA-256 of the sections of a unified kernel image that its stub measured (PCR 11), each "name
        hex"; a digest alone is of something else.
        """
        digests = iter([digest for pcr, digest in self.events if pcr == UNIFIED_KERNEL_PCR])
        return [_section(digest, digests) for digest in digests]


def parse_log(data: bytes) -> EventLog:
    """Raises Refused (checks "format", "trailing-bytes", "event-log")."""
    reader = Reader(data, "the event log", _refused, "little")
    if len(data) > LOG_BYTES_MAX:
        raise reader.fail(f"more than {LOG_BYTES_MAX} bytes")
    sizes = _read_header(reader)
    locality: int | None = None
    events: list[tuple[int, bytes]] = []
    while reader.more:
        pcr, kind = reader.number(4), reader.number(4)
        digest = _read_digests(reader, sizes)
        text = reader.take(reader.number(4))
        if kind != _NO_ACTION:
            if pcr not in PCRS_THAT_HOLD:
                raise reader.fail("a measurement into a PCR that does not hold it", "event-log")
            events.append((pcr, digest))
        elif text.startswith(_LOCALITY):
            if events or locality is not None or text[len(_LOCALITY) :] not in _LOCALITIES:
                raise reader.fail("a startup locality that is none, is late, or is one too many", "event-log")
            locality = text[-1]
    return EventLog(locality or 0, tuple(events))


def _read_header(reader: Reader) -> dict[int, int]:
    """Digest sizes in bytes, by algorithm, from the first event."""
    if (reader.number(4), reader.number(4)) != (0, _NO_ACTION) or any(reader.take(_SHA1_BYTES)):
        raise reader.fail("does not begin with its specification")
    header = Reader(reader.take(reader.number(4)), "the event log's header", _refused, "little")
    if header.take(len(_SIGNATURE)) != _SIGNATURE:
        raise header.fail("not of the format that names its algorithms")
    header.take(4 + 1 + 1 + 1 + 1)  # class of platform, version, errata, size of a pointer
    count = header.number(4)
    if not 0 < count <= _ALGORITHMS_MAX:
        raise header.fail(f"not 1 to {_ALGORITHMS_MAX} algorithms")
    sizes = {header.number(2): header.number(2) for _ in range(count)}
    if len(sizes) != count or sizes.get(ALG_SHA256) != PCR_BYTES:
        raise header.fail("an algorithm twice, or no SHA-256", "event-log")
    header.take(header.number(1))  # of the vendor
    header.end()
    return sizes


def _read_digests(reader: Reader, sizes: Mapping[int, int]) -> bytes:
    """The SHA-256 of an event's digests: one of each algorithm, no more."""
    if reader.number(4) != len(sizes):
        raise reader.fail("an event without a digest of each algorithm")
    digests: dict[int, bytes] = {}
    for _ in sizes:
        algorithm = reader.number(2)
        if algorithm not in sizes or algorithm in digests:
            raise reader.fail("an event without a digest of each algorithm")
        digests[algorithm] = reader.take(sizes[algorithm])
    return digests[ALG_SHA256]


def _section(digest: bytes, following: Iterator[bytes]) -> str:
    """A name is measured first, with a NUL, and then what the section holds."""
    name = _SECTIONS.get(digest)
    content = None if name is None else next(following, None)
    return digest.hex() if name is None or content is None else f"{name} {content.hex()}"
