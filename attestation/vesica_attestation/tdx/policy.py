"""What a relying party accepts of TDX evidence.

A TD's memory at launch (MRTD) is firmware only. The firmware measures the tables that the host made for it into
RTMR0, and the kernel, its command line and initial file system into RTMR1 and RTMR2; whatever runs later may extend
RTMR3. So a policy that names the launch digest alone accepts any kernel, and a kernel that is not known can put any
value into RTMR3. Therefore rtmr0, rtmr1 and rtmr2 must be given, or a flag with a warning for a name. What is left
out of rtmr3, mrconfigid, mrowner and mrownerconfig must be zero: the host or the guest put nothing there that this
policy does not know.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from vesica_attestation._table import Table
from vesica_attestation.errors import PolicyInvalid
from vesica_attestation.tdx.dstack import COMPOSE_HASH_BYTES

DIGEST_BYTES: Final = 48
COLLATERAL_AGE_DAYS_MAX: Final = 366

# Intel's words (PCS API v4, tcbStatus). Revoked is not among them: no policy can allow it. Nor are the two
# TDRelaunchAdvised, which dcap-qvl 0.7.0 derives for TDs that were launched under an older TDX module.
TCB_STATUSES: Final = frozenset({
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded",
    "OutOfDate", "OutOfDateConfigurationNeeded",
})  # fmt: skip

# Bits of TDATTRIBUTES that a policy may allow, with their numbers. They let a TD use a feature of the processor, and
# change what is in its memory or who can read it in no way that we know of; as the host chooses them, they are
# refused unless named. Source: Intel TDX Module ABI Specification, "TD ATTRIBUTES"; Linux,
# arch/x86/include/asm/shared/tdx.h.
TD_ATTRIBUTES: Final = {"LASS": 27, "PKS": 30, "KL": 31, "PERFMON": 63}

_ZERO: Final = frozenset({bytes(DIGEST_BYTES)})
_NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class TdxPolicy:
    """Checked terms. A set is of values of which one must match; an empty set refuses.

    launch_digests: MRTD. rtmr0 to rtmr2: None only where the policy said that they need not be known. rtmr3 is not
    compared where dstack_compose_hashes is given: then the event log must replay to it. mrconfigid: None with dstack:
    must then fit the compose hash. mrseam, fmspcs, ppids: None: any (Intel's TCB level covers them).
    collateral_age_days_max: of the older of TCB info and enclave identity. td_attributes: names of ``TD_ATTRIBUTES``.
    """

    launch_digests: frozenset[bytes]
    tcb_statuses: frozenset[str]
    minimum_tcb_evaluation_number: int
    collateral_age_days_max: int
    rtmr0: frozenset[bytes] | None
    rtmr1: frozenset[bytes] | None
    rtmr2: frozenset[bytes] | None
    rtmr3: frozenset[bytes] = _ZERO
    mrconfigid: frozenset[bytes] | None = _ZERO
    mrowner: frozenset[bytes] = _ZERO
    mrownerconfig: frozenset[bytes] = _ZERO
    mrseam: frozenset[bytes] | None = None
    fmspcs: frozenset[bytes] | None = None
    ppids: frozenset[bytes] | None = None
    advisory_ids: frozenset[str] = _NOTHING
    td_attributes: frozenset[str] = _NOTHING
    dstack_compose_hashes: frozenset[bytes] | None = None


def read_policy(table: Table) -> TdxPolicy:
    """Terms from the table ``[tdx]`` of a policy file.

    Raises PolicyInvalid, naming the place.
    """
    unmeasured_kernel, unmeasured_acpi = table.flag("allow_unmeasured_kernel"), table.flag("allow_unmeasured_acpi")
    compose_hashes = _digests(table, "dstack_compose_hashes", COMPOSE_HASH_BYTES)
    dstack = compose_hashes is not None
    if dstack and "rtmr3" in table:
        raise PolicyInvalid(table.place("rtmr3"), "give this or dstack_compose_hashes: the event log explains rtmr3")
    if dstack and unmeasured_kernel:
        why = "an unknown kernel can put any compose hash into rtmr3: give rtmr1 and rtmr2"
        raise PolicyInvalid(table.place("allow_unmeasured_kernel"), why)
    policy = TdxPolicy(
        launch_digests=table.digests("launch_digests", DIGEST_BYTES),
        tcb_statuses=_closed(table, "tcb_statuses", TCB_STATUSES),
        minimum_tcb_evaluation_number=table.integer("minimum_tcb_evaluation_number", least=1),
        collateral_age_days_max=table.integer("collateral_age_days_max", least=1, most=COLLATERAL_AGE_DAYS_MAX),
        rtmr0=_register(table, "rtmr0", needed=not unmeasured_acpi),
        rtmr1=_register(table, "rtmr1", needed=not unmeasured_kernel),
        rtmr2=_register(table, "rtmr2", needed=not unmeasured_kernel),
        rtmr3=_digests(table, "rtmr3", DIGEST_BYTES) or _ZERO,
        mrconfigid=_digests(table, "mrconfigid", DIGEST_BYTES) or (None if dstack else _ZERO),
        mrowner=_digests(table, "mrowner", DIGEST_BYTES) or _ZERO,
        mrownerconfig=_digests(table, "mrownerconfig", DIGEST_BYTES) or _ZERO,
        mrseam=_digests(table, "mrseam", DIGEST_BYTES),
        fmspcs=_digests(table, "fmspcs", 6),
        ppids=_digests(table, "ppids", 16),
        advisory_ids=table.texts("advisory_ids") if "advisory_ids" in table else _NOTHING,
        td_attributes=_closed(table, "td_attributes", TD_ATTRIBUTES) if "td_attributes" in table else _NOTHING,
        dstack_compose_hashes=compose_hashes,
    )
    table.nothing_else()
    return policy


def _digests(table: Table, name: str, size: int) -> frozenset[bytes] | None:
    """A list that may be left out; where it stands, it has at least one value."""
    return table.digests(name, size) if name in table else None


def _register(table: Table, name: str, *, needed: bool) -> frozenset[bytes] | None:
    return table.digests(name, DIGEST_BYTES) if needed else _digests(table, name, DIGEST_BYTES)


def _closed(table: Table, name: str, known: Collection[str]) -> frozenset[str]:
    """A list of words of a closed set."""
    words = table.texts(name)
    if not words <= set(known):
        raise PolicyInvalid(table.place(name), f"each entry must be one of {', '.join(sorted(known))}")
    return words
