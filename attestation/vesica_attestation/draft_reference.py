"""Policies from reference values: what files determine is in force, what they do not is for the reader to say.

A value that was computed stands in the policy as it is. Terms that no file of a build determines (firmware floors, the
age of evidence, machines) are the strictest or a usual one, and say so; or, where there is none, they are a comment
with FILL IN for a value, and the verifier refuses the policy until somebody has written it. With evidence, those come
from it, as in any draft, marked CONFIRM.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from vesica_attestation.confidential_space.attester import AUDIENCE
from vesica_attestation.draft import PACKAGES, Line, Value, lines_from, tables
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.reference_values import COMPUTED_FROM, ReferenceValues, ReferenceValuesInvalid, to_json
from vesica_attestation.sev_snp.abi import Product

FILL_IN: Final = "FILL IN"
_USUAL_SECONDS: Final = 300
# Which values of a file of reference values a kind's table is made of.
_VALUES: Final[Mapping[str, str]] = {
    "sev-snp": "sev_snp",
    "tdx": "tdx",
    "nitro": "nitro",
    "confidential-space": "confidential_space",
    "azure": "tpm",
    "tpm": "tpm",
}
_PCRS: Final = {
    4: "What the firmware started: this image, and the kernel in it.",
    11: "Kernel, initial file system and command line.",
    12: "Nothing: the image was given no other command line, no add-ons, no credentials.",
    13: "Nothing: the image was given no system extensions.",
}


def draft_from_reference_values(values: ReferenceValues, kind: Kind, shown: tuple[Evidence, datetime] | None) -> str:
    """The text of a ``policy.toml`` that accepts a build, commented.

    shown: evidence of that kind, and when it was shown; it gives the terms that no file determines. Raises
    ReferenceValuesInvalid where the values of that kind were not computed, Refused where the evidence cannot be read.
    """
    name = _VALUES.get(kind)
    if name is None:
        raise ReferenceValuesInvalid("values", f"nothing is computed for {kind}; draft from evidence instead")
    if getattr(values, name) is None:
        raise ReferenceValuesInvalid(f"values.{name}", f"missing, and a policy for {kind} is made of it")
    computed = _computed(values, kind)
    if shown is None:
        lines = [*computed, *_terms(kind)]
    else:
        evidence, at = shown
        if evidence.kind is not kind:
            raise Refused(evidence.kind, "draft", f"the evidence is of another kind than {kind}")
        found = lines_from(evidence, at)
        differing = [line.name for line in computed if _differs(line, found)]
        names = {(line.table, line.name) for line in computed}
        lines = [*computed, *(line for line in found if (line.table, line.name) not in names)]
        return "\n".join([*_head(values, name), *_about_evidence(differing), "", *tables(PACKAGES[kind], lines)])
    return "\n".join([*_head(values, name), *_about_nothing(lines), "", *tables(PACKAGES[kind], lines)])


def _head(values: ReferenceValues, name: str) -> list[str]:
    sources = [(part, values.sources[part]) for part in COMPUTED_FROM[name]]
    return [
        "# Reference values here were computed from these files of a build:",
        *(f"#   {part}: {source.file}, {source.size} bytes, SHA-256 {source.sha256.hex()}" for part, source in sources),
        "# They are signed by nobody: build the sources yourself, and compare the file of reference values, whose",
        f"# SHA-256 is {hashlib.sha256(to_json(values)).hexdigest()}.",
    ]


def _about_evidence(differing: Sequence[str]) -> list[str]:
    if differing:
        warning = ", ".join(differing)
        first = f"# THE EVIDENCE SHOWN IS OF ANOTHER BUILD: it differs in {warning}. This policy refuses it."
    else:
        first = "# The evidence shown has these values."
    return [
        first,
        "# A DRAFT in all else, which is from that evidence, right or wrong: confirm what is marked CONFIRM.",
    ]


def _about_nothing(lines: Sequence[Line]) -> list[str]:
    if any(line.value == FILL_IN for line in lines):
        return [f"# NOT READY: lines with {FILL_IN} are terms that no file determines. Write them; drop the # before."]
    return []


def _differs(line: Line, found: Sequence[Line]) -> bool:
    """Whether evidence names values, and one of them is none of the computed ones."""
    shown = [other.value for other in found if (other.table, other.name) == (line.table, line.name)]
    return any(item not in _items(line.value) for value in shown for item in _items(value))


def _items(value: Value) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _computed(values: ReferenceValues, kind: Kind) -> list[Line]:
    """The lines that come from files alone."""

    def line(name: str, value: Value, why: str, *sources: str, table: str | None = None) -> Line:
        files = ", ".join(values.sources[source].file for source in sources)
        return Line(name, value, f"{why} Computed from {files}.", table=table)

    if kind is Kind.SEV_SNP and values.sev_snp is not None:
        machines = ", ".join(f"{launch.vcpus} x {launch.vcpu_type}" for launch in values.sev_snp)
        digests = [launch.launch_digest.hex() for launch in values.sev_snp]
        why = f"What ran at launch, on machines of these processors, in this order: {machines}."
        return [line("launch_digests", digests, why, *COMPUTED_FROM["sev_snp"])]
    if kind is Kind.TDX and values.tdx is not None:
        found = values.tdx
        return [
            line("launch_digests", [found.mrtd.hex()], "MRTD: the firmware.", "tdx_firmware"),
            line("rtmr1", [found.rtmr1.hex()], "RTMR1: the kernel.", "kernel"),
            line("rtmr2", [found.rtmr2.hex()], "RTMR2: what the kernel was given.", "command_line", "initrd"),
        ]
    if kind is Kind.NITRO and values.nitro is not None:
        what = (
            ("launch_digests", "PCR0: the enclave's image."),
            ("pcr1", "PCR1: kernel, command line and boot files."),
            ("pcr2", "PCR2: the application."),
        )
        return [line(name, [values.nitro[index].hex()], why, "enclave") for index, (name, why) in enumerate(what)]
    if kind is Kind.CONFIDENTIAL_SPACE and values.confidential_space is not None:
        container = values.confidential_space
        return [
            line("launch_digests", [container.digest.hex()], "The container image's digest.", "image"),
            line("commands", [list(container.command)], "What the image starts when nobody overrides it.", "image"),
        ]
    return [
        line(str(index), [value.hex()], _PCRS[index], "unified", table="pcrs")
        for index, value in (values.tpm or {}).items()
    ]


def _terms(kind: Kind) -> list[Line]:
    """Terms that no file determines, where there is no evidence to take them from."""
    age = Line("max_age_seconds", _USUAL_SECONDS, "How old evidence may be. No reference value: a usual one.")
    match kind:
        case Kind.SEV_SNP:
            return _snp_terms()
        case Kind.TDX:
            return _tdx_terms()
        case Kind.NITRO:
            return [age]
        case Kind.CONFIDENTIAL_SPACE:
            return [age, *_space_terms()]
        case Kind.AZURE:
            return _azure_terms()
        case _:
            return _tpm_terms()


def _azure_terms() -> list[Line]:
    paravisor = Line("launch_digests", FILL_IN, "Of the paravisor, which is Microsoft's.",
                     "evidence of such a machine (--from-evidence).", table="sev_snp", off=True)  # fmt: skip
    hardware = _snp_terms()
    inside = [replace(line, table=f"sev_snp.{line.table}" if line.table else "sev_snp") for line in hardware]
    return [paravisor, *inside]


def _tpm_terms() -> list[Line]:
    trust = (
        "Accept that nothing keeps the machine's memory from the operator of its host, who can forge this evidence "
        "too. Without this line the policy is refused."
    )
    authority = "SHA-256 of the certificate (DER) of the CA that certified the TPM's attestation key."
    return [
        Line("allow_trusted_hypervisor", True, trust, "you trust that operator with the data.", off=True),
        Line("ca_certificate_digests", FILL_IN, authority, "the cloud, or whoever runs the CA.", off=True),
    ]


def _snp_terms() -> list[Line]:
    vmpl = Line("vmpl", [0], "Privilege level that may ask for a report. No reference value: the highest.")
    floors = [
        Line(field, FILL_IN, f"Firmware of {product} below this is refused." if number == 0 else "",
             "AMD's security bulletins." if number == 0 else None, table=f"minimum_tcb.{product}", off=True)
        for product in Product
        for number, field in enumerate(
            ("bootloader", "tee", "snp", "microcode", *(["fmc"] if product is Product.TURIN else []))
        )
    ]  # fmt: skip
    return [vmpl, *floors]


def _tdx_terms() -> list[Line]:
    return [
        Line("rtmr0", FILL_IN, "RTMR0: the tables that the host makes for the firmware.",
             "a machine of the same size, that you trust (--from-evidence).", off=True),
        Line("tcb_statuses", ["UpToDate"], "Intel's words for the platform. No reference value: the strictest."),
        Line("minimum_tcb_evaluation_number", FILL_IN, "Of Intel's list of what is up to date.",
             "Intel's newest (api.trustedservices.intel.com/tdx/certification/v4/tcbevaluationdatanumbers).", off=True),
        Line("collateral_age_days_max", 30, "How old Intel's collateral may be. No reference value: a usual one."),
    ]  # fmt: skip


def _space_terms() -> list[Line]:
    return [
        Line("audience", AUDIENCE, "What a room asks its token for, unless it is started with another --audience."),
        Line("hwmodels", FILL_IN, "Accepted hardware, such as GCP_AMD_SEV or GCP_INTEL_TDX.",
             "that you accept it (TDX needs tdx_tcb_statuses as well).", off=True),
        Line("support_attributes", ["STABLE"], "What Google says of the operating system's image. No reference value: "
             "the least that keeps out debug images."),
    ]  # fmt: skip
