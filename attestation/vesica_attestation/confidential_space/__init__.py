"""Evidence of a Google Confidential Space workload: the part ``token``, a JWT. Proves image, command, machine and
binding.
"""

from datetime import datetime

from vesica_attestation.confidential_space import abi
from vesica_attestation.confidential_space.appraise import appraise, nonce_text
from vesica_attestation.confidential_space.authentic import authenticate
from vesica_attestation.confidential_space.policy import ConfidentialSpacePolicy, read_policy
from vesica_attestation.evidence import Evidence
from vesica_attestation.result import Proved

__all__ = ["ConfidentialSpacePolicy", "nonce_text", "read_policy", "verify"]


def verify(evidence: Evidence, report_data: bytes, policy: ConfidentialSpacePolicy, at: datetime) -> Proved:
    """Verifies a token: parsed, Google's, and accepted by the policy at ``at``.

    Raises Refused, naming the check.
    """
    evidence.only("token")
    claims = authenticate(abi.parse(evidence.part("token")), policy.jwks, at)
    return appraise(claims, nonce_text(report_data), policy, at)
