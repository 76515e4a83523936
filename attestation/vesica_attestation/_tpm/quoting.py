"""How an attester has a TPM quote, whatever vouches for its key."""

import hashlib
import threading
from pathlib import Path
from typing import Final

from vesica_attestation._tpm.commands import SignedQuote, Tpm, TpmError
from vesica_attestation._tpm.quote import extra_data, parse_quote
from vesica_attestation._tpm.signature import parse_signature
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Kind

TPM: Final = Path("/dev/tpmrm0")
ATTEMPTS_MAX: Final = 6
one_at_a_time: Final = threading.Lock()


def quote_at_rest(kind: Kind, tpm: Tpm, key: int, report_data: bytes) -> SignedQuote:
    """A quote bound to report data, and the PCRs that it is over: tried again while one changes in between.

    Raises AttesterUnavailable, TpmError, OSError.
    """
    for _ in range(ATTEMPTS_MAX):
        quote = tpm.quote(key, extra_data(report_data))
        try:
            parse_signature(kind, quote.signature)
            digest = parse_quote(kind, quote.message).pcr_digest
        except Refused as refusal:
            raise AttesterUnavailable(kind, f"the TPM gave a quote that no verifier reads: {refusal}") from None
        if digest == hashlib.sha256(b"".join(quote.pcrs)).digest():
            return quote
    raise AttesterUnavailable(kind, f"the PCRs changed between quoting and reading them, {ATTEMPTS_MAX} times")


def unusable(kind: Kind, device: Path, error: OSError | TpmError) -> AttesterUnavailable:
    """What to raise where the TPM cannot be reached, or refuses."""
    why = (error.strerror or "a broken device") if isinstance(error, OSError) else str(error)
    return AttesterUnavailable(kind, f"the TPM at {device} cannot be used: {why}")
