"""The verifier: evidence, what it must be bound to, a policy and a time in; what was proved out, or a refusal.

Order, for every kind: parse (strictly, no trust), authenticate (signatures and certificates up to an embedded root of
the vendor, for ``tpm`` up to a CA of the policy, at the stated time), appraise (claims against the policy). Nothing
here opens a socket or reads a clock.
"""

from datetime import datetime
from typing import TypeVar, assert_never

from vesica_attestation import azure, confidential_space, nitro, sev_snp, software, tdx, tpm
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.policy import Policy
from vesica_attestation.result import AttestationResult, Proved

T = TypeVar("T")


def verify(evidence: Evidence, report_data: bytes, policy: Policy, at: datetime) -> AttestationResult:
    """Verifies evidence.

    report_data: the 64 bytes that it must be bound to (``Binding.report_data``, from what the relying party itself
    knows and saw). at: the time to verify at, with a time zone.

    Raises Refused, naming the check. ValueError for a time without a zone or another length of report data: bugs.
    """
    if at.tzinfo is None or len(report_data) != 64:  # noqa: PLR2004 (SHA-512)
        raise ValueError("a time zone and 64 bytes of report data are needed")
    proved = _verify(evidence, report_data, policy, at)
    return AttestationResult(evidence.kind, at, report_data, proved, policy.digest)


def _verify(evidence: Evidence, report_data: bytes, policy: Policy, at: datetime) -> Proved:  # noqa: PLR0911 (a kind each)
    match evidence.kind:
        case Kind.SEV_SNP:
            return sev_snp.verify(evidence, report_data, _named(policy.sev_snp, evidence.kind), at)
        case Kind.TDX:
            return tdx.verify(evidence, report_data, _named(policy.tdx, evidence.kind), at)
        case Kind.NITRO:
            return nitro.verify(evidence, report_data, _named(policy.nitro, evidence.kind), at)
        case Kind.CONFIDENTIAL_SPACE:
            return confidential_space.verify(
                evidence, report_data, _named(policy.confidential_space, evidence.kind), at
            )
        case Kind.AZURE:
            return azure.verify(evidence, report_data, _named(policy.azure, evidence.kind), at)
        case Kind.TPM:
            return tpm.verify(evidence, report_data, _named(policy.tpm, evidence.kind), at)
        case Kind.INSECURE_SOFTWARE:
            if not policy.allow_insecure_software:
                raise Refused(
                    evidence.kind, "policy", "no hardware stands behind this, and the policy allows none such"
                )
            return software.verify(evidence, report_data)
        case _:
            assert_never(evidence.kind)


def _named(policy: T | None, kind: Kind) -> T:
    if policy is None:
        raise Refused(kind, "policy", "the policy does not name this kind of evidence")
    return policy
