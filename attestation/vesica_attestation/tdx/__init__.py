"""TDX evidence: an Intel quote over a trust domain, with Intel's collateral, and dstack's event log where there is one.

Parts: "quote" (as configfs-tsm gives it), "collateral" (JSON, QuoteCollateralV3) and, for dstack, "event_log" (JSON).
"""

from dataclasses import replace
from datetime import datetime

from vesica_attestation.evidence import Evidence
from vesica_attestation.result import Proved
from vesica_attestation.tdx.appraise import appraise as _appraise  # not to hide the module of that name
from vesica_attestation.tdx.authentic import authenticate
from vesica_attestation.tdx.dstack import replay
from vesica_attestation.tdx.policy import TdxPolicy, read_policy

__all__ = ["TdxPolicy", "read_policy", "verify"]


def verify(evidence: Evidence, report_data: bytes, policy: TdxPolicy, at: datetime) -> Proved:
    """Verifies TDX evidence at a time. Without collateral nobody can judge its TCB, so that is refused.

    Raises Refused.
    """
    evidence.only("quote", "collateral", "event_log")
    claims = authenticate(evidence.part("quote"), evidence.part("collateral"), at)
    event_log = evidence.optional("event_log")
    if event_log is not None:
        claims = replace(claims, dstack=replay(event_log, claims.report.rtmrs[3]))
    return _appraise(claims, policy, report_data, at)
