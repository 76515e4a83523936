"""``vesica policy new --reference-values``: policies that accept a build, tried on evidence of real machines.

The values of real machines stand in for computed ones: what a policy does with them is the same.
"""

import json
from datetime import UTC, datetime

import pytest

from support.azure_evidence import SNP_FOLDER
from support.azure_evidence import real as azure_evidence
from support.reference import KINDS, reference_values
from support.snp_evidence import CASES
from support.tdx import UP_TO_DATE_AT
from support.tdx import evidence as tdx_evidence
from support.tdx import real as real_file
from vesica.cli.main import main
from vesica_attestation import nitro, sev_snp, tdx
from vesica_attestation.confidential_space import abi as space_abi
from vesica_attestation.confidential_space import authentic as space_authentic
from vesica_attestation.confidential_space.appraise import appraise as appraise_space
from vesica_attestation.draft_reference import FILL_IN, draft_from_reference_values
from vesica_attestation.errors import PolicyInvalid, Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.nitro import abi as nitro_abi
from vesica_attestation.policy import parse_policy
from vesica_attestation.reference_values import (
    Container,
    ReferenceValuesInvalid,
    SnpLaunch,
    TdxRegisters,
    to_json,
)
from vesica_attestation.tdx.abi import parse_quote

AT = datetime(2026, 11, 21, tzinfo=UTC)
GENOA = CASES["genoa-v5"]
NITRO = real_file("nitro", "prod-2022-nonce", "document.cose")
TOKEN = real_file("confidential-space", "pki-prod-tdx", "token.jwt")
TOKEN_AT = datetime.fromtimestamp(1757060250 + 60, UTC)
# Every kind of hardware, and the values that its policy is made of.
KIND_VALUES = {
    kind: "tpm" if kind is Kind.AZURE else kind.replace("-", "_") for kind in Kind if kind is not Kind.INSECURE_SOFTWARE
}


def genoa(digest=GENOA.report[0x90:0xC0]):
    return reference_values(sev_snp=(SnpLaunch(2, "EPYC-Genoa", digest),))


def active(text):
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.fixture
def written(tmp_path, capsys):
    """The policy that the command writes for these values, as text."""

    def write(values, *options, evidence=None):
        (tmp_path / "reference-values.json").write_bytes(to_json(values))
        arguments = ["policy", "new", "--reference-values", str(tmp_path / "reference-values.json"), *options]
        if evidence is not None:
            (tmp_path / "evidence.json").write_text(json.dumps(evidence.to_json()))
            arguments += ["--from-evidence", str(tmp_path)]
        assert main(arguments) == 0
        return capsys.readouterr().out

    return write


def test_a_real_snp_report_is_accepted_by_the_policy_of_its_build_and_refused_by_that_of_another(written):
    text = written(genoa(), evidence=GENOA.evidence)
    assert "The evidence shown has these values." in text
    # The machine may share its cores; a draft leaves that to the reader.
    policy = parse_policy(text.replace("# allow_smt = true", "allow_smt = true").encode())
    proved = sev_snp.verify(GENOA.evidence, GENOA.report_data, policy.sev_snp, AT)
    assert "launch_digest" in proved.pinned

    text = written(genoa(bytes(48)), evidence=GENOA.evidence)
    assert "OF ANOTHER BUILD: it differs in launch_digests" in text
    policy = parse_policy(text.replace("# allow_smt = true", "allow_smt = true").encode())
    with pytest.raises(Refused) as refused:
        sev_snp.verify(GENOA.evidence, GENOA.report_data, policy.sev_snp, AT)
    assert refused.value.check == "launch-digest"


def test_evidence_never_puts_its_own_value_in_the_place_of_a_computed_one(written):
    text = written(genoa(bytes([9]) * 48), evidence=GENOA.evidence)
    assert GENOA.report[0x90:0xC0].hex() not in text
    assert parse_policy(text.encode()).sev_snp.launch_digests == {bytes([9]) * 48}


def test_a_real_nitro_document_is_accepted_by_the_policy_of_its_build_alone(written):
    payload = nitro_abi.parse(NITRO).payload
    evidence = Evidence(Kind.NITRO, {"document": NITRO})
    pcrs = {index: payload.pcrs[index] for index in (0, 1, 2)}
    policy = parse_policy(written(reference_values(nitro=pcrs), "--kind", "nitro").encode())
    proved = nitro.verify(evidence, payload.user_data, policy.nitro, payload.timestamp)
    assert {"pcr1", "pcr2"} <= proved.pinned
    for index in pcrs:
        other = parse_policy(
            written(reference_values(nitro={**pcrs, index: bytes([1]) * 48}), "--kind", "nitro").encode()
        )
        with pytest.raises(Refused):
            nitro.verify(evidence, payload.user_data, other.nitro, payload.timestamp)


def test_a_real_quote_is_accepted_by_the_policy_of_its_build_and_refused_by_that_of_another(written):
    quote, collateral = (real_file("tdx", "v4-uptodate", name) for name in ("quote.bin", "collateral.json"))
    report = parse_quote(quote).report
    evidence = tdx_evidence(quote, collateral)
    right = TdxRegisters(report.mrtd, report.rtmrs[1], report.rtmrs[2])
    policy = parse_policy(written(reference_values(tdx=right), evidence=evidence).encode())
    assert "rtmr2" in tdx.verify(evidence, report.report_data, policy.tdx, UP_TO_DATE_AT).pinned
    for name in ("mrtd", "rtmr1", "rtmr2"):
        wrong = TdxRegisters(**{**vars(right), name: bytes([1]) * 48})
        policy = parse_policy(written(reference_values(tdx=wrong), evidence=evidence).encode())
        with pytest.raises(Refused):
            tdx.verify(evidence, report.report_data, policy.tdx, UP_TO_DATE_AT)


def test_a_real_token_is_accepted_by_the_policy_of_its_image_and_refused_by_that_of_another(written):
    claims = space_authentic.authenticate(space_abi.parse(TOKEN), (), TOKEN_AT)
    evidence = Evidence(Kind.CONFIDENTIAL_SPACE, {"token": TOKEN})

    def appraised(digest, command):
        text = written(reference_values(confidential_space=Container(digest, command)), evidence=evidence)
        for name in (
            "allow_cmd_override",
            "allow_monitoring",
        ):  # what this machine did, and a draft leaves to the reader
            text = text.replace(f"# {name}", name)
        return appraise_space(claims, claims.nonces[0], parse_policy(text.encode()).confidential_space, TOKEN_AT)

    appraised(claims.image_digest, claims.arguments)
    for digest, command in ((bytes(32), claims.arguments), (claims.image_digest, ("/bin/sh",))):
        with pytest.raises(Refused):
            appraised(digest, command)


def test_pcrs_that_are_computed_are_in_the_policy_for_azure_with_those_that_must_stay_zero(written):
    policy = parse_policy(written(reference_values(tpm=KINDS["tpm"]), evidence=azure_evidence(SNP_FOLDER)).encode())
    assert {index: policy.azure.pcrs[index] for index in (4, 11, 12, 13)} == {
        index: {value} for index, value in KINDS["tpm"].items()
    }


@pytest.mark.parametrize("kind", KIND_VALUES)
def test_a_policy_without_evidence_is_ready_or_refused_until_its_gaps_are_filled(written, kind):
    name = KIND_VALUES[kind]
    text = written(reference_values(**{name: KINDS[name]}), "--kind", kind)
    if kind == "nitro":
        assert parse_policy(text.encode()).nitro is not None
        return
    assert "NOT READY" in text
    with pytest.raises(PolicyInvalid):
        parse_policy(text.encode())
    with pytest.raises(PolicyInvalid):  # nor by taking the # away and nothing else
        parse_policy(
            "\n".join(line.removeprefix("# ") if FILL_IN in line else line for line in text.splitlines()).encode()
        )


@pytest.mark.parametrize("kind", KIND_VALUES)
def test_a_policy_says_where_each_value_came_from_and_weakens_nothing(written, kind):
    name = KIND_VALUES[kind]
    values = reference_values(**{name: KINDS[name]})
    text = written(values, "--kind", kind)
    for source in values.sources.values():
        assert f"{source.file}, {source.size} bytes, SHA-256 {source.sha256.hex()}" in text
    assert "Computed from" in text
    assert not any("allow_" in line for line in active(text))


def test_values_that_were_not_computed_are_not_in_a_policy(tmp_path, capsys):
    (tmp_path / "values.json").write_bytes(to_json(reference_values(nitro=KINDS["nitro"])))
    assert main(["policy", "new", "--reference-values", str(tmp_path / "values.json"), "--kind", "tdx"]) == 3
    assert "values.tdx: missing" in capsys.readouterr().err


def test_evidence_of_another_kind_than_asked_for_is_refused(tmp_path):
    (tmp_path / "values.json").write_bytes(to_json(reference_values(**KINDS)))
    (tmp_path / "evidence.json").write_text(json.dumps(GENOA.evidence.to_json()))
    arguments = ["policy", "new", "--reference-values", str(tmp_path / "values.json"), "--kind", "nitro"]
    assert main([*arguments, "--from-evidence", str(tmp_path)]) == 8


@pytest.mark.parametrize("text", [b"", b"{}", b'{"version": 2}', to_json(reference_values(**KINDS))[:-1]])
def test_a_file_that_is_not_as_it_was_written_is_refused(tmp_path, capsys, text):
    (tmp_path / "values.json").write_bytes(text)
    assert main(["policy", "new", "--reference-values", str(tmp_path / "values.json"), "--kind", "nitro"]) == 3
    assert "values.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [[], ["--kind", "nitro"], ["--reference-values", "x"], ["--from-evidence", "{kept}", "--kind", "nitro"]],
)
def test_options_that_say_too_little_or_two_things_are_refused(tmp_path, options):
    (tmp_path / "evidence.json").write_text(json.dumps(GENOA.evidence.to_json()))
    assert main(["policy", "new", *(option.format(kept=tmp_path) for option in options)]) == 2


def test_nothing_is_computed_for_software():
    with pytest.raises(ReferenceValuesInvalid, match="nothing is computed"):
        draft_from_reference_values(reference_values(**KINDS), Kind.INSECURE_SOFTWARE, None)


def test_a_name_of_a_file_cannot_become_a_line_of_a_policy(tmp_path):
    text = to_json(reference_values(nitro=KINDS["nitro"])).replace(b"enclave.bin", b"x\\nallow_insecure_debug = true")
    (tmp_path / "values.json").write_bytes(text)
    arguments = ["policy", "new", "--reference-values", str(tmp_path / "values.json"), "--kind", "nitro"]
    assert main([*arguments, "--output", str(tmp_path / "policy.toml")]) == 3
    assert not (tmp_path / "policy.toml").exists()
