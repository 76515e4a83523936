"""Evidence from inside a TDX guest: a quote through configfs-tsm, with Intel's collateral for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from vesica_attestation import _configfs_tsm
from vesica_attestation._attesting import require_report_data
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.needs import Needs
from vesica_attestation.tdx.abi import parse_quote

PROVIDER: Final = "tdx_guest"
NO_COLLATERAL: Final = (
    "a quote cannot be verified without Intel's collateral for this machine, and none was handed in: "
    "fetch it outside (QuoteCollateralV3 as JSON) and name the file"
)

Collateral = Callable[[bytes], bytes]


@dataclass(frozen=True)
class TdxAttester:
    """Asks the TDX module and the host's quoting enclave, through the kernel.

    collateral: gives Intel's collateral (QuoteCollateralV3 as JSON) for a quote, given the quote. A room without a
    network cannot fetch it, so its operator hands it in and renews it before it ends. Nobody need trust the operator
    for that: it is signed by Intel and dated, and old collateral is for the policy to refuse. Without it there is no
    evidence. sleep: waits between tries, in seconds.
    """

    collateral: Collateral | None
    place: Path = _configfs_tsm.TSM_REPORTS
    sleep: Callable[[float], None] = time.sleep
    kind: ClassVar[Kind] = Kind.TDX

    @property
    def needs(self) -> Needs:
        """An entry of configfs-tsm for each quote, or the broker."""
        return _configfs_tsm.needs(self.place)

    def probe(self) -> None:
        """Raises AttesterUnavailable if configfs-tsm does not speak for TDX here."""
        _configfs_tsm.require_provider(self.place, self.kind, PROVIDER)

    def attest(self, report_data: bytes) -> Evidence:
        """A quote over ``report_data``, byte for byte as the kernel gives it, padding and all, and its collateral.

        Raises AttesterUnavailable; ValueError for another length than 64 bytes.
        """
        require_report_data(report_data)
        quote = _configfs_tsm.read_report(
            self.place, self.kind, PROVIDER, report_data, levelled=False, privlevel=None, sleep=self.sleep
        ).outblob
        return quote_evidence(quote, report_data, self.collateral)


def quote_evidence(quote: bytes, report_data: bytes, collateral: Collateral | None, **more: bytes) -> Evidence:
    """TDX evidence around a quote. more: parts besides.

    Raises AttesterUnavailable if the quote is none that a verifier reads, or is about something else than
    ``report_data``.
    """
    if collateral is None:
        raise AttesterUnavailable(Kind.TDX, NO_COLLATERAL)
    try:
        found = parse_quote(quote).report.report_data
    except Refused as refusal:
        raise AttesterUnavailable(Kind.TDX, f"got a quote that no verifier reads: {refusal}") from None
    if found != report_data:
        raise AttesterUnavailable(Kind.TDX, "got a quote about something else")
    return Evidence(Kind.TDX, {"quote": quote, "collateral": collateral(quote), **more})
