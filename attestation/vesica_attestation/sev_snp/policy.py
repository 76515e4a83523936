"""The appraisal policy for SEV-SNP evidence: what a relying party accepts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vesica_attestation._table import Table
from vesica_attestation.errors import PolicyInvalid
from vesica_attestation.sev_snp.abi import Product, Tcb

_SVN_MAX: Final = 255
_VMPL_MAX: Final = 3
_NOTHING_HANDED: Final = frozenset({bytes(32)})


@dataclass(frozen=True)
class SevSnpPolicy:
    """Terms of appraisal; nothing has a default.

    launch_digests: 48 bytes each, of guests that are accepted. minimum_tcb: the floor per product; a product without
    one is refused. vmpl: privilege levels that may ask for a report, 0 the highest. allow_vlek: accept reports signed
    by a cloud provider's key, which names no chip. allow_insecure_debug: accept guests whose memory the host may
    read. allow_migration_agent: accept guests that another guest may move. allow_smt: accept guests that may share a
    core with strangers. require_alias_check: refuse where memory was not checked for aliases.

    host_data: 32 bytes each, of what the host may hand to the guest; left out, it must be zeros: nothing was handed.

    Pins, or None: chip_ids (64 bytes), id_key_digests and author_key_digests (48, SHA-384 of AMD's format of the
    key), csp_ids (as certified, such as "CN=cc-us-east-2.amazonaws.com").

    The guest policy's minimum ABI version is no term: firmware compared it with itself, and the TCB floor says more.
    """

    launch_digests: frozenset[bytes]
    minimum_tcb: Mapping[Product, Tcb]
    vmpl: frozenset[int]
    allow_vlek: bool
    allow_insecure_debug: bool
    allow_migration_agent: bool
    allow_smt: bool
    require_alias_check: bool
    host_data: frozenset[bytes]
    chip_ids: frozenset[bytes] | None
    id_key_digests: frozenset[bytes] | None
    author_key_digests: frozenset[bytes] | None
    csp_ids: frozenset[str] | None


def read_policy(table: Table) -> SevSnpPolicy:
    """A policy from its table.

    Raises PolicyInvalid, naming the place; also for pins of zeros, which are what a report has where it names
    nothing.
    """
    policy = SevSnpPolicy(
        launch_digests=table.digests("launch_digests", 48),
        minimum_tcb=_minimum_tcb(table.table("minimum_tcb")),
        vmpl=table.integers("vmpl", most=_VMPL_MAX),
        allow_vlek=table.flag("allow_vlek"),
        allow_insecure_debug=table.flag("allow_insecure_debug"),
        allow_migration_agent=table.flag("allow_migration_agent"),
        allow_smt=table.flag("allow_smt"),
        require_alias_check=table.flag("require_alias_check"),
        host_data=table.digests("host_data", 32) if "host_data" in table else _NOTHING_HANDED,
        chip_ids=_pins(table, "chip_ids", 64),
        id_key_digests=_pins(table, "id_key_digests", 48),
        author_key_digests=_pins(table, "author_key_digests", 48),
        csp_ids=table.texts("csp_ids") if "csp_ids" in table else None,
    )
    table.nothing_else()
    return policy


def _pins(table: Table, name: str, size: int) -> frozenset[bytes] | None:
    if name not in table:
        return None
    pins = table.digests(name, size)
    if bytes(size) in pins:
        raise PolicyInvalid(table.place(name), "zeros are what a report has where it names nothing; they pin nothing")
    return pins


def _minimum_tcb(table: Table) -> Mapping[Product, Tcb]:
    floors = {product: _tcb(table.table(product), product) for product in Product if product in table}
    table.nothing_else()
    if not floors:
        raise PolicyInvalid(table.path, f"name at least one product: {', '.join(Product)}")
    return floors


def _tcb(table: Table, product: Product) -> Tcb:
    tcb = Tcb(
        bootloader=table.integer("bootloader", most=_SVN_MAX),
        tee=table.integer("tee", most=_SVN_MAX),
        snp=table.integer("snp", most=_SVN_MAX),
        microcode=table.integer("microcode", most=_SVN_MAX),
        fmc=table.integer("fmc", most=_SVN_MAX) if product is Product.TURIN else 0,
    )
    table.nothing_else()
    return tcb
