"""Whether what AWS signed is what the policy accepts, bound to what the relying party expects, and recent."""

from datetime import datetime, timedelta
from typing import Final

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind
from vesica_attestation.nitro.abi import IMAGE_PCRS
from vesica_attestation.nitro.authentic import Claims
from vesica_attestation.nitro.policy import UNMEASURED, NitroPolicy
from vesica_attestation.result import Claim, Proved

CLOCK_SKEW: Final = timedelta(seconds=60)
WARNING: Final = "INSECURE: an enclave in debug mode. Its host reads its memory, and its image is not measured."


def appraise(claims: Claims, report_data: bytes, policy: NitroPolicy, at: datetime) -> Proved:
    """Appraises the claims.

    The enclave must have had exactly ``report_data`` signed as ``user_data``. The document's ``nonce`` and
    ``public_key`` may be anything or absent: report data already covers the relying party's nonce and the room's
    keys, and nothing else reads them.

    Raises Refused (check "report-data", "timestamp", "age", "debug", "launch-digest" or "pcr").
    """
    if claims.user_data != report_data:
        raise Refused(Kind.NITRO, "report-data", "user_data is not bound to this channel, nonce and agreement")
    _require_recent(claims.timestamp, policy.max_age_seconds, at)
    # One alone is enough: no image measures to zero, and half a measurement is none.
    debug = any(claims.pcrs[index] == UNMEASURED for index in IMAGE_PCRS)
    if debug and not policy.allow_insecure_debug:
        raise Refused(Kind.NITRO, "debug", "PCR0, PCR1 or PCR2 is all zero: the enclave runs in debug mode")
    pins = {index: values for index, values in policy.pins().items() if not debug or index not in IMAGE_PCRS}
    for index, accepted in pins.items():
        _require_pcr(claims, index, accepted)
    return Proved(_reported(claims, debug=debug), frozenset(map(_name, pins)))


def _require_recent(timestamp: datetime, max_age_seconds: int, at: datetime) -> None:
    if timestamp > at + CLOCK_SKEW:
        raise Refused(Kind.NITRO, "timestamp", f"made at {timestamp.isoformat()}, which is still to come")
    if at - timestamp > timedelta(seconds=max_age_seconds):
        raise Refused(Kind.NITRO, "age", f"made at {timestamp.isoformat()}, longer ago than {max_age_seconds} seconds")


def _require_pcr(claims: Claims, index: int, accepted: frozenset[bytes]) -> None:
    value = claims.pcrs.get(index, UNMEASURED)
    if value == UNMEASURED or value not in accepted:
        check = "launch-digest" if index == 0 else "pcr"
        raise Refused(Kind.NITRO, check, f"PCR{index} is {value.hex()}, which the policy does not list")


def _reported(claims: Claims, *, debug: bool) -> dict[str, Claim]:
    reported: dict[str, Claim] = {
        "module_id": claims.module_id,
        "timestamp": claims.timestamp.isoformat(),
        "debug": debug,
    }
    if debug:
        reported["warning"] = WARNING
    for index, value in sorted(claims.pcrs.items()):
        if value != UNMEASURED or index in IMAGE_PCRS:
            reported[_name(index)] = value.hex()
    for name, asked in (("public_key", claims.public_key), ("nonce", claims.nonce)):
        if asked is not None:
            reported[name] = asked.hex()
    return reported


def _name(index: int) -> str:
    return "launch_digest" if index == 0 else f"pcr{index}"
