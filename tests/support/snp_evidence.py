"""Real SEV-SNP evidence, and what each file must verify as. Sources: tests/data/evidence/README.md."""

import re
from base64 import b64decode
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.sev_snp import SevSnpPolicy
from vesica_attestation.sev_snp.abi import Product, Tcb

DATA = Path(__file__).resolve().parents[1] / "data" / "evidence" / "sev-snp"
TODAY = datetime(2026, 11, 21, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """One folder. at: when it verifies; until: the last second at which it does. tcb: reported."""

    folder: str
    certificate: str
    product: Product
    at: datetime
    until: datetime
    tcb: Tcb

    @property
    def report(self) -> bytes:
        return (DATA / self.folder / "report.bin").read_bytes()

    @property
    def der(self) -> bytes:
        data = (DATA / self.folder / self.certificate).read_bytes()
        return b64decode(re.sub(rb"-----[^-]*-----|\s", b"", data)) if self.certificate.endswith("pem") else data

    @property
    def report_data(self) -> bytes:
        return self.report[0x50:0x90]

    @property
    def evidence(self) -> Evidence:
        return Evidence(Kind.SEV_SNP, {"report": self.report, "certificates": (self.der,)})

    def policy(self, **changes) -> SevSnpPolicy:
        """The narrowest policy that accepts this file, with changes."""
        narrowest = SevSnpPolicy(
            launch_digests=frozenset({self.report[0x90:0xC0]}),
            minimum_tcb={self.product: self.tcb},
            vmpl=frozenset({self.report[0x30]}),
            allow_vlek="vlek" in self.folder,
            allow_insecure_debug="debug" in self.folder,
            allow_migration_agent=False,
            allow_smt=True,
            require_alias_check=bool(self.report[0x40] & 1 << 5),
            chip_ids=None,
            host_data=frozenset({self.report[0xC0:0xE0]}),
            id_key_digests=None,
            author_key_digests=None,
            csp_ids=None,
        )
        return replace(narrowest, **changes)


def _at(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)


CASES = {
    case.folder: case
    for case in (
        Case("milan-v2-debug", "vcek.der", Product.MILAN, TODAY, _at(2029, 9, 24, 0, 55, 28), Tcb(2, 0, 5, 68)),
        Case("milan-v3-hostdata", "vcek.pem", Product.MILAN, TODAY, _at(2033, 6, 17, 1, 5, 4), Tcb(4, 0, 23, 213)),
        Case(
            "milan-v3-vlek-vmpl1",
            "vlek.der",
            Product.MILAN,
            _at(2025, 6, 1),
            _at(2025, 12, 10, 22, 14, 21),
            Tcb(4, 0, 24, 217),
        ),
        Case("genoa-v5", "vcek.der", Product.GENOA, TODAY, _at(2032, 8, 7, 17, 21, 41), Tcb(10, 0, 25, 84)),
        Case("turin-v5", "vcek.der", Product.TURIN, TODAY, _at(2032, 7, 17, 17, 4, 46), Tcb(1, 0, 2, 71, fmc=0)),
    )
}
