"""Whether what Google signed is what the policy accepts, bound to what the relying party expects, and of this time."""

from datetime import datetime
from typing import Final

from vesica_attestation.confidential_space._json import to_base64url
from vesica_attestation.confidential_space.claims import Claims
from vesica_attestation.confidential_space.policy import NOT_CONFIDENTIAL, TDX_MODEL, ConfidentialSpacePolicy
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind
from vesica_attestation.result import Claim, Proved

ISSUER: Final = "https://confidentialcomputing.googleapis.com"
SOFTWARE: Final = "CONFIDENTIAL_SPACE"
OEM_GOOGLE: Final = 11129  # Google's number at IANA
DEBUG_OFF: Final = "disabled-since-boot"
CLOCK_SKEW_SECONDS: Final = 60
WARNING: Final = "INSECURE: a debug image of Confidential Space. Its operator is root inside."


def nonce_text(report_data: bytes) -> str:
    """How report data is asked for as a nonce of a token: base64url without padding, 86 characters for 64 bytes.

    Source: Confidential Space documentation, "Attestation token claims", eat_nonce: 8 to 88 bytes.
    """
    return to_base64url(report_data)


def appraise(claims: Claims, nonce: str, policy: ConfidentialSpacePolicy, at: datetime) -> Proved:
    """Appraises the claims. nonce: what the token must have been asked for, among at most five other nonces.

    Raises Refused, naming the check: "issuer", "audience", "report-data", "not-yet", "expired", "age", "debug",
    "secure-boot", "software", "hardware-model", "support-attributes", "version", "tcb", "monitoring", "launch-digest",
    "command", "environment", "restart-policy", "project", "zone" or "instance".
    """
    if claims.issuer != ISSUER:
        raise _refused("issuer", f"issued by {claims.issuer}")
    if claims.audience != policy.audience:
        raise _refused("audience", f"made for {claims.audience}")
    if claims.nonces.count(nonce) != 1:
        raise _refused("report-data", "eat_nonce is not bound to this channel, nonce and agreement")
    _require_recent(claims, policy, at)
    _require_platform(claims, policy)
    _require_workload(claims, policy)
    _require_machine(claims, policy)
    return Proved(_reported(claims), _pinned(policy, claims))


def _require_recent(claims: Claims, policy: ConfidentialSpacePolicy, at: datetime) -> None:
    now = at.timestamp()
    if max(claims.issued_at, claims.not_before) > now + CLOCK_SKEW_SECONDS:
        raise _refused("not-yet", "issued at a time that is still to come")
    if now >= claims.expires_at:
        raise _refused("expired", "no longer valid")
    if now - claims.issued_at > policy.max_age_seconds:
        raise _refused("age", f"issued longer ago than {policy.max_age_seconds} seconds")


def _require_platform(claims: Claims, policy: ConfidentialSpacePolicy) -> None:
    if claims.debug_status != DEBUG_OFF and not policy.allow_insecure_debug:
        raise _refused("debug", f"debug status is {claims.debug_status}")
    if not claims.secure_boot:
        raise _refused("secure-boot", "booted without secure boot")
    if claims.software_name != SOFTWARE or claims.oem_id != OEM_GOOGLE:
        raise _refused("software", f"the operating system is {claims.software_name}")
    if claims.hardware_model == NOT_CONFIDENTIAL or claims.hardware_model not in policy.hardware_models:
        raise _refused("hardware-model", f"the hardware is {claims.hardware_model}, which the policy does not list")
    if not policy.support_attributes <= claims.support_attributes:
        missing = ", ".join(sorted(policy.support_attributes - claims.support_attributes))
        raise _refused("support-attributes", f"the operating system's image is not {missing}")
    if policy.software_version_min is not None and claims.software_version < policy.software_version_min:
        raise _refused("version", f"the operating system's image is of version {claims.software_version}")
    # Also where another model carries a status: what the token says is never a reason to look away.
    measured = claims.hardware_model == TDX_MODEL or claims.tdx_tcb_status is not None
    if measured and claims.tdx_tcb_status not in policy.tdx_tcb_statuses:
        raise _refused("tcb", f"the TDX platform's status is {claims.tdx_tcb_status}")
    if claims.monitored and not policy.allow_monitoring:
        raise _refused("monitoring", f"the operator watches {', '.join(sorted(claims.monitored))}")


def _require_workload(claims: Claims, policy: ConfidentialSpacePolicy) -> None:
    if claims.image_digest not in policy.launch_digests:
        raise _refused("launch-digest", f"the image is {claims.image_digest.hex()}, which the policy does not list")
    if claims.arguments not in policy.commands:
        raise _refused("command", f"the container runs {list(claims.arguments)}, which the policy does not list")
    if claims.cmd_override and not policy.allow_cmd_override:
        raise _refused("command", f"the operator overrode the image's command with {list(claims.cmd_override)}")
    for name, value in claims.env_override.items():
        if policy.env_overrides.get(name) != value:
            raise _refused("environment", f"the operator set {name}, which the policy does not list with that value")
    if claims.restart_policy not in policy.restart_policies:
        raise _refused("restart-policy", f"the restart policy is {claims.restart_policy}")


def _require_machine(claims: Claims, policy: ConfidentialSpacePolicy) -> None:
    pins = (
        ("project", claims.project_id, policy.project_ids),
        ("zone", claims.zone, policy.zones),
        ("instance", claims.instance_id, policy.instance_ids),
    )
    for check, value, accepted in pins:
        if accepted is not None and value not in accepted:
            raise _refused(check, f"the {check} is {value}, which the policy does not list")


def _reported(claims: Claims) -> dict[str, Claim]:
    reported: dict[str, Claim] = {
        "issuer": claims.issuer,
        "audience": claims.audience,
        "issued_at": claims.issued_at,
        "expires_at": claims.expires_at,
        "debug_status": claims.debug_status,
        "secure_boot": claims.secure_boot,
        "software_name": claims.software_name,
        "software_version": claims.software_version,
        "hardware_model": claims.hardware_model,
        "support_attributes": sorted(claims.support_attributes),
        "monitored": sorted(claims.monitored),
        "launch_digest": claims.image_digest.hex(),
        "image_reference": claims.image_reference,
        "restart_policy": claims.restart_policy,
        "command": list(claims.arguments),
        "cmd_override": list(claims.cmd_override),
        "env_override": [f"{name}={value}" for name, value in sorted(claims.env_override.items())],
        "project_id": claims.project_id,
        "zone": claims.zone,
        "instance_id": claims.instance_id,
    }
    if claims.tdx_tcb_status is not None:
        reported["tdx_tcb_status"] = claims.tdx_tcb_status
    if claims.debug_status != DEBUG_OFF:
        reported["warning"] = WARNING
    return reported


def _pinned(policy: ConfidentialSpacePolicy, claims: Claims) -> frozenset[str]:
    always = {
        "issuer",
        "audience",
        "secure_boot",
        "software_name",
        "hardware_model",
        "support_attributes",
        "launch_digest",
    }
    always |= {"command", "env_override", "restart_policy"}
    sometimes = {
        "debug_status": not policy.allow_insecure_debug,
        "monitored": not policy.allow_monitoring,
        "cmd_override": not policy.allow_cmd_override,
        "software_version": policy.software_version_min is not None,
        "project_id": policy.project_ids is not None,
        "zone": policy.zones is not None,
        "instance_id": policy.instance_ids is not None,
        "tdx_tcb_status": claims.tdx_tcb_status is not None,
    }
    return frozenset(always | {name for name, compared in sometimes.items() if compared})


def _refused(check: str, detail: str) -> Refused:
    return Refused(Kind.CONFIDENTIAL_SPACE, check, detail)
