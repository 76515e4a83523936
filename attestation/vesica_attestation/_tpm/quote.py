"""A TPM 2.0 quote: what a guest has it sign, and reading it. No trust here.

Source: Trusted Computing Group, "TPM 2.0 Library", part 2: TPMS_ATTEST (10.12.12), TPMS_QUOTE_INFO (10.12.4),
TPML_PCR_SELECTION (10.9.7), TPMS_CLOCK_INFO (10.11.1). All integers are big-endian.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from vesica_attestation._tpm.constants import ALG_SHA256, NAME_BYTES, PCR_BYTES, PCRS
from vesica_attestation._tpm.reader import Reader
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

QUOTE_BYTES_MAX: Final = 256
EXTRA_DATA_BYTES_MAX: Final = 64
_TPM_GENERATED: Final = 0xFF544347
_ATTEST_QUOTE: Final = 0x8018
# One selection: SHA-256 bank, three octets of bits, all of them set.
_ALL_PCRS: Final = bytes.fromhex("00000001000b03ffffff")


@dataclass(frozen=True)
class TpmQuote:
    """signer: qualified name of the key, SHA-256. extra_data: what the guest had signed. pcr_digest: SHA-256 over the
    24 PCRs, in order. reset_count, restart_count, clock_safe, firmware_version: as the TPM says, which disguises the
    counts and the version unless the key is of the endorsement hierarchy. signed: all the bytes.
    """

    signer: bytes
    extra_data: bytes
    reset_count: int
    restart_count: int
    clock_safe: bool
    firmware_version: int
    pcr_digest: bytes
    signed: bytes


def extra_data(report_data: bytes) -> bytes:
    """What the guest must have TPM2_Quote sign for its report data: the SHA-256. One function for both sides.

    A TPM may take as few as 34 bytes there (TPM2B_DATA, where SHA-256 is its largest digest), so not the 64 themselves.
    """
    return hashlib.sha256(report_data).digest()


def parse_quote(kind: Kind, data: bytes) -> TpmQuote:
    """A TPMS_ATTEST that quotes all 24 PCRs of the SHA-256 bank, and nothing else.

    The magic matters: a restricted key signs nothing that begins with it for its users, so what does is the TPM's own.

    Raises Refused (checks "format", "trailing-bytes", "tpm-magic", "tpm-type", "pcr-selection").
    """
    reader = Reader(data, "the TPM quote", partial(Refused, kind))
    if len(data) > QUOTE_BYTES_MAX:
        raise reader.fail(f"more than {QUOTE_BYTES_MAX} bytes")
    if reader.number(4) != _TPM_GENERATED:
        raise reader.fail("not made by a TPM", "tpm-magic")
    if reader.number(2) != _ATTEST_QUOTE:
        raise reader.fail("made by a TPM, but not a quote", "tpm-type")
    signer = reader.sized(NAME_BYTES)
    if len(signer) != NAME_BYTES or int.from_bytes(signer[:2], "big") != ALG_SHA256:
        raise reader.fail("the key's name is not a SHA-256 name")
    extra = reader.sized(EXTRA_DATA_BYTES_MAX)
    reader.take(8)  # the clock: milliseconds, for which nothing here has a use
    reset_count, restart_count, safe, firmware_version = (reader.number(size) for size in (4, 4, 1, 8))
    if safe > 1:
        raise reader.fail("clock information that is neither safe nor unsafe")
    if reader.take(len(_ALL_PCRS)) != _ALL_PCRS:
        raise reader.fail("not over the 24 PCRs of the SHA-256 bank", "pcr-selection")
    pcr_digest = reader.sized(PCR_BYTES)
    if len(pcr_digest) != PCR_BYTES:
        raise reader.fail("the digest of the PCRs is not 32 bytes")
    reader.end()
    return TpmQuote(signer, extra, reset_count, restart_count, bool(safe), firmware_version, pcr_digest, data)


def require_pcrs(kind: Kind, pcrs: Sequence[bytes], quote: TpmQuote) -> None:
    """PCR values must be the 24 that were quoted. Raises Refused (checks "format", "pcr-digest")."""
    if len(pcrs) != PCRS or any(len(pcr) != PCR_BYTES for pcr in pcrs):
        raise Refused(kind, "format", f"needs {PCRS} PCRs of {PCR_BYTES} bytes")
    if hashlib.sha256(b"".join(pcrs)).digest() != quote.pcr_digest:
        raise Refused(kind, "pcr-digest", "the quote is over other PCR values")
