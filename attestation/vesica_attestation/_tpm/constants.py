"""Numbers of the TPM 2.0 Library, part 2, that both sides use."""

from typing import Final

PCRS: Final = 24
PCR_BYTES: Final = 32  # SHA-256
NAME_BYTES: Final = 34
ALG_SHA256: Final = 0x000B
ALG_NULL: Final = 0x0010
RH_OWNER: Final = 0x40000001
RH_ENDORSEMENT: Final = 0x4000000B
