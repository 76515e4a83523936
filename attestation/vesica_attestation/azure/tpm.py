"""A TPM 2.0 quote: parsing only, no trust.

Source: Trusted Computing Group, "TPM 2.0 Library", part 2: TPMS_ATTEST (10.12.12), TPMS_QUOTE_INFO (10.12.4),
TPML_PCR_SELECTION (10.9.7), TPMS_CLOCK_INFO (10.11.1). All integers are big-endian.
"""

from dataclasses import dataclass
from typing import Final

from vesica_attestation.azure.abi import KIND
from vesica_attestation.errors import Refused

QUOTE_BYTES_MAX: Final = 256
PCRS: Final = 24
PCR_BYTES: Final = 32
EXTRA_DATA_BYTES_MAX: Final = 64
_TPM_GENERATED: Final = 0xFF544347
_ATTEST_QUOTE: Final = 0x8018
_SHA256: Final = 0x000B
_NAME_BYTES: Final = 34
_CLOCK_AND_FIRMWARE_BYTES: Final = 17 + 8
# One selection: SHA-256 bank, three octets of bits, all of them set.
_ALL_PCRS: Final = bytes.fromhex("00000001000b03ffffff")


@dataclass(frozen=True)
class TpmQuote:
    """extra_data: what the guest had signed. pcr_digest: SHA-256 over the 24 PCRs, in order. signed: all the bytes."""

    extra_data: bytes
    pcr_digest: bytes
    signed: bytes


def parse_quote(data: bytes) -> TpmQuote:
    """A TPMS_ATTEST that quotes all 24 PCRs of the SHA-256 bank, and nothing else.

    The magic matters: a TPM signs nothing that begins with it for its users, so what does is the TPM's own. The key's
    qualified name, clock, reset counts and firmware version are stepped over: nothing is concluded from them.

    Raises Refused (checks "format", "trailing-bytes", "tpm-magic", "tpm-type", "pcr-selection").
    """
    if len(data) > QUOTE_BYTES_MAX:
        raise Refused(KIND, "format", f"a TPM quote has at most {QUOTE_BYTES_MAX} bytes")
    reader = _Reader(data)
    if reader.number(4) != _TPM_GENERATED:
        raise Refused(KIND, "tpm-magic", "not made by a TPM")
    if reader.number(2) != _ATTEST_QUOTE:
        raise Refused(KIND, "tpm-type", "made by a TPM, but not a quote")
    name = reader.sized(_NAME_BYTES)
    if len(name) != _NAME_BYTES or int.from_bytes(name[:2], "big") != _SHA256:
        raise Refused(KIND, "format", "the key's name is not a SHA-256 name")
    extra_data = reader.sized(EXTRA_DATA_BYTES_MAX)
    reader.take(_CLOCK_AND_FIRMWARE_BYTES)
    if reader.take(len(_ALL_PCRS)) != _ALL_PCRS:
        raise Refused(KIND, "pcr-selection", "not the 24 PCRs of the SHA-256 bank")
    pcr_digest = reader.sized(PCR_BYTES)
    if len(pcr_digest) != PCR_BYTES:
        raise Refused(KIND, "format", "the digest of the PCRs is not 32 bytes")
    reader.end()
    return TpmQuote(extra_data, pcr_digest, data)


class _Reader:
    """Bytes being read once, from the front. Every method raises Refused."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def take(self, size: int) -> bytes:
        if len(self._left) < size:
            raise Refused(KIND, "format", "the TPM quote is cut off")
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self, most: int) -> bytes:
        size = self.number(2)
        if size > most:
            raise Refused(KIND, "format", "a field of the TPM quote is longer than it may be")
        return self.take(size)

    def end(self) -> None:
        if self._left:
            raise Refused(KIND, "trailing-bytes", "bytes after the TPM quote")
