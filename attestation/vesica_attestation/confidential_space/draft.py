"""A draft of the table ``[confidential_space]`` from a token; its signature is not checked."""

from datetime import datetime

from vesica_attestation.confidential_space import abi
from vesica_attestation.confidential_space.claims import read_claims
from vesica_attestation.confidential_space.policy import TDX_MODEL
from vesica_attestation.draft import Line
from vesica_attestation.evidence import Evidence


def draft(evidence: Evidence, at: datetime) -> list[Line]:
    """What a policy would say that accepts this token.

    Raises Refused.
    """
    del at
    claims = read_claims(abi.parse(evidence.part("token")).claims)
    build, owner = "build the container yourself and compare.", "whoever runs the room, asked in another way."
    digest = claims.image_digest.hex()
    attributes: list[str] = sorted(claims.support_attributes)
    lines = [
        Line("launch_digests", [digest], f"SHA-256 of the container image {claims.image_reference}.", build),
        Line("commands", [list(claims.arguments)], "The whole command line, program first.", "docs of this release."),
        Line("audience", claims.audience, "What the room asks its token for.", "docs of this release."),
        Line("max_age_seconds", 300, "How old a token may be. Not from the evidence: a usual value."),
        Line("hwmodels", [claims.hardware_model], "The hardware.", "that you accept it."),
        Line(
            "support_attributes",
            attributes,
            "What Google says of the image of the operating system; all of these must be there.",
            "Confidential Space documentation: STABLE at least; none means a debug image, whose operator is root.",
        ),
    ]
    if claims.hardware_model == TDX_MODEL and claims.tdx_tcb_status is not None:
        status = "Intel's word for the state of the platform."
        lines.append(Line("tdx_tcb_statuses", [claims.tdx_tcb_status], status, "Intel: only UpToDate needs no reason."))
    for name, value in (
        ("project_ids", claims.project_id),
        ("zones", claims.zone),
        ("instance_ids", claims.instance_id),
    ):
        lines.append(Line(name, [value], "A pin; without it, any is accepted.", owner, off=True))
    if claims.cmd_override:
        why = "INSECURE: the operator replaced the tail of the command line. The evidence is refused without it."
        lines.append(Line("allow_cmd_override", True, why, "you accept that.", off=True))
    if claims.monitored:
        why = "The operator may watch the workload, such as its memory, which tells of sizes. Refused without it."
        lines.append(Line("allow_monitoring", True, why, "you accept that.", off=True))
    for name, value in sorted(claims.env_override.items()):
        lines.append(Line(name, value, "The operator set this variable.", owner, "env_overrides"))
    return lines
