"""Claims of an authentic TDX quote against a policy. Default-deny; what was not compared is proved, but not pinned."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind
from vesica_attestation.result import Claim, Proved
from vesica_attestation.tdx.abi import TdReport
from vesica_attestation.tdx.authentic import TdxClaims
from vesica_attestation.tdx.policy import TCB_STATUSES, TD_ATTRIBUTES, TdxPolicy

_UNDER_DEBUG: Final = 0xFF  # TDATTRIBUTES[7:0], the group TUD: DEBUG and profiling
_SEPT_VE_DISABLE: Final = 1 << 28
_MIGRATABLE: Final = 1 << 29


def appraise(claims: TdxClaims, policy: TdxPolicy, report_data: bytes, at: datetime) -> Proved:
    """Appraises claims. report_data: the 64 bytes that the quote must carry. at: the time that they were
    authenticated at.

    Raises Refused: "report-data", "debug", "tdattributes", "migratable", "service-td", "seam" (the TDX module),
    "tcb", "tcb-evaluation", "collateral-age", "advisory", "launch-digest", "rtmr0" to "rtmr3", "mrconfigid",
    "mrowner", "mrownerconfig", "mrseam", "fmspc", "ppid" and "event-log".
    """
    report = claims.report
    if report.report_data != report_data:
        raise Refused(Kind.TDX, "report-data", "bound to something else than this channel, nonce and agreement")
    _attributes(report, policy)
    _module(report)
    _tcb(claims, policy, at)
    pinned = {
        "report_data",
        "tdattributes",
        "tcb_status",
        "advisory_ids",
        "tcb_evaluation_number",
        "collateral_issued_at",
    }
    rtmr0, rtmr1, rtmr2, rtmr3 = report.rtmrs
    compared: tuple[tuple[str, bytes, Collection[bytes] | None], ...] = (
        ("launch_digest", report.mrtd, policy.launch_digests),
        ("rtmr0", rtmr0, policy.rtmr0),
        ("rtmr1", rtmr1, policy.rtmr1),
        ("rtmr2", rtmr2, policy.rtmr2),
        ("rtmr3", rtmr3, policy.rtmr3 if policy.dstack_compose_hashes is None else None),
        ("mrconfigid", report.mrconfigid, _config_ids(claims, policy)),
        ("mrowner", report.mrowner, policy.mrowner),
        ("mrownerconfig", report.mrownerconfig, policy.mrownerconfig),
        ("mrseam", report.mrseam, policy.mrseam),
        ("fmspc", claims.fmspc, policy.fmspcs),
        ("ppid", claims.ppid, policy.ppids),
        ("compose_hash", *_compose_hash(claims, policy)),
    )
    for name, value, accepted in compared:
        if accepted is None:
            continue
        if value not in accepted:
            raise Refused(Kind.TDX, name.replace("_", "-"), f"{value.hex()} is not in the policy")
        pinned.add(name)
    return Proved(_as_proved(claims), frozenset(pinned))


def _attributes(report: TdReport, policy: TdxPolicy) -> None:
    """TDATTRIBUTES bit by bit; a bit that is not known is refused, for it may mean anything."""
    attributes = int.from_bytes(report.tdattributes, "little")
    if attributes & _UNDER_DEBUG:
        raise Refused(Kind.TDX, "debug", "a TD under debug: its host may read its memory")
    if attributes & _MIGRATABLE or any(report.mrservicetd or b""):
        raise Refused(Kind.TDX, "migratable", "a service TD may copy this TD's memory to another machine")
    if not attributes & _SEPT_VE_DISABLE:
        raise Refused(Kind.TDX, "tdattributes", "SEPT_VE_DISABLE is 0: the host may inject exceptions at any page")
    allowed = _SEPT_VE_DISABLE | sum(1 << TD_ATTRIBUTES[name] for name in policy.td_attributes)
    if attributes & ~allowed:
        raise Refused(Kind.TDX, "tdattributes", f"{attributes & ~allowed:#x} is set, and the policy does not name it")


def _module(report: TdReport) -> None:
    """The TDX module must be Intel's, in production: MRSIGNERSEAM is zero for Intel (TDX Module ABI, TEE_TCB_INFO)."""
    if any(report.mrsignerseam) or any(report.seamattributes):
        raise Refused(Kind.TDX, "seam", "a TDX module that is not Intel's, or not in production mode")


def _tcb(claims: TdxClaims, policy: TdxPolicy, at: datetime) -> None:
    if claims.tcb_status not in policy.tcb_statuses & TCB_STATUSES:
        raise Refused(Kind.TDX, "tcb", f"TCB status {claims.tcb_status} is not in the policy")
    unknown = set(claims.advisory_ids) - policy.advisory_ids
    if unknown:
        raise Refused(Kind.TDX, "advisory", f"the policy does not name {', '.join(sorted(unknown))}")
    if claims.tcb_evaluation_number < policy.minimum_tcb_evaluation_number:
        found, least = claims.tcb_evaluation_number, policy.minimum_tcb_evaluation_number
        raise Refused(Kind.TDX, "tcb-evaluation", f"evaluation number {found}; the policy asks for {least} or more")
    if at - claims.collateral_issued_at > timedelta(days=policy.collateral_age_days_max):
        raise Refused(Kind.TDX, "collateral-age", f"collateral older than {policy.collateral_age_days_max} days")


def _compose_hash(claims: TdxClaims, policy: TdxPolicy) -> tuple[bytes, Collection[bytes] | None]:
    if policy.dstack_compose_hashes is not None and claims.dstack is None:
        raise Refused(Kind.TDX, "event-log", "the policy names compose hashes, and there is no event log")
    return b"" if claims.dstack is None else claims.dstack.compose_hash, policy.dstack_compose_hashes


def _config_ids(claims: TdxClaims, policy: TdxPolicy) -> Collection[bytes]:
    """MRCONFIGID as the policy has it; with dstack, unless the policy says otherwise, what fits the compose hash."""
    if policy.mrconfigid is not None:
        return policy.mrconfigid
    return () if claims.dstack is None else (claims.dstack.mrconfigid,)


def _as_proved(claims: TdxClaims) -> dict[str, Claim]:
    """Every claim, ready for JSON."""
    report, dstack = claims.report, claims.dstack
    proved: dict[str, Claim] = {
        "quote_version": claims.quote_version,
        "launch_digest": report.mrtd.hex(),
        **{f"rtmr{number}": value.hex() for number, value in enumerate(report.rtmrs)},
        "mrconfigid": report.mrconfigid.hex(),
        "mrowner": report.mrowner.hex(),
        "mrownerconfig": report.mrownerconfig.hex(),
        "mrseam": report.mrseam.hex(),
        "tdattributes": report.tdattributes.hex(),
        "xfam": report.xfam.hex(),
        "report_data": report.report_data.hex(),
        "tee_tcb_svn": report.tee_tcb_svn.hex(),
        "fmspc": claims.fmspc.hex(),
        "ppid": claims.ppid.hex(),
        "tcb_status": claims.tcb_status,
        "platform_tcb_status": claims.platform_tcb_status,
        "qe_tcb_status": claims.qe_tcb_status,
        "qe_isvsvn": claims.qe_isvsvn,
        "advisory_ids": list(claims.advisory_ids),
        "tcb_evaluation_number": claims.tcb_evaluation_number,
        "collateral_issued_at": claims.collateral_issued_at.isoformat(),
    }
    if report.tee_tcb_svn2 is not None:
        proved["tee_tcb_svn2"] = report.tee_tcb_svn2.hex()
    if dstack is not None:
        found = {"compose_hash": dstack.compose_hash, "app_id": dstack.app_id,
                 "instance_id": dstack.instance_id, "os_image_hash": dstack.os_image_hash}  # fmt: skip
        proved |= {name: value.hex() for name, value in found.items() if value is not None}
    return proved
