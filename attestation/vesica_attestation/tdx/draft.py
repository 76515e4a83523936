"""A draft of the table ``[tdx]`` from a quote and Intel's collateral; signatures are not checked."""

import json
from datetime import datetime
from typing import Final

from vesica_attestation.draft import Line
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.tdx.abi import parse_quote

_BUILD: Final = "build the image yourself and compute it (docs/reference-values.md)."
_WHAT: Final = (
    "the tables that the host made for the firmware.",
    "the kernel.",
    "its command line and initial file system.",
)


def draft(evidence: Evidence, at: datetime) -> list[Line]:
    """What a policy would say that accepts this quote.

    Raises Refused.
    """
    del at
    report = parse_quote(evidence.part("quote")).report
    lines = [
        Line("launch_digests", [report.mrtd.hex()], "MRTD: the firmware.", _BUILD),
        *(Line(f"rtmr{i}", [report.rtmrs[i].hex()], f"RTMR{i}: {what}", _BUILD) for i, what in enumerate(_WHAT)),
        Line(
            "tcb_statuses",
            ["UpToDate"],
            "Intel's words for the state of the platform. Not from the evidence: what needs no reason.",
        ),
        Line(
            "minimum_tcb_evaluation_number",
            _evaluation_number(evidence.part("collateral")),
            "Of Intel's list of what is up to date.",
            "Intel's newest (api.trustedservices.intel.com/tdx/certification/v4/tcbevaluationdatanumbers).",
        ),
        Line("collateral_age_days_max", 30, "How old Intel's collateral may be. Not from the evidence: a usual value."),
    ]
    extra = (("rtmr3", report.rtmrs[3]), ("mrconfigid", report.mrconfigid), ("mrowner", report.mrowner),
             ("mrownerconfig", report.mrownerconfig))  # fmt: skip
    for name, value in extra:
        if any(value):
            why = f"{name}: something was put there; where it is left out, it must be zero."
            lines.append(Line(name, [value.hex()], why, "what should be there, from who made the image."))
    return lines


def _evaluation_number(collateral: bytes) -> int:
    try:
        number = json.loads(json.loads(collateral)["tcb_info"])["tcbEvaluationDataNumber"]
    except (ValueError, KeyError, TypeError, RecursionError):
        number = None
    if isinstance(number, bool) or not isinstance(number, int):
        raise Refused(Kind.TDX, "collateral", "no number of TCB evaluation in it")
    return number
