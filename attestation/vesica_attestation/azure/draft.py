"""A draft of the table ``[azure]`` from a TPM quote and the hardware report that vouches for its key."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from vesica_attestation.azure.authentic import authenticate
from vesica_attestation.draft import Line
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence
from vesica_attestation.sev_snp.authentic import SnpClaims
from vesica_attestation.sev_snp.draft import lines_of

# What tells one guest from another here (``policy.AzurePolicy`` says what each PCR holds).
_PCRS: Final = {
    4: "Boot loader and kernel, as EFI applications.",
    7: "Secure boot: whether it is on, and whose keys it trusts.",
    9: "What the boot loader read: kernel and initial file system.",
    11: "A unified kernel image.",
}
_REBUILD: Final = "build the image yourself and compute it (docs/reference-values.md)."


def draft(evidence: Evidence, at: datetime) -> list[Line]:
    """What a policy would say that accepts this evidence.

    Raises Refused; also for evidence of TDX, whose Azure guests this verifier does not accept.
    """
    claims = authenticate(evidence, at)
    hardware = claims.hardware
    if not isinstance(hardware, SnpClaims):
        raise Refused(evidence.kind, "draft", "there is no draft for Azure on TDX; write its table by hand")
    pcrs = [
        Line(str(index), [claims.pcrs[index].hex()], why, _REBUILD, table="pcrs", off=not any(claims.pcrs[index]))
        for index, why in _PCRS.items()
    ]
    # The hardware's report is of the provider's paravisor, which vouches for the TPM.
    nested = [
        replace(line, table="sev_snp" if line.table is None else f"sev_snp.{line.table}") for line in lines_of(hardware)
    ]
    return [*pcrs, *nested]
