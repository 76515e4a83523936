"""PCRs in a policy: accepted values by index, of the SHA-256 bank."""

from collections.abc import Mapping
from typing import Final

from vesica_attestation._table import Table
from vesica_attestation._tpm.constants import PCR_BYTES
from vesica_attestation.errors import PolicyInvalid

# PCRs 16 and 23 may be reset by any software; 17 to 22 belong to a dynamic launch, which nobody here makes.
PCRS_THAT_HOLD: Final = range(16)

Pcrs = Mapping[int, frozenset[bytes]]


def read_pcrs(table: Table) -> Pcrs:
    """The table ``pcrs``: index = [values]. It may be empty.

    Raises PolicyInvalid, naming the place.
    """
    pcrs = {index: table.digests(str(index), PCR_BYTES) for index in PCRS_THAT_HOLD if str(index) in table}
    for name in table.names():
        raise PolicyInvalid(table.place(name), "only PCRs 0 to 15 hold what was measured")
    return pcrs
