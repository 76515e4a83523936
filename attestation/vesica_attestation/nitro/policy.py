"""What a relying party accepts of a Nitro enclave: the table ``[nitro]`` of a policy.

PCRs, each 48 bytes, are as AWS defines them ("Where to get an enclave's measurements", Nitro Enclaves user guide):
0 the image file, 1 the kernel and boot files, 2 the application, 3 the IAM role of the parent instance, 4 the parent
instance's id, 8 the certificate that signed the image.
"""

from dataclasses import dataclass
from typing import Final

from vesica_attestation._table import Table
from vesica_attestation.errors import PolicyInvalid
from vesica_attestation.nitro.abi import PCR_BYTES

AGE_SECONDS_MAX: Final = 24 * 60 * 60
UNMEASURED: Final = bytes(PCR_BYTES)


@dataclass(frozen=True)
class NitroPolicy:
    """launch_digests: accepted values of PCR0; empty, it refuses everything. max_age_seconds: of a document, at most.

    pcr1 … pcr8: accepted values; None: accepted unread. The all-zero value means "not measured" and is never
    accepted, here or in launch_digests. allow_insecure_debug: accept enclaves in debug mode, whose memory and console
    the host reads, and whose image AWS does not measure: then PCR0, 1 and 2 prove nothing and are not compared.
    """

    launch_digests: frozenset[bytes]
    max_age_seconds: int
    pcr1: frozenset[bytes] | None = None
    pcr2: frozenset[bytes] | None = None
    pcr3: frozenset[bytes] | None = None
    pcr4: frozenset[bytes] | None = None
    pcr8: frozenset[bytes] | None = None
    allow_insecure_debug: bool = False

    def pins(self) -> dict[int, frozenset[bytes]]:
        """Accepted values by PCR, of those PCRs that are compared."""
        named = {
            0: self.launch_digests,
            1: self.pcr1,
            2: self.pcr2,
            3: self.pcr3,
            4: self.pcr4,
            8: self.pcr8,
        }
        return {index: values for index, values in named.items() if values is not None}


def read_policy(table: Table) -> NitroPolicy:
    """The policy of a table.

    Raises PolicyInvalid, naming the place.
    """
    policy = NitroPolicy(
        launch_digests=_measured(table, "launch_digests"),
        max_age_seconds=table.integer("max_age_seconds", least=1, most=AGE_SECONDS_MAX),
        pcr1=_optional(table, "pcr1"),
        pcr2=_optional(table, "pcr2"),
        pcr3=_optional(table, "pcr3"),
        pcr4=_optional(table, "pcr4"),
        pcr8=_optional(table, "pcr8"),
        allow_insecure_debug=table.flag("allow_insecure_debug"),
    )
    table.nothing_else()
    return policy


def _optional(table: Table, name: str) -> frozenset[bytes] | None:
    return _measured(table, name) if name in table else None


def _measured(table: Table, name: str) -> frozenset[bytes]:
    values = table.digests(name, PCR_BYTES)
    if UNMEASURED in values:
        raise PolicyInvalid(table.place(name), "all zero means not measured, and is never accepted")
    return values
