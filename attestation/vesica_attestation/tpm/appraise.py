"""Appraisal of a TPM's quote: the key, what booted, and the binding. The result says what this kind does not prove."""

from collections.abc import Iterator
from typing import Final

from vesica_attestation import _pki
from vesica_attestation._tpm.policy import PCRS_THAT_HOLD
from vesica_attestation.errors import Refused
from vesica_attestation.result import Claim, Proved
from vesica_attestation.tpm.abi import KIND
from vesica_attestation.tpm.authentic import TpmClaims
from vesica_attestation.tpm.policy import TpmPolicy, missing_of_whole

WARNING: Final = (
    "NOT CONFIDENTIAL HARDWARE: measured boot only. Whoever operates the host of this machine can read its memory and "
    "forge this evidence. It is worth as much as your trust in that operator."
)


def appraise(claims: TpmClaims, policy: TpmPolicy, extra_data: bytes) -> Proved:
    """What was proved, if the policy accepts all of it. extra_data: what the quote must carry.

    Raises Refused (checks "report-data", "attestation-key", "pcr", "format").
    """
    if claims.quote.extra_data != extra_data:
        raise Refused(KIND, "report-data", "bound to something else than this channel, nonce and agreement")
    if policy.attestation_keys is not None and claims.key.name not in policy.attestation_keys:
        raise Refused(KIND, "attestation-key", f"the policy does not name the attestation key {claims.key.name.hex()}")
    missing = missing_of_whole(policy.pcrs)
    if missing is not None:
        raise Refused(KIND, "pcr", f"the policy does not pin what booted: {missing}")
    for index, accepted in policy.pcrs.items():
        if claims.pcrs[index] not in accepted:
            raise Refused(KIND, "pcr", f"the policy does not name {claims.pcrs[index].hex()} for PCR {index}")
    return Proved(dict(_claims(claims)), frozenset(_pinned(policy)))


def _claims(claims: TpmClaims) -> Iterator[tuple[str, Claim]]:
    yield "warning", WARNING
    yield "extra_data", claims.quote.extra_data.hex()
    yield "ca_certificate", claims.authority.hex()
    yield "attestation_key", claims.key.name.hex()
    # In a cloud's certificate: whose machine this is.
    yield "attestation_key.subject", _pki.subject(KIND, claims.certificate)
    yield "attestation_key.hierarchy", claims.hierarchy
    if claims.hierarchy == "endorsement":  # for keys of other hierarchies a TPM disguises these
        yield "reset_count", claims.quote.reset_count
        yield "restart_count", claims.quote.restart_count
    yield from ((f"pcr.{index}", claims.pcrs[index].hex()) for index in PCRS_THAT_HOLD)
    if claims.event_log is not None:
        yield "launched.programs", claims.event_log.programs()
        yield "launched.sections", claims.event_log.sections()


def _pinned(policy: TpmPolicy) -> Iterator[str]:
    yield from ("extra_data", "ca_certificate")
    if policy.attestation_keys is not None:
        yield "attestation_key"
    yield from (f"pcr.{index}" for index in policy.pcrs)
