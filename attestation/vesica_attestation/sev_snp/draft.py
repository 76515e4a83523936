"""A draft of the table ``[sev_snp]`` from a report that AMD's keys vouch for."""

from dataclasses import asdict
from datetime import datetime

from vesica_attestation.draft import Line
from vesica_attestation.evidence import Evidence
from vesica_attestation.sev_snp.abi import Product, SigningKey
from vesica_attestation.sev_snp.authentic import SnpClaims, authenticate

_MINIMUM = "Firmware below this is refused."
_NEWEST = "AMD's security bulletins: this must be no older than the newest that closes a known hole."


def draft(evidence: Evidence, at: datetime) -> list[Line]:
    """What a policy would say that accepts this report.

    Raises Refused; also for a report that is not genuine, whose product nobody knows.
    """
    return lines_of(authenticate(evidence.part("report"), evidence.many("certificates"), at))


def lines_of(claims: SnpClaims) -> list[Line]:
    """What a policy would say that accepts these claims."""
    report = claims.report
    return [
        Line(
            "launch_digests",
            [report.launch_digest.hex()],
            "What ran at launch: firmware, and with it kernel and initial file system where they are hashed into it.",
            "build the image yourself and compute it (docs/reference-values.md).",
        ),
        Line("vmpl", [report.vmpl], "Privilege level that may ask for a report; 0 is the highest.", _vmpl(report.vmpl)),
        *_flags(claims),
        *_pins(claims),
        *(
            Line(name, value, _MINIMUM, _NEWEST, table=f"minimum_tcb.{claims.product}")
            for name, value in asdict(claims.tcbs["reported"]).items()
            if name != "fmc" or claims.product is Product.TURIN
        ),
    ]


def _vmpl(level: int) -> str | None:
    return None if level == 0 else "who runs at the levels above it, and can read this guest."


def _flags(claims: SnpClaims) -> list[Line]:
    report = claims.report
    found = (
        ("allow_vlek", report.signing_key is SigningKey.VLEK, "A cloud provider's key signed: it names no chip."),
        ("allow_insecure_debug", report.debug, "INSECURE: the host may read this guest's memory."),
        ("allow_migration_agent", report.migration_agent, "INSECURE: another guest may be given this guest's memory."),
        ("allow_smt", report.smt_allowed, "The guest may share a core with strangers."),
    )
    lines = [
        # What weakens is never turned on by a draft: the reader does that, having read what it means.
        Line(name, True, f"{why} The evidence is refused without it.", "you accept that.", off=True)
        for name, needed, why in found
        if needed
    ]
    check = "Refuse machines whose memory was not checked for aliases."
    return [*lines, Line("require_alias_check", True, check, off=not report.alias_check_complete)]


def _pins(claims: SnpClaims) -> list[Line]:
    report = claims.report
    pins = (
        ("chip_ids", report.chip_id, "One machine; without it, any of AMD's.", "whoever runs the machine."),
        ("host_data", report.host_data, "What the host told the guest at launch.", "what it should have told."),
        ("id_key_digests", report.id_key_digest, "Who signed the launch digest.", "the signer's key, from the signer."),
    )
    return [Line(name, [value.hex()], why, confirm, off=True) for name, value, why, confirm in pins if any(value)]
