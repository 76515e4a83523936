"""Appraisal of SEV-SNP claims: what a genuine report says, against what the relying party accepts."""

from collections.abc import Iterator
from dataclasses import fields

from vesica_attestation.errors import Refused
from vesica_attestation.result import Claim, Proved
from vesica_attestation.sev_snp.abi import KIND, Product, SigningKey, Tcb
from vesica_attestation.sev_snp.authentic import SnpClaims
from vesica_attestation.sev_snp.policy import SevSnpPolicy

_TURIN_ONLY = "fmc"


def appraise(claims: SnpClaims, policy: SevSnpPolicy, report_data: bytes) -> Proved:
    """What was proved, if the policy accepts all of it.

    report_data: the 64 bytes that the guest must have asked to be signed. Needs no time: nothing in a report has an
    age (the certificates' validity was checked with them), and freshness is in the report data.

    Raises Refused (checks "report-data", "debug", "migration-agent", "smt", "cxl", "vmpl", "vlek", "product", "tcb",
    "launch-digest", "alias-check", "host-data", and one for each pin: "chip-id", "id-key-digest",
    "author-key-digest", "csp-id").
    """
    if claims.report.report_data != report_data:
        raise Refused(KIND, "report-data", "bound to something else than this channel, nonce and agreement")
    _refuse_weak_guest(claims, policy)
    _refuse_weak_platform(claims, policy)
    _refuse_unpinned(claims, policy)
    return Proved(dict(_claims(claims)), frozenset(_pinned(claims, policy)))


def _refuse_weak_guest(claims: SnpClaims, policy: SevSnpPolicy) -> None:
    report = claims.report
    if report.debug and not policy.allow_insecure_debug:
        raise Refused(KIND, "debug", "the host may read this guest's memory")
    if report.migration_agent and not policy.allow_migration_agent:
        raise Refused(KIND, "migration-agent", "another guest may be given this guest's memory")
    if report.smt_allowed and not policy.allow_smt:
        raise Refused(KIND, "smt", "the guest may share a core with strangers")
    if report.cxl_allowed:
        raise Refused(KIND, "cxl", "the guest's memory may be on a CXL link, and no policy allows that")
    if report.vmpl not in policy.vmpl:
        raise Refused(KIND, "vmpl", f"asked for at privilege level {report.vmpl}")
    if report.launch_digest not in policy.launch_digests:
        raise Refused(KIND, "launch-digest", f"the policy does not name {report.launch_digest.hex()}")


def _refuse_weak_platform(claims: SnpClaims, policy: SevSnpPolicy) -> None:
    if claims.report.signing_key is SigningKey.VLEK and not policy.allow_vlek:
        raise Refused(KIND, "vlek", "signed by a cloud provider's key, not by the chip's")
    floor = policy.minimum_tcb.get(claims.product)
    if floor is None:
        raise Refused(KIND, "product", f"the policy names no minimum TCB for {claims.product}")
    for name, tcb in claims.tcbs.items():
        if not tcb.meets(floor):
            raise Refused(KIND, "tcb", f"the {name} TCB is below the policy's: {tcb}")
    if policy.require_alias_check and not claims.report.alias_check_complete:
        raise Refused(KIND, "alias-check", "memory was not checked for aliases")


def _refuse_unpinned(claims: SnpClaims, policy: SevSnpPolicy) -> None:
    report = claims.report
    pins: tuple[tuple[str, bytes, frozenset[bytes] | None], ...] = (
        ("host-data", report.host_data, policy.host_data),
        ("chip-id", report.chip_id, policy.chip_ids),
        ("id-key-digest", report.id_key_digest, policy.id_key_digests),
        ("author-key-digest", report.author_key_digest, policy.author_key_digests),
    )
    for check, value, pinned in pins:
        if pinned is not None and value not in pinned:
            raise Refused(KIND, check, f"the policy does not name {value.hex()}")
    if policy.csp_ids is not None and claims.csp_id not in policy.csp_ids:
        raise Refused(KIND, "csp-id", f"the policy does not name {claims.csp_id or 'a key of the chip itself'}")


def _claims(claims: SnpClaims) -> Iterator[tuple[str, Claim]]:
    report = claims.report
    yield "product", claims.product.value
    yield "report_version", report.version
    yield "signing_key", report.signing_key.value
    yield "vmpl", report.vmpl
    yield "debug", report.debug
    yield "migration_agent", report.migration_agent
    yield "smt_allowed", report.smt_allowed
    yield "smt_enabled", report.smt_enabled
    yield "alias_check_complete", report.alias_check_complete
    yield "guest_policy", f"{report.policy:016x}"
    yield "platform_info", f"{report.platform_info:016x}"
    yield "guest_svn", report.guest_svn
    yield "current_firmware", report.current_firmware
    yield "committed_firmware", report.committed_firmware
    for name in ("launch_digest", "host_data", "chip_id", "id_key_digest", "author_key_digest", "family_id", "image_id",
                 "report_id", "report_id_ma"):  # fmt: skip
        yield name, bytes(getattr(report, name)).hex()
    if claims.csp_id is not None:
        yield "csp_id", claims.csp_id
    if report.cpuid is not None:
        yield "cpuid", "family {:02x} model {:02x} stepping {:02x}".format(*report.cpuid)
    if report.mitigations is not None:
        yield "launch_mitigations", f"{report.mitigations[0]:016x}"
        yield "current_mitigations", f"{report.mitigations[1]:016x}"
    for name, tcb in claims.tcbs.items():
        for part in _parts(claims.product):
            yield f"{name}_tcb.{part}", int(getattr(tcb, part))


def _pinned(claims: SnpClaims, policy: SevSnpPolicy) -> Iterator[str]:
    yield from ("product", "vmpl", "launch_digest", "host_data")
    yield from (f"{name}_tcb.{part}" for name in claims.tcbs for part in _parts(claims.product))
    # What a flag allows was accepted unread.
    unless = {
        "signing_key": policy.allow_vlek,
        "debug": policy.allow_insecure_debug,
        "migration_agent": policy.allow_migration_agent,
        "smt_allowed": policy.allow_smt,
        "alias_check_complete": not policy.require_alias_check,
        "chip_id": policy.chip_ids is None,
        "id_key_digest": policy.id_key_digests is None,
        "author_key_digest": policy.author_key_digests is None,
        "csp_id": policy.csp_ids is None,
    }
    yield from (name for name, unread in unless.items() if not unread)


def _parts(product: Product) -> list[str]:
    return [part.name for part in fields(Tcb) if part.name != _TURIN_ONLY or product is Product.TURIN]
