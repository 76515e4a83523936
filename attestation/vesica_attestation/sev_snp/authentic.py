"""Authenticity of SEV-SNP evidence: AMD's signature on the report, and what its certificate says of the same machine.

What proves what: the root is embedded; the intermediate certified a key for one chip (VCEK) or one cloud provider
(VLEK) at one TCB; that key signed the report. So the report's product, reported TCB and chip must be those that were
certified.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from vesica_attestation.errors import Refused
from vesica_attestation.sev_snp.abi import KIND, Product, Report, SigningKey, Tcb, parse_report, parse_tcb
from vesica_attestation.sev_snp.certificates import Endorsement, endorse

# By combined family, and combined model without its last digit. Bergamo and Siena (19, A) are certified as Genoa.
_PRODUCTS: Final = {
    (0x19, 0x0): Product.MILAN,
    (0x19, 0x1): Product.GENOA,
    (0x19, 0xA): Product.GENOA,
    (0x1A, 0x0): Product.TURIN,
    (0x1A, 0x1): Product.TURIN,
}


@dataclass(frozen=True)
class SnpClaims:
    """A report that AMD vouches for, not appraised: what it says is true, and may be unwelcome.

    csp_id: the cloud provider whose VLEK signed; None for a VCEK. reported: the TCB that the signing key was made
    for; committed, current: of the platform's firmware; launch: when the guest started or was brought in.
    """

    report: Report
    product: Product
    csp_id: str | None
    reported: Tcb
    committed: Tcb
    current: Tcb
    launch: Tcb

    @property
    def tcbs(self) -> dict[str, Tcb]:
        """The four by name. A floor must hold for each: a guest launched on weak firmware stays suspect."""
        return {
            "reported": self.reported,
            "committed": self.committed,
            "current": self.current,
            "launch": self.launch,
        }


def authenticate(report: bytes, certificates: tuple[bytes, ...], at: datetime) -> SnpClaims:
    """What a report says, once AMD's certificates and signature have shown that it is genuine.

    certificates: DER, the VCEK or VLEK first (see ``certificates.endorse``). at: the time to verify at, with a time
    zone. The signature has a twin, (r, n - s): the same report can be written in two ways, so its bytes are no
    identity.

    Raises Refused: the checks of ``abi.parse_report`` and ``certificates.endorse``, and "signing-key", "signature",
    "product", "tcb-mismatch", "chip-id".
    """
    parsed = parse_report(report)
    endorsement = endorse(certificates, at)
    if endorsement.signing_key is not parsed.signing_key:
        raise Refused(
            KIND, "signing-key", f"signed by a {parsed.signing_key}, but certified is a {endorsement.signing_key}"
        )
    _refuse_forged(parsed, endorsement)
    _refuse_other_machine(parsed, endorsement)
    product = endorsement.product
    claims = SnpClaims(
        report=parsed,
        product=product,
        csp_id=endorsement.csp_id,
        reported=parse_tcb(parsed.reported_tcb, product),
        committed=parse_tcb(parsed.committed_tcb, product),
        current=parse_tcb(parsed.current_tcb, product),
        launch=parse_tcb(parsed.launch_tcb, product),
    )
    if claims.reported != endorsement.tcb:
        raise Refused(KIND, "tcb-mismatch", "the reported TCB is not the one that the signing key was certified for")
    return claims


def _refuse_forged(report: Report, endorsement: Endorsement) -> None:
    try:
        endorsement.public_key.verify(encode_dss_signature(*report.signature), report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise Refused(KIND, "signature", "the report was not signed by the certified key, or was changed") from None


def _refuse_other_machine(report: Report, endorsement: Endorsement) -> None:
    if report.cpuid is not None and _PRODUCTS.get((report.cpuid[0], report.cpuid[1] >> 4)) is not endorsement.product:
        raise Refused(KIND, "product", f"the report is of another processor than {endorsement.product}")
    # A VLEK names no chip. A masked chip id (zeros) is nobody's: under a VCEK it is refused here.
    if report.signing_key is SigningKey.VCEK and report.chip_id != (endorsement.hwid or b"").ljust(64, b"\0"):
        raise Refused(KIND, "chip-id", "the report is of another chip than the certificate's, or the platform masks it")
