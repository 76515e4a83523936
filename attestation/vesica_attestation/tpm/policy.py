"""What a relying party accepts of a measured-boot virtual machine: the table ``[tpm]`` of a policy.

Which PCRs say what booted (TCG PC Client Platform Firmware Profile, section 3.3.4; Linux and systemd, "TPM2 PCR
Measurements"): 4 every program that the firmware started, from boot loader or unified kernel image on; 8 a boot
loader's commands and command lines; 9 the files that it read, or what Linux was given at a direct boot; 11 the
sections of a unified kernel image; 12 and 13 what such an image was given besides: command line, credentials,
extensions. 0 to 3 are the firmware's, 7 says whether secure boot is on and whose keys it trusts.

Only the firmware has anything to do with PCR 4 before something else runs. The PCRs from 8 on begin at zero, and
whatever booted can extend them: to the values of another system, if it likes. So without PCR 4 nothing is pinned.
"""

from dataclasses import dataclass
from typing import Final

from vesica_attestation._table import Table
from vesica_attestation._tpm.constants import ALG_SHA256, NAME_BYTES, PCR_BYTES
from vesica_attestation._tpm.policy import Pcrs, read_pcrs
from vesica_attestation.errors import PolicyInvalid

CERTIFICATE_DIGEST_BYTES: Final = 32
UNMEASURED: Final = bytes(PCR_BYTES)
LAUNCHED: Final = 4
# With what was launched, either of these pins the rest.
UNIFIED: Final = frozenset({11, 12, 13})
LOADED: Final = frozenset({8, 9})
_ALWAYS_MEASURED: Final = (LAUNCHED, 9, 11)
_NAME_START: Final = ALG_SHA256.to_bytes(2, "big")


@dataclass(frozen=True)
class TpmPolicy:
    """Terms of appraisal; there is none that trusts nobody (``allow_trusted_hypervisor``, see ``read_policy``).

    ca_certificate_digests: SHA-256 of the certificates (DER) of CAs that issue certificates of attestation keys, and
    of none else; empty, it refuses everything. pcrs: accepted values, by index, SHA-256 bank; see ``missing_of_whole``.
    attestation_keys: names, 34 bytes, of the keys that are accepted, and so of machines; None: any that such a CA
    certified.
    """

    ca_certificate_digests: frozenset[bytes]
    pcrs: Pcrs
    attestation_keys: frozenset[bytes] | None = None


def read_policy(table: Table) -> TpmPolicy:
    """The policy of a table.

    Raises PolicyInvalid, naming the place; also where ``allow_trusted_hypervisor = true`` is missing.
    """
    if not table.flag("allow_trusted_hypervisor"):
        raise PolicyInvalid(
            table.place("allow_trusted_hypervisor"),
            "not true. Whoever operates the host of such a machine can read its memory and forge its evidence: accept "
            "this kind only if you trust that operator with the data, and then say so",
        )
    pcrs = read_pcrs(table.table("pcrs"))
    policy = TpmPolicy(
        ca_certificate_digests=table.digests("ca_certificate_digests", CERTIFICATE_DIGEST_BYTES),
        pcrs=pcrs,
        attestation_keys=_names(table, "attestation_keys") if "attestation_keys" in table else None,
    )
    table.nothing_else()
    missing = missing_of_whole(pcrs)
    if missing is not None:
        raise PolicyInvalid(table.place("pcrs"), missing)
    return policy


def missing_of_whole(pcrs: Pcrs) -> str | None:
    """Why these PCRs do not pin all of what booted; None if they do."""
    if LAUNCHED not in pcrs:
        return "no PCR 4. Only that one says what was launched; any system can bring PCRs from 8 on to another's values"
    for index in _ALWAYS_MEASURED:
        if UNMEASURED in pcrs.get(index, ()):
            return f"PCR {index} all zero means that it was not measured"
    if not any(rest <= set(pcrs) for rest in (UNIFIED, LOADED)):
        return (
            "with PCR 4 must go 11, 12 and 13 (a unified kernel image: its sections; what it was given besides), or 8 "
            "and 9 (a boot loader's commands and files, or what Linux was given): else it may be given other files"
        )
    return None


def _names(table: Table, name: str) -> frozenset[bytes]:
    names = table.digests(name, NAME_BYTES)
    if any(not value.startswith(_NAME_START) for value in names):
        raise PolicyInvalid(table.place(name), "each entry must be the name of a key: 000b, then 64 hex digits")
    return names
