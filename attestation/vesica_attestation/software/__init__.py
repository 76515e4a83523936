"""Software evidence, for development: it repeats what it is bound to, and proves nothing about where it was made."""

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.needs import Needs
from vesica_attestation.result import Proved

WARNING = "INSECURE: software evidence. No hardware stands behind it; anybody could have made it."


def verify(evidence: Evidence, report_data: bytes) -> Proved:
    """Checks that the evidence says what it must be bound to. That is all it can do.

    Raises Refused.
    """
    evidence.only("report_data")
    if evidence.part("report_data") != report_data:
        raise Refused(evidence.kind, "report-data", "bound to something else than this channel, nonce and agreement")
    return Proved({"warning": WARNING}, frozenset())


class InsecureSoftwareAttester:
    """Makes software evidence. Its name is its warning."""

    kind = Kind.INSECURE_SOFTWARE
    needs = Needs()

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence that repeats ``report_data``."""
        return Evidence(self.kind, {"report_data": report_data})
