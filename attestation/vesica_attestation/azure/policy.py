"""The appraisal policy for Azure confidential virtual machines: what a relying party accepts."""

from dataclasses import dataclass

from vesica_attestation import sev_snp, tdx
from vesica_attestation._table import Table
from vesica_attestation._tpm.policy import Pcrs, read_pcrs
from vesica_attestation.errors import PolicyInvalid


@dataclass(frozen=True)
class AzurePolicy:
    """Terms of appraisal; nothing has a default.

    pcrs: accepted values, by index, SHA-256 bank. They, and not the hardware's launch digest, say what the guest
    booted: the digest is of Microsoft's paravisor, the same for all its customers. 4: boot loader and kernel as EFI
    applications; 7: secure boot's state and keys; 8, 9: boot loader's commands and files; 11, 12: a unified kernel
    image. Memory after boot is in none. sev_snp, tdx: what is accepted of the hardware's report, which is the
    paravisor's; None refuses that hardware. allow_stale_hardware_report: accept a hardware report that does not
    repeat the report data (see the package).
    """

    pcrs: Pcrs
    sev_snp: sev_snp.SevSnpPolicy | None
    tdx: tdx.TdxPolicy | None
    allow_stale_hardware_report: bool


def read_policy(table: Table) -> AzurePolicy:
    """A policy from its table, with the hardware's in tables ``sev_snp`` and ``tdx`` inside it.

    Raises PolicyInvalid, naming the place.
    """
    policy = AzurePolicy(
        pcrs=_pcrs(table.table("pcrs")),
        sev_snp=sev_snp.read_policy(table.table("sev_snp")) if "sev_snp" in table else None,
        tdx=tdx.read_policy(table.table("tdx")) if "tdx" in table else None,
        allow_stale_hardware_report=table.flag("allow_stale_hardware_report"),
    )
    table.nothing_else()
    if policy.sev_snp is None and policy.tdx is None:
        raise PolicyInvalid(table.path, "accepts no hardware; name sev_snp, tdx, or both")
    return policy


def _pcrs(table: Table) -> Pcrs:
    pcrs = read_pcrs(table)
    if not pcrs:
        raise PolicyInvalid(table.path, "names no PCR: any operating system would be accepted")
    return pcrs
