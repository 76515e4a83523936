"""Appraisal of Azure claims: the paravisor's hardware report, the guest's boot measurements, and the binding."""

from collections.abc import Iterator
from datetime import datetime
from typing import TypeVar, assert_never

from vesica_attestation.azure.abi import KIND
from vesica_attestation.azure.authentic import AzureClaims
from vesica_attestation.azure.policy import AzurePolicy
from vesica_attestation.errors import Refused
from vesica_attestation.result import Claim, Proved
from vesica_attestation.sev_snp.appraise import appraise as appraise_snp
from vesica_attestation.sev_snp.authentic import SnpClaims
from vesica_attestation.tdx.appraise import appraise as appraise_tdx
from vesica_attestation.tdx.authentic import TdxClaims

T = TypeVar("T")


def appraise(claims: AzureClaims, policy: AzurePolicy, extra_data: bytes, user_data: bytes, at: datetime) -> Proved:
    """What was proved, if the policy accepts all of it.

    extra_data: what the TPM quote must carry. user_data: what the runtime claims must carry, 64 bytes, unless the
    policy allows a stale hardware report. at: the time to verify at, with a time zone.

    Raises Refused: the checks of the hardware's kind, which is then named in ``kind``; and "policy" for hardware that
    the policy does not name, "report-data", "freshness", "pcr".
    """
    hardware = _appraise_hardware(claims, policy, at)
    if claims.quote.extra_data != extra_data:
        raise Refused(KIND, "report-data", "bound to something else than this channel, nonce and agreement")
    if claims.runtime.user_data != user_data and not policy.allow_stale_hardware_report:
        raise Refused(KIND, "freshness", "the hardware report was not made for this report data, and may be old")
    if not policy.pcrs:
        raise Refused(KIND, "pcr", "the policy names no PCR")
    for index, accepted in policy.pcrs.items():
        if claims.pcrs[index] not in accepted:
            raise Refused(KIND, "pcr", f"the policy does not name {claims.pcrs[index].hex()} for PCR {index}")
    return Proved(dict(_claims(claims, hardware)), frozenset(_pinned(claims, policy, hardware)))


def _appraise_hardware(claims: AzureClaims, policy: AzurePolicy, at: datetime) -> Proved:
    match claims.hardware:
        case SnpClaims():
            return appraise_snp(claims.hardware, _named(policy.sev_snp), claims.hardware_report_data)
        case TdxClaims():
            return appraise_tdx(claims.hardware, _named(policy.tdx), claims.hardware_report_data, at)
        case _:
            assert_never(claims.hardware)


def _named(policy: T | None) -> T:
    if policy is None:
        raise Refused(KIND, "policy", "the policy does not name this hardware under Azure")
    return policy


def _prefix(claims: AzureClaims) -> str:
    return "sev_snp." if isinstance(claims.hardware, SnpClaims) else "tdx."


def _claims(claims: AzureClaims, hardware: Proved) -> Iterator[tuple[str, Claim]]:
    runtime = claims.runtime
    yield "extra_data", claims.quote.extra_data.hex()
    yield "user_data", (runtime.user_data or b"").hex()
    yield from ((f"pcr.{index}", value.hex()) for index, value in enumerate(claims.pcrs))
    # The host's word, repeated by the paravisor; whether secure boot was on is proved by PCR 7.
    host = {
        "host_says.secure_boot": runtime.secure_boot,
        "host_says.console_enabled": runtime.console_enabled,
        "host_says.vm_unique_id": runtime.vm_unique_id,
    }
    yield from ((name, value) for name, value in host.items() if value is not None)
    yield from ((f"{_prefix(claims)}{name}", value) for name, value in hardware.claims.items())


def _pinned(claims: AzureClaims, policy: AzurePolicy, hardware: Proved) -> Iterator[str]:
    yield "extra_data"
    if not policy.allow_stale_hardware_report:
        yield "user_data"
    yield from (f"pcr.{index}" for index in policy.pcrs)
    yield from (f"{_prefix(claims)}{name}" for name in hardware.pinned)
