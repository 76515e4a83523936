"""SEV-SNP evidence: a report that AMD's secure processor signed for a guest, and the signing key's certificate.

Parts: "report", 1184 bytes; "certificates", DER, the VCEK or VLEK first. AMD's own certificates above it are
embedded; sent along, they must be the same. Nothing else.
"""

from datetime import datetime

from vesica_attestation.evidence import Evidence
from vesica_attestation.result import Proved
from vesica_attestation.sev_snp.appraise import appraise
from vesica_attestation.sev_snp.authentic import authenticate
from vesica_attestation.sev_snp.policy import SevSnpPolicy, read_policy

__all__ = ["SevSnpPolicy", "read_policy", "verify"]


def verify(evidence: Evidence, report_data: bytes, policy: SevSnpPolicy, at: datetime) -> Proved:
    """Verifies SEV-SNP evidence: parse, authenticate, appraise.

    report_data: the 64 bytes that it must be bound to. at: the time to verify at, with a time zone.

    Raises Refused (see ``authentic.authenticate`` and ``appraise.appraise`` for the checks).
    """
    evidence.only("report", "certificates")
    claims = authenticate(evidence.part("report"), evidence.many("certificates"), at)
    return appraise(claims, policy, report_data)
