"""Evidence of an AWS Nitro enclave: the part ``document``, as /dev/nsm returns it. Proves image, enclave and
binding.
"""

from datetime import datetime

from vesica_attestation.evidence import Evidence
from vesica_attestation.nitro import abi
from vesica_attestation.nitro.appraise import appraise
from vesica_attestation.nitro.authentic import authenticate
from vesica_attestation.nitro.policy import NitroPolicy, read_policy
from vesica_attestation.result import Proved

__all__ = ["NitroPolicy", "read_policy", "verify"]


def verify(evidence: Evidence, report_data: bytes, policy: NitroPolicy, at: datetime) -> Proved:
    """Verifies a document: parsed, AWS's, and accepted by the policy at ``at``.

    Raises Refused, naming the check.
    """
    evidence.only("document")
    claims = authenticate(abi.parse(evidence.part("document")))
    return appraise(claims, report_data, policy, at)
