"""Two real virtual machines on Azure: what their evidence proves, and everything near it that is refused.

Neither was asked for by this project: their extra data is not the hash of a report data, so ``appraise`` is told it.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from support.azure_evidence import DATA, SNP_FOLDER, TDX_FOLDER, hcl_report, real
from vesica_attestation.azure import AzurePolicy, authentic, verify
from vesica_attestation.azure.appraise import appraise
from vesica_attestation.azure.authentic import authenticate
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.result import Proved
from vesica_attestation.sev_snp import SevSnpPolicy
from vesica_attestation.sev_snp.abi import Product, Tcb
from vesica_attestation.tdx.authentic import TdxClaims, check_signatures
from vesica_attestation.tdx.policy import TdxPolicy

AT = datetime(2026, 11, 21, tzinfo=UTC)
SNP, TDX = real(SNP_FOLDER), real(TDX_FOLDER)
SNP_CLAIMS = authenticate(SNP, AT)
USER_DATA = bytes.fromhex(
    "982f5c6e45df0ed3f10b6f60b02f0c8390e281300f3805e2279c16168cd6ae9aa398f647caa2338748cd0fd9f5f819ef"
).ljust(64, b"\0")
NONCE = USER_DATA[:48]
PARAVISOR = SNP.part("hcl_report")[32 + 0x90 : 32 + 0xC0]


def hardware(**changes) -> SevSnpPolicy:
    return replace(
        SevSnpPolicy(
            launch_digests=frozenset({PARAVISOR}),
            minimum_tcb={Product.MILAN: Tcb(4, 0, 24, 219)},
            vmpl=frozenset({0}),
            allow_vlek=False,
            allow_insecure_debug=False,
            allow_migration_agent=False,
            allow_smt=True,
            require_alias_check=True,
            chip_ids=None,
            host_data=frozenset({bytes(32)}),
            id_key_digests=None,
            author_key_digests=None,
            csp_ids=None,
        ),
        **changes,
    )


def policy(evidence: Evidence = SNP, **changes) -> AzurePolicy:
    pcrs = evidence.many("pcrs")
    narrow = AzurePolicy(
        pcrs={index: frozenset({pcrs[index]}) for index in (4, 7, 9, 12)},
        sev_snp=hardware(),
        tdx=None,
        allow_stale_hardware_report=False,
    )
    return replace(narrow, **changes)


def refused(check: str, made=policy, *, extra=NONCE, user_data=USER_DATA, claims=SNP_CLAIMS, kind=Kind.AZURE) -> None:
    with pytest.raises(Refused) as caught:
        appraise(claims, made() if callable(made) else made, extra, user_data, AT)
    assert (caught.value.kind, caught.value.check) == (kind, check)


def not_authentic(evidence: Evidence, *checks: str) -> None:
    with pytest.raises(Refused) as caught:
        authenticate(evidence, AT)
    assert caught.value.check in checks


def snp(**parts) -> Evidence:
    return Evidence(Kind.AZURE, {**SNP.parts, **parts})


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_folder_of_evidence_is_tested() -> None:
    assert {path.name for path in DATA.iterdir()} == {SNP_FOLDER, TDX_FOLDER}


def test_the_amd_machine_verifies_as_its_readme_says() -> None:
    proved = appraise(SNP_CLAIMS, policy(), NONCE, USER_DATA, AT)
    assert proved.claims["extra_data"] == NONCE.hex()
    assert proved.claims["user_data"] == USER_DATA.hex()
    assert proved.claims["host_says.vm_unique_id"] == "7DF7B373-B947-4AAA-96E5-C358F2A03D20"
    assert proved.claims["host_says.console_enabled"] is True
    assert proved.claims["sev_snp.product"] == "milan"
    assert proved.claims["sev_snp.vmpl"] == 0
    assert proved.claims["sev_snp.launch_digest"] == PARAVISOR.hex()
    assert proved.claims["pcr.4"] == SNP.many("pcrs")[4].hex()
    assert {"extra_data", "user_data", "pcr.4", "pcr.12", "sev_snp.launch_digest"} <= proved.pinned
    assert proved.pinned <= set(proved.claims)
    assert "pcr.0" not in proved.pinned


def test_its_vcek_out_of_date_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        authenticate(SNP, AT + timedelta(days=8 * 366))
    assert (caught.value.kind, caught.value.check) == (Kind.SEV_SNP, "validity")


def test_it_is_refused_for_a_report_data_that_it_was_never_asked_for() -> None:
    for report_data in (bytes(64), USER_DATA, NONCE + bytes(16)):
        with pytest.raises(Refused) as caught:
            verify(SNP, report_data, policy(), AT)
        assert caught.value.check == "report-data"


def test_any_other_extra_data_is_refused() -> None:
    for bit in range(8 * 48):
        refused("report-data", extra=flipped(NONCE, bit))
    for other in (b"", NONCE[:47], NONCE + b"\0", USER_DATA):
        refused("report-data", extra=other)


def test_any_other_user_data_is_refused_unless_the_policy_takes_stale_hardware_reports() -> None:
    stale = policy(allow_stale_hardware_report=True)
    for bit in range(512):
        refused("freshness", user_data=flipped(USER_DATA, bit))
    proved = appraise(SNP_CLAIMS, stale, NONCE, bytes(64), AT)
    assert "user_data" not in proved.pinned
    refused("report-data", stale, extra=bytes(48), user_data=USER_DATA)


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("launch-digest", {"launch_digests": frozenset()}),
        ("tcb", {"minimum_tcb": {Product.MILAN: Tcb(4, 0, 24, 220)}}),
        ("product", {"minimum_tcb": {Product.GENOA: Tcb(0, 0, 0, 0)}}),
        ("smt", {"allow_smt": False}),
        ("vmpl", {"vmpl": frozenset({1})}),
        ("chip-id", {"chip_ids": frozenset({b"\x01" * 64})}),
    ],
)
def test_the_hardwares_policy_holds_for_the_paravisor(check, changes) -> None:
    refused(check, policy(sev_snp=hardware(**changes)), kind=Kind.SEV_SNP)


def test_hardware_that_the_policy_does_not_name_is_refused() -> None:
    refused("policy", policy(sev_snp=None))


@pytest.mark.parametrize("index", range(16))
def test_another_value_in_any_pinned_pcr_is_refused(index: int) -> None:
    refused("pcr", policy(pcrs={index: frozenset({b"\x01" * 32})}))
    refused("pcr", policy(pcrs={index: frozenset()}))


def test_a_policy_without_a_pcr_refuses() -> None:
    refused("pcr", policy(pcrs={}))


def test_every_bit_of_the_quote_counts() -> None:
    message, signature = SNP.part("quote_message"), SNP.part("quote_signature")
    for bit in range(8 * len(message)):
        not_authentic(snp(quote_message=flipped(message, bit)), "tpm-magic", "tpm-type", "format", "pcr-selection",
                      "trailing-bytes", "tpm-signature")  # fmt: skip
    for bit in range(8 * len(signature)):
        not_authentic(snp(quote_signature=flipped(signature, bit)), "tpm-signature")


def test_every_bit_of_the_pcrs_counts() -> None:
    pcrs = SNP.many("pcrs")
    for bit in range(24 * 256):
        changed = list(pcrs)
        changed[bit // 256] = flipped(pcrs[bit // 256], bit % 256)
        not_authentic(snp(pcrs=tuple(changed)), "pcr-digest")


def test_every_bit_of_the_hcl_report_counts() -> None:
    """All 20800 bits: header, hardware report, request data, runtime claims and the zeros behind them."""
    report = SNP.part("hcl_report")
    for bit in range(8 * len(report)):
        with pytest.raises(Refused):
            authenticate(snp(hcl_report=flipped(report, bit)), AT)


def test_parts_cut_off_anywhere_are_refused() -> None:
    for name in ("hcl_report", "quote_message", "quote_signature"):
        data = SNP.part(name)
        # The zeros behind the runtime claims may be cut; nothing else may.
        for size in range(2346 if name == "hcl_report" else len(data)):
            with pytest.raises(Refused):
                authenticate(snp(**{name: data[:size]}), AT)


def test_parts_with_more_behind_them_are_refused() -> None:
    not_authentic(snp(hcl_report=SNP.part("hcl_report") + b"\x01"), "trailing-bytes")
    not_authentic(snp(hcl_report=SNP.part("hcl_report") + bytes(8192)), "format")
    not_authentic(snp(quote_message=SNP.part("quote_message") + b"\0"), "trailing-bytes")
    not_authentic(snp(quote_signature=SNP.part("quote_signature") + b"\0"), "tpm-signature")
    not_authentic(snp(pcrs=(*SNP.many("pcrs"), bytes(32))), "format")


def test_missing_and_unknown_parts_are_refused() -> None:
    for name in SNP.parts:
        rest = {key: value for key, value in SNP.parts.items() if key != name}
        not_authentic(Evidence(Kind.AZURE, rest), "format")
    for name in ("td_quote", "collateral", "event_log", "report"):
        not_authentic(snp(**{name: b"x"}), "format")


def test_layers_of_two_machines_do_not_fit_together() -> None:
    for name in ("quote_message", "quote_signature"):
        not_authentic(snp(**{name: TDX.parts[name]}), "tpm-signature")
    both = {name: TDX.parts[name] for name in ("quote_message", "quote_signature", "pcrs")}
    not_authentic(snp(**both), "tpm-signature")
    not_authentic(snp(pcrs=TDX.many("pcrs")), "pcr-digest")
    claims = TDX.part("hcl_report")[1236:2437]
    not_authentic(snp(hcl_report=hcl_report(SNP.part("hcl_report")[32:1216], claims)), "runtime-claims")


def test_pcrs_in_another_order_are_refused() -> None:
    pcrs = SNP.many("pcrs")
    not_authentic(snp(pcrs=pcrs[::-1]), "pcr-digest")
    not_authentic(snp(pcrs=(*pcrs[:4], pcrs[5], pcrs[4], *pcrs[6:])), "pcr-digest")
    not_authentic(snp(pcrs=(pcrs[0] + pcrs[1], *pcrs[2:], b"")), "format")


# Intel. The evidence has no collateral: Intel's word on the platform is missing, and nothing is accepted without.


def tdx_claims(monkeypatch: pytest.MonkeyPatch) -> authentic.AzureClaims:
    """All that can be authenticated of the Intel machine: everything but Intel's judgement of the platform's TCB."""

    def signatures_only(quote: bytes, collateral: bytes, at: datetime) -> TdxClaims:
        signed = check_signatures(quote, at)
        assert collateral == b"none"
        return TdxClaims(
            quote_version=signed.quote.version,
            report=signed.quote.report,
            fmspc=signed.pck.fmspc,
            ppid=signed.pck.ppid,
            tcb_status="UpToDate",
            platform_tcb_status="UpToDate",
            qe_tcb_status="UpToDate",
            qe_isvsvn=signed.quote.qe_report.isvsvn,
            advisory_ids=(),
            tcb_evaluation_number=20,
            collateral_issued_at=at,
        )

    monkeypatch.setattr(authentic, "authenticate_tdx", signatures_only)
    return authenticate(Evidence(Kind.AZURE, {**TDX.parts, "collateral": b"none"}), AT)


def tdx_policy(claims: TdxClaims) -> TdxPolicy:
    return TdxPolicy(
        launch_digests=frozenset({claims.report.mrtd}),
        tcb_statuses=frozenset({"UpToDate"}),
        minimum_tcb_evaluation_number=20,
        collateral_age_days_max=30,
        rtmr0=None,
        rtmr1=None,
        rtmr2=None,
        rtmr3=frozenset({claims.report.rtmrs[3]}),
        mrconfigid=frozenset({claims.report.mrconfigid}),
        mrowner=frozenset({claims.report.mrowner}),
        mrownerconfig=frozenset({claims.report.mrownerconfig}),
    )


def test_the_intel_machine_without_collateral_is_refused() -> None:
    not_authentic(TDX, "format")
    with pytest.raises(Refused) as caught:
        authenticate(Evidence(Kind.AZURE, {**TDX.parts, "collateral": b"{}"}), AT)
    assert caught.value.kind == Kind.TDX


def test_its_layers_are_authentic_up_to_intels_root(monkeypatch) -> None:
    claims = tdx_claims(monkeypatch)
    assert claims.quote.extra_data == b"challenge"
    assert claims.runtime.user_data == bytes(64)
    assert isinstance(claims.hardware, TdxClaims)
    assert claims.hardware.report.tdattributes == bytes(8)
    not_authentic(Evidence(Kind.AZURE, {**TDX.parts, "collateral": b"none", "pcrs": SNP.many("pcrs")}), "pcr-digest")


def test_the_intel_machine_is_refused_for_the_attributes_that_microsoft_gives_it(monkeypatch) -> None:
    """TDATTRIBUTES are zero: without SEPT_VE_DISABLE, which our TDX appraisal asks of every TD."""
    claims = tdx_claims(monkeypatch)
    made = policy(TDX, sev_snp=None, tdx=tdx_policy(claims.hardware), allow_stale_hardware_report=True)
    refused("tdattributes", made, extra=b"challenge", claims=claims, kind=Kind.TDX)


def test_a_td_with_acceptable_attributes_under_the_same_layers_is_accepted(monkeypatch) -> None:
    claims = tdx_claims(monkeypatch)
    assert isinstance(claims.hardware, TdxClaims)
    report = replace(claims.hardware.report, tdattributes=(1 << 28).to_bytes(8, "little"))
    claims = replace(claims, hardware=replace(claims.hardware, report=report))
    made = policy(TDX, sev_snp=hardware(), tdx=tdx_policy(claims.hardware))
    proved = appraise(claims, made, b"challenge", bytes(64), AT)
    assert isinstance(proved, Proved)
    assert {"tdx.launch_digest", "user_data", "pcr.7"} <= proved.pinned <= set(proved.claims)
    refused("policy", replace(made, tdx=None), extra=b"challenge", user_data=bytes(64), claims=claims)
    refused("report-data", made, extra=b"other", user_data=bytes(64), claims=claims)
    refused("freshness", made, extra=b"challenge", claims=claims)
