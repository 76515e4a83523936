"""Drafts of policies from real evidence: readable by the verifier, marked, never weaker than a reader makes them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from support.azure_evidence import SNP_FOLDER, real
from support.tpm_evidence import AT as TPM_AT
from support.tpm_evidence import EVENTS, REPORT_DATA, FakeTpm, authority
from vesica_attestation import tpm
from vesica_attestation.draft import draft_policy
from vesica_attestation.errors import PolicyInvalid, Refused
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


@pytest.mark.parametrize(
    ("events", "wanted"), [(EVENTS, {4, 11, 12, 13}), (((4, b"\1" * 32), (9, b"\2" * 32)), {4, 8, 9})]
)
def test_a_draft_of_a_tpms_evidence_pins_what_booted_once_its_reader_says_that_the_host_is_trusted(events, wanted):
    fake = FakeTpm(events=events)
    text = draft_policy(fake.evidence(), TPM_AT)
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(text.encode())
    assert caught.value.place == "tpm.allow_trusted_hypervisor"
    policy = parse_policy(text.replace("# allow_trusted", "allow_trusted").encode()).tpm
    assert policy is not None
    assert set(policy.pcrs) == wanted
    assert policy.ca_certificate_digests == {fake.ca.digest}
    assert tpm.verify(fake.evidence(), REPORT_DATA, policy, TPM_AT)


def test_a_draft_of_a_tpms_evidence_with_a_false_signature_or_a_name_of_several_lines_is_none_or_stays_a_comment():
    fake = FakeTpm()
    with pytest.raises(Refused):
        draft_policy(fake.evidence(quote_signature=fake.evidence().part("quote_signature")[:-1] + b"\0"), TPM_AT)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x\nallow_trusted_hypervisor = true\r#")])
    hostile = FakeTpm(ca=authority("a CA", subject=name))
    with pytest.raises(PolicyInvalid, match="allow_trusted_hypervisor"):
        parse_policy(draft_policy(hostile.evidence(), TPM_AT).encode())


def test_evidence_that_is_not_genuine_gets_no_draft():
    forged = snp("genoa-v5", "vcek.der")
    report = bytearray(forged.part("report"))
    report[0x90] ^= 1
    with pytest.raises(Refused):
        draft_policy(Evidence(Kind.SEV_SNP, {**forged.parts, "report": bytes(report)}), AT)
