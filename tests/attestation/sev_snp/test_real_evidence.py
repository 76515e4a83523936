"""Reports that real AMD processors signed: what each proves, and everything near it that is refused."""

import warnings
from dataclasses import replace
from datetime import timedelta
from importlib import resources

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from support.snp_evidence import CASES, DATA, TODAY, Case
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.sev_snp import certificates, verify
from vesica_attestation.sev_snp.abi import Product, SigningKey, Tcb
from vesica_attestation.sev_snp.authentic import authenticate

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
vcek_only = [case for case in CASES.values() if "vlek" not in case.folder]


def refused(check: str, case: Case, evidence=None, report_data=None, policy=None, at=None) -> None:
    with pytest.raises(Refused) as caught:
        verify(evidence or case.evidence, report_data or case.report_data, policy or case.policy(), at or case.at)
    assert (caught.value.kind, caught.value.check) == (Kind.SEV_SNP, check)


def given(case: Case, **parts) -> Evidence:
    return Evidence(Kind.SEV_SNP, {**case.evidence.parts, **parts})


def test_every_folder_of_evidence_is_tested() -> None:
    assert {path.name for path in DATA.iterdir()} == set(CASES)


@every
def test_real_evidence_verifies_as_its_readme_says(case: Case) -> None:
    proved = verify(case.evidence, case.report_data, case.policy(), case.at)
    assert proved.claims["product"] == case.product
    assert proved.claims["report_version"] == int(case.folder.split("-")[1][1:])
    assert proved.claims["launch_digest"] == case.report[0x90:0xC0].hex()
    assert proved.claims["signing_key"] == ("vlek" if "vlek" in case.folder else "vcek")
    assert proved.claims["vmpl"] == (1 if "vmpl1" in case.folder else 0)
    assert proved.claims["debug"] is ("debug" in case.folder)
    assert proved.claims["reported_tcb.snp"] == case.tcb.snp
    assert proved.claims["reported_tcb.microcode"] == case.tcb.microcode
    assert ("reported_tcb.fmc" in proved.claims) is (case.product is Product.TURIN)
    assert proved.pinned <= set(proved.claims)
    assert {"launch_digest", "vmpl", "product", "reported_tcb.snp", "launch_tcb.microcode"} <= proved.pinned
    assert "smt_allowed" not in proved.pinned


def test_values_of_the_reports_are_those_that_others_published() -> None:
    proved = {
        name: verify(case.evidence, case.report_data, case.policy(), case.at).claims for name, case in CASES.items()
    }
    assert str(proved["milan-v2-debug"]["launch_digest"]).startswith("b07af962")
    assert CASES["milan-v3-hostdata"].report_data.rstrip(b"\0") == b"attest-test-fixture-2026"
    assert str(proved["milan-v3-hostdata"]["host_data"]).startswith("783f0057")
    assert proved["milan-v3-hostdata"]["committed_tcb.snp"] == 24
    assert proved["milan-v3-vlek-vmpl1"]["csp_id"] == "CN=cc-us-east-2.amazonaws.com"
    assert proved["genoa-v5"]["cpuid"] == "family 19 model 11 stepping 01"
    assert proved["genoa-v5"]["alias_check_complete"] is True
    assert proved["turin-v5"]["reported_tcb.bootloader"] == 1


@every
def test_after_the_certificate_ends_it_is_refused(case: Case) -> None:
    verify(case.evidence, case.report_data, case.policy(), case.until)
    refused("validity", case, at=case.until + timedelta(seconds=1))


def test_the_vlek_that_ended_in_2025_is_refused_today() -> None:
    refused("validity", CASES["milan-v3-vlek-vmpl1"], at=TODAY)


@every
def test_before_the_certificate_begins_it_is_refused(case: Case) -> None:
    refused("validity", case, at=case.until - timedelta(days=366 if "vlek" in case.folder else 7 * 366))


@every
def test_any_other_report_data_is_refused(case: Case) -> None:
    for bit in range(512):
        wrong = bytearray(case.report_data)
        wrong[bit // 8] ^= 1 << bit % 8
        refused("report-data", case, report_data=bytes(wrong))
    refused("report-data", case, report_data=case.report_data[:63])


def test_a_debug_guest_with_a_genuine_signature_is_refused() -> None:
    case = CASES["milan-v2-debug"]
    assert authenticate(case.report, (case.der,), case.at).report.debug
    refused("debug", case, policy=case.policy(allow_insecure_debug=False))


def test_a_reported_tcb_below_the_floor_is_refused_though_newer_firmware_is_committed() -> None:
    case = CASES["milan-v3-hostdata"]
    refused("tcb", case, policy=case.policy(minimum_tcb={Product.MILAN: Tcb(4, 0, 24, 213)}))


@every
@pytest.mark.parametrize("part", ["bootloader", "tee", "snp", "microcode", "fmc"])
def test_a_tcb_below_the_floor_in_any_part_is_refused(case: Case, part: str) -> None:
    floor = replace(case.tcb, **{part: getattr(case.tcb, part) + 2})
    refused("tcb", case, policy=case.policy(minimum_tcb={case.product: floor}))


@every
def test_a_product_without_a_floor_is_refused(case: Case) -> None:
    others = {product: Tcb(0, 0, 0, 0) for product in Product if product is not case.product}
    refused("product", case, policy=case.policy(minimum_tcb=others))
    refused("product", case, policy=case.policy(minimum_tcb={}))


@every
def test_another_privilege_level_is_refused(case: Case) -> None:
    others = frozenset(range(4)) - {case.report[0x30]}
    refused("vmpl", case, policy=case.policy(vmpl=others))
    refused("vmpl", case, policy=case.policy(vmpl=frozenset()))


@every
def test_a_launch_digest_that_the_policy_does_not_name_is_refused(case: Case) -> None:
    refused("launch-digest", case, policy=case.policy(launch_digests=frozenset()))
    refused("launch-digest", case, policy=case.policy(launch_digests=frozenset({bytes(48)})))


def test_a_providers_key_is_refused_unless_allowed() -> None:
    case = CASES["milan-v3-vlek-vmpl1"]
    refused("vlek", case, policy=case.policy(allow_vlek=False))


@every
def test_a_guest_that_may_share_a_core_is_refused_unless_allowed(case: Case) -> None:
    refused("smt", case, policy=case.policy(allow_smt=False))


def test_memory_not_checked_for_aliases_is_refused_where_the_policy_asks() -> None:
    refused("alias-check", CASES["milan-v2-debug"], policy=CASES["milan-v2-debug"].policy(require_alias_check=True))


@every
@pytest.mark.parametrize(
    ("check", "name", "size"),
    [("chip-id", "chip_ids", 64), ("host-data", "host_data", 32), ("id-key-digest", "id_key_digests", 48),
     ("author-key-digest", "author_key_digests", 48)],
)  # fmt: skip
def test_a_pin_that_is_not_met_is_refused(case: Case, check: str, name: str, size: int) -> None:
    refused(check, case, policy=case.policy(**{name: frozenset({b"\x01" * size})}))
    refused(check, case, policy=case.policy(**{name: frozenset()}))


@every
def test_pins_that_are_met_are_named_as_pinned(case: Case) -> None:
    pins = {"chip_ids": frozenset({case.report[0x1A0:0x1E0]})}
    if "vlek" in case.folder:
        pins["csp_ids"] = frozenset({"CN=cc-us-east-2.amazonaws.com"})
    proved = verify(case.evidence, case.report_data, case.policy(**pins), case.at)
    assert {name.removesuffix("s") for name in pins} <= proved.pinned


def test_what_the_host_handed_to_the_guest_is_refused_unless_named() -> None:
    refused(
        "host-data",
        CASES["milan-v3-hostdata"],
        policy=CASES["genoa-v5"].policy(
            launch_digests=CASES["milan-v3-hostdata"].policy().launch_digests,
            minimum_tcb=CASES["milan-v3-hostdata"].policy().minimum_tcb,
        ),
    )


def test_another_cloud_provider_or_none_is_refused_where_one_is_pinned() -> None:
    for case in CASES.values():
        refused("csp-id", case, policy=case.policy(csp_ids=frozenset({"CN=cc-eu-west-1.amazonaws.com"})))


@every
def test_another_machines_certificate_is_refused(case: Case) -> None:
    for other in CASES.values():
        if other is not case:
            with pytest.raises(Refused) as caught:
                verify(given(case, certificates=(other.der,)), case.report_data, case.policy(), case.at)
            wanted = "signing-key" if ("vlek" in case.folder) != ("vlek" in other.folder) else "signature"
            assert caught.value.check in {wanted, "validity"}


@every
def test_amds_own_certificates_may_be_sent_along_and_no_others(case: Case) -> None:
    mine, others = [], []
    for authority in certificates.authorities():
        same_key = authority.signing_key is (SigningKey.VLEK if "vlek" in case.folder else SigningKey.VCEK)
        mine_too = authority.product is case.product and same_key
        (mine if mine_too else others).append(authority.intermediate.public_bytes(Encoding.DER))
        if mine_too:
            mine.append(authority.root.public_bytes(Encoding.DER))
    verify(given(case, certificates=(case.der, *mine)), case.report_data, case.policy(), case.at)
    verify(given(case, certificates=(case.der, *reversed(mine))), case.report_data, case.policy(), case.at)
    for other in others:
        refused("chain", case, given(case, certificates=(case.der, other)))
    refused("chain", case, given(case, certificates=(case.der, mine[0], mine[0])))
    refused("chain", case, given(case, certificates=(case.der, case.der)))
    refused("chain", case, given(case, certificates=(mine[0], case.der)))
    refused("chain", case, given(case, certificates=(mine[1],)))
    refused("format", case, given(case, certificates=(case.der, *mine, mine[0])))


@every
def test_missing_and_unknown_parts_are_refused(case: Case) -> None:
    refused("format", case, Evidence(Kind.SEV_SNP, {"report": case.report}))
    refused("format", case, Evidence(Kind.SEV_SNP, {"certificates": (case.der,)}))
    refused("format", case, given(case, certificates=()))
    refused("format", case, given(case, certificates=case.der))
    refused("format", case, given(case, report=(case.report,)))
    refused("format", case, given(case, collateral=b"{}"))


@every
def test_a_report_cut_off_anywhere_or_with_more_behind_it_is_refused(case: Case) -> None:
    for size in range(1184):
        refused("format", case, given(case, report=case.report[:size]))
    for more in (b"\0", b"\0" * 4096, case.report):
        refused("trailing-bytes", case, given(case, report=case.report + more))


@every
def test_a_certificate_cut_off_anywhere_or_with_more_behind_it_is_refused(case: Case) -> None:
    for size in range(len(case.der)):
        refused("format", case, given(case, certificates=(case.der[:size],)))
    for more in (b"\0", case.der, b"\0" * 8192):
        refused("format", case, given(case, certificates=(case.der + more,)))


def test_the_embedded_certificates_are_the_pinned_ones_and_each_root_is_self_signed() -> None:
    found = certificates.authorities()
    assert {(one.product, one.signing_key) for one in found} == {(p, k) for p in Product for k in SigningKey}
    for one in found:
        pins = (certificates.INTERMEDIATE_SHA256[one.product, one.signing_key], certificates.ARK_SHA256[one.product])
        assert tuple(cert.fingerprint(hashes.SHA256()).hex() for cert in (one.intermediate, one.root)) == pins
        one.root.verify_directly_issued_by(one.root)


def test_an_embedded_file_that_is_not_the_pinned_one_is_an_error_and_not_a_root(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(certificates.ARK_SHA256, Product.MILAN, "00" * 32)
    certificates.authorities.cache_clear()
    with pytest.raises(ValueError, match="not the file that was pinned"):
        certificates.authorities()
    monkeypatch.undo()
    assert certificates.authorities()


def test_the_trust_folder_holds_no_certificate_of_amd_that_is_not_pinned() -> None:
    pins = {*certificates.ARK_SHA256.values(), *certificates.INTERMEDIATE_SHA256.values()}
    files = [one for one in resources.files("vesica_attestation").joinpath("trust").iterdir() if "amd" in one.name]
    assert len(files) == 6
    for one in files:
        for certificate in x509.load_pem_x509_certificates(one.read_bytes()):
            assert certificate.fingerprint(hashes.SHA256()).hex() in pins


def test_amds_serial_number_0_neither_warns_nor_silences_other_warnings() -> None:
    case = CASES["genoa-v5"]
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        verify(case.evidence, case.report_data, case.policy(), case.at)
        x509.load_der_x509_certificate(case.der)
    assert [str(one.message)[:22] for one in seen] == ["Parsed a serial number"]
    assert warnings.filters == before
