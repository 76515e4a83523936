"""SEV-SNP launch digests of a direct boot: firmware, kernel, initial file system and command line in one value.

Computed by the library sev-snp-measure (virtee). Source of what is measured: AMD SEV-SNP Firmware ABI, "SNP_LAUNCH_
UPDATE" and "SNP_LAUNCH_FINISH"; QEMU, docs/system/i386/amd-memory-encryption.rst (``kernel-hashes=on``).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vesica_images.files import FileInvalid

VCPUS_MAX: Final = 512
# SEV features of a virtual processor's save area: SNP alone. A host that turns on more has another digest.
_FEATURES: Final = 0x1


class LibraryMissing(Exception):
    """sev-snp-measure is not installed."""


@dataclass(frozen=True)
class Machine:
    """What of a virtual machine is in its launch digest. vcpu_type: QEMU's name of the processor, such as EPYC-v4."""

    vcpus: int
    vcpu_type: str


def launch_digest(firmware: Path, boot: tuple[Path, Path, str], machine: Machine) -> bytes:
    """The launch digest, 48 bytes. boot: kernel, initial file system, command line.

    firmware: OVMF of its AmdSev platform, which boots no kernel but the measured one; another is refused, because its
    digest would say nothing about the kernel. Raises FileInvalid, LibraryMissing; ValueError for an unknown machine.
    """
    try:
        from sevsnpmeasure import guest, vcpu_types, vmm_types  # noqa: PLC0415 (only where images are measured)
        from sevsnpmeasure.sev_mode import SevMode  # noqa: PLC0415
    except ImportError:
        raise LibraryMissing("sev-snp-measure is not installed; it is in requirements/dev.txt") from None
    signature = vcpu_types.CPU_SIGS.get(machine.vcpu_type)
    if signature is None or not 0 < machine.vcpus <= VCPUS_MAX:
        known = ", ".join(vcpu_types.CPU_SIGS)
        raise ValueError(f"a machine has 1 to {VCPUS_MAX} processors of one of these types: {known}")
    kernel, initrd, command_line = boot
    try:
        digest: bytes = guest.calc_launch_digest(
            SevMode.SEV_SNP, machine.vcpus, signature, str(firmware), str(kernel), str(initrd), command_line,
            _FEATURES, vmm_type=vmm_types.VMMType.QEMU,
        )  # fmt: skip
    except OSError as error:
        raise FileInvalid(f"cannot read {error.filename}: {error.strerror}") from None
    except (RuntimeError, ValueError, KeyError, AssertionError):  # whatever the library finds wrong with a firmware
        raise FileInvalid(f"{firmware}: not firmware of OVMF's AmdSev platform, which measures what it boots") from None
    return digest
