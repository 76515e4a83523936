"""What appraisal proved: every claim, and which of them the policy pinned. In the shape of an EAR (RFC 9334's
result).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from vesica_attestation.evidence import Kind

EAR_PROFILE: Final = "tag:vesica,2026:ear/v1"
Claim = str | int | bool | list[str]


@dataclass(frozen=True)
class Proved:
    """What one kind's authentication and appraisal proved. claims: by name, ready for JSON, bytes as lower-case hex.

    pinned: names of those claims that the policy compared with a value; the others are proved, and accepted unread.
    """

    claims: Mapping[str, Claim]
    pinned: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class AttestationResult:
    """Evidence that was accepted. There is no result for evidence that was refused: that raises.

    verified_at: the time at which it was verified, UTC, which need not be now. report_data: what it is bound to, 64
    bytes.
    """

    kind: Kind
    verified_at: datetime
    report_data: bytes
    proved: Proved
    policy_digest: str

    @property
    def insecure(self) -> bool:
        """Whether no hardware stands behind this."""
        return self.kind is Kind.INSECURE_SOFTWARE

    @property
    def confidential(self) -> bool:
        """Whether hardware keeps the room's memory from whoever operates the machine.

        Neither software nor a vTPM does. What hardware does in debug mode is for the claim "warning" to say.
        """
        return self.kind not in {Kind.INSECURE_SOFTWARE, Kind.TPM}

    @property
    def warning(self) -> str | None:
        """What should worry the reader of this, though the policy accepts it; a sentence for people."""
        text = self.proved.claims.get("warning")
        return None if text is None else str(text)

    def _status(self) -> str:
        if self.insecure:
            return "contraindicated"
        return "affirming" if self.warning is None else "warning"

    def as_ear(self) -> dict[str, object]:
        """JSON-ready, after draft-ietf-rats-ear: affirming, warning where the policy allowed what should worry its
        reader, contraindicated where nothing but software spoke.
        """
        submodule = {
            "ear.status": self._status(),
            "ear.appraisal-policy-id": f"sha256:{self.policy_digest}",
            "vesica.claims": dict(self.proved.claims),
            "vesica.pinned": sorted(self.proved.pinned),
        }
        return {
            "eat_profile": EAR_PROFILE,
            "iat": int(self.verified_at.timestamp()),
            "vesica.report-data": self.report_data.hex(),
            "submods": {self.kind.value: submodule},
        }
