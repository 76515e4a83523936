"""Drafts of policies from real evidence: readable by the verifier, marked, never weaker than a reader makes them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.azure_evidence import SNP_FOLDER, real
from vesica_attestation.draft import draft_policy
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.policy import parse_policy

EVIDENCE = Path(__file__).parents[1] / "data" / "evidence"
AT = datetime(2026, 11, 1, tzinfo=UTC)


def snp(folder, certificate):
    path = EVIDENCE / "sev-snp" / folder
    return Evidence(
        Kind.SEV_SNP,
        {"report": (path / "report.bin").read_bytes(), "certificates": ((path / certificate).read_bytes(),)},
    )


@pytest.mark.parametrize("folder", ["genoa-v5", "turin-v5"])
def test_a_draft_of_real_snp_evidence_is_a_policy_that_pins_what_was_found(folder):
    evidence = snp(folder, "vcek.der")
    text = draft_policy(evidence, AT)
    policy = parse_policy(text.encode())
    assert policy.sev_snp is not None
    assert policy.sev_snp.launch_digests == {evidence.part("report")[0x90:0xC0]}
    assert "CONFIRM" in text
    assert "DRAFT" in text
    assert not policy.allow_insecure_software


def test_what_weakens_a_policy_is_never_turned_on_by_a_draft():
    text = draft_policy(snp("milan-v2-debug", "vcek.der"), AT)
    active = [line for line in text.splitlines() if not line.startswith("#")]
    assert not any("allow_" in line for line in active)
    assert "allow_insecure_debug" in text


def test_a_draft_of_real_azure_evidence_pins_what_booted_and_the_hardware_beneath():
    policy = parse_policy(draft_policy(real(SNP_FOLDER), AT).encode())
    assert policy.azure is not None
    assert policy.azure.sev_snp is not None
    assert set(policy.azure.pcrs) >= {4, 7, 9}
    assert not policy.azure.allow_stale_hardware_report


def test_evidence_that_is_not_genuine_gets_no_draft():
    forged = snp("genoa-v5", "vcek.der")
    report = bytearray(forged.part("report"))
    report[0x90] ^= 1
    with pytest.raises(Refused):
        draft_policy(Evidence(Kind.SEV_SNP, {**forged.parts, "report": bytes(report)}), AT)
