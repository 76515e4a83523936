"""What no real report shows: made by an AMD of our own, mostly taken for AMD in the test, and refused all the same."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from support.fake_amd import AT, CPUID, END, ORDER, START, TCB, FakeAmd, rsa_key, write_signature
from support.snp_evidence import CASES
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.sev_snp import SevSnpPolicy, verify
from vesica_attestation.sev_snp.abi import Product, SigningKey, Tcb

REPORT_DATA = bytes(range(64))
POLICY = SevSnpPolicy(
    launch_digests=frozenset({b"\xaa" * 48}),
    minimum_tcb=TCB,
    vmpl=frozenset({0}),
    allow_vlek=True,
    allow_insecure_debug=False,
    allow_migration_agent=False,
    allow_smt=False,
    require_alias_check=False,
    chip_ids=None,
    host_data=frozenset({bytes(32)}),
    id_key_digests=None,
    author_key_digests=None,
    csp_ids=None,
)
every_kind = pytest.mark.parametrize("signing_key", SigningKey)
every_product = pytest.mark.parametrize("product", Product)


def check(report: bytes, certificate: bytes, policy: SevSnpPolicy = POLICY):
    parts = {"report": report, "certificates": (certificate,)}
    return verify(Evidence(Kind.SEV_SNP, parts), REPORT_DATA, policy, AT)


def refused(word: str, report: bytes, certificate: bytes, policy: SevSnpPolicy = POLICY) -> None:
    with pytest.raises(Refused) as caught:
        check(report, certificate, policy)
    assert caught.value.check == word


@pytest.fixture
def amd(monkeypatch: pytest.MonkeyPatch) -> FakeAmd:
    return FakeAmd().install(monkeypatch)


@every_product
@every_kind
@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_every_product_key_and_version_is_accepted(monkeypatch, product, signing_key, version) -> None:
    amd = FakeAmd(product, signing_key).install(monkeypatch)
    proved = check(amd.report(version=version, report_data=REPORT_DATA), amd.certificate())
    assert proved.claims["report_version"] == version
    assert ("cpuid" in proved.claims) is (version >= 3)
    assert ("launch_mitigations" in proved.claims) is (version == 5)
    assert "smt_allowed" in proved.pinned


@every_product
@every_kind
def test_the_same_names_under_a_root_that_nobody_pinned_are_refused(product, signing_key) -> None:
    amd = FakeAmd(product, signing_key)
    refused("chain", amd.report(report_data=REPORT_DATA), amd.certificate())


def test_a_genuine_certificate_with_a_report_signed_by_the_forger_is_refused() -> None:
    case, amd = CASES["genoa-v5"], FakeAmd(Product.GENOA)
    forged = amd.sign(case.report[:0x50] + REPORT_DATA + case.report[0x90:])
    refused("signature", forged, case.der, case.policy())


def test_a_genuine_vceks_name_over_the_forgers_key_is_refused() -> None:
    case, amd = CASES["turin-v5"], FakeAmd(Product.TURIN)
    start = case.der.index(b"\x03\x62\x00\x04")  # the BIT STRING of an uncompressed point on P-384
    point = amd.report_key.public_key().public_numbers()
    own = b"\x03\x62\x00\x04" + point.x.to_bytes(48, "big") + point.y.to_bytes(48, "big")
    swapped = case.der[:start] + own + case.der[start + len(own) :]
    refused("chain", amd.sign(case.report), swapped, case.policy())


def test_a_signature_and_its_twin_are_both_good_so_bytes_are_no_identity(amd: FakeAmd) -> None:
    report = amd.report(report_data=REPORT_DATA)
    s = int.from_bytes(report[0x2E8:0x330], "little")
    twin = write_signature(report, int.from_bytes(report[0x2A0:0x2E8], "little"), ORDER - s)
    assert twin != report
    assert check(twin, amd.certificate()) == check(report, amd.certificate())


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, 1), (1, 0), (0, 0), (ORDER, 1), (1, ORDER), (2**384 - 1, 1), (1, 2**384 - 1), (2**384, 1), (1, 2**576 - 1)],
)
def test_numbers_that_are_no_signature_are_refused(amd: FakeAmd, r: int, s: int) -> None:
    refused("signature", write_signature(amd.report(report_data=REPORT_DATA), r, s), amd.certificate())


def test_the_same_numbers_written_past_48_bytes_are_refused(amd: FakeAmd) -> None:
    report = bytearray(amd.report(report_data=REPORT_DATA))
    for offset in (0x2A0 + 48, 0x2A0 + 71, 0x2E8 + 48, 0x2E8 + 71):
        longer = report.copy()
        longer[offset] = 1
        refused("signature", bytes(longer), amd.certificate())


@pytest.mark.parametrize("version", [0, 1, 6, 7, 2**31, 2**32 - 1])
def test_unknown_versions_are_refused(amd: FakeAmd, version: int) -> None:
    refused("version", amd.report(version=version, report_data=REPORT_DATA), amd.certificate())


@pytest.mark.parametrize("number", [0, 2, 0x101, 2**32 - 1])
def test_other_signature_algorithms_are_refused(amd: FakeAmd, number: int) -> None:
    report = amd.report(report_data=REPORT_DATA, at_0x34=number.to_bytes(4, "little"))
    refused("signature-algorithm", report, amd.certificate())


@pytest.mark.parametrize(
    ("selector", "word"),
    [(1 << 1, "signing-key"), (0b110, "signing-key"), (7 << 2, "signing-key"), (2 << 2, "signing-key"),
     (1 << 5, "reserved"), (1 << 31, "reserved"), (1 << 2, "signing-key")],
)  # fmt: skip
def test_key_selectors_that_do_not_say_vcek_are_refused(amd: FakeAmd, selector: int, word: str) -> None:
    report = amd.report(report_data=REPORT_DATA, at_0x48=selector.to_bytes(4, "little"))
    refused(word, report, amd.certificate())


def test_a_vlek_that_says_it_is_a_vcek_is_refused(monkeypatch) -> None:
    amd = FakeAmd(signing_key=SigningKey.VLEK).install(monkeypatch)
    refused("signing-key", amd.report(report_data=REPORT_DATA, at_0x48=b"\0"), amd.certificate())


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_every_reserved_byte_must_be_zero(amd: FakeAmd, version: int) -> None:
    spans = [(0x4C, 0x50), (0x18B, 0x1A0), (0x1EB, 0x1EC), (0x1EF, 0x1F0), (0x208, 0x2A0)]
    spans += [(0x188, 0x18B)] if version == 2 else []
    spans += [(0x1F8, 0x208)] if version < 5 else []
    for start, end in spans:
        for offset in range(start, end):
            changed = {f"at_{offset:#x}": b"\x01"}
            report = amd.report(version=version, report_data=REPORT_DATA, **changed)
            refused("reserved", report, amd.certificate())


def test_every_byte_after_the_signature_must_be_zero(amd: FakeAmd) -> None:
    report = amd.report(report_data=REPORT_DATA)
    for offset in range(0x330, 1184):
        refused("reserved", report[:offset] + b"\x80" + report[offset + 1 :], amd.certificate())


@pytest.mark.parametrize("bit", [17, *range(26, 64)])
def test_reserved_bits_of_the_guest_policy_must_be_as_the_abi_says(amd: FakeAmd, bit: int) -> None:
    refused("reserved", amd.report(policy=0x20000 ^ 1 << bit, report_data=REPORT_DATA), amd.certificate())


@pytest.mark.parametrize(
    ("bit", "word", "flag"),
    [(19, "debug", "allow_insecure_debug"), (18, "migration-agent", "allow_migration_agent"), (16, "smt", "allow_smt")],
)
def test_each_weakness_of_the_guest_needs_its_own_flag(amd: FakeAmd, bit: int, word: str, flag: str) -> None:
    report = amd.report(policy=0x20000 | 1 << bit, report_data=REPORT_DATA)
    refused(word, report, amd.certificate())
    flags = ("allow_insecure_debug", "allow_migration_agent", "allow_smt")
    refused(word, report, amd.certificate(), replace(POLICY, **{name: name != flag for name in flags}))
    assert check(report, amd.certificate(), replace(POLICY, **{flag: True}))


def test_a_guest_on_a_cxl_link_is_refused(amd: FakeAmd) -> None:
    refused("cxl", amd.report(policy=0x20000 | 1 << 21, report_data=REPORT_DATA), amd.certificate())


def test_a_report_that_the_host_asked_for_is_refused(amd: FakeAmd) -> None:
    everything = replace(POLICY, vmpl=frozenset(range(4)))
    refused("vmpl", amd.report(vmpl=2**32 - 1, report_data=REPORT_DATA), amd.certificate(), everything)


@every_product
def test_a_masked_chip_id_under_a_vcek_is_refused(monkeypatch, product) -> None:
    amd = FakeAmd(product).install(monkeypatch)
    refused("chip-id", amd.report(report_data=REPORT_DATA, at_0x1A0=bytes(64)), amd.certificate())


@every_product
def test_another_chips_report_under_a_vcek_is_refused(monkeypatch, product) -> None:
    amd = FakeAmd(product).install(monkeypatch)
    for offset in (0x1A0, 0x1A7, 0x1A8, 0x1DF):
        report = amd.report(report_data=REPORT_DATA, **{f"at_{offset:#x}": b"\xee"})
        refused("chip-id", report, amd.certificate())


def test_a_chip_cannot_be_pinned_through_a_providers_key_that_hides_it(monkeypatch) -> None:
    amd = FakeAmd(signing_key=SigningKey.VLEK).install(monkeypatch)
    pinned = replace(POLICY, chip_ids=frozenset({b"\x07" * 64}))
    refused("chip-id", amd.report(report_data=REPORT_DATA), amd.certificate(), pinned)


@every_product
@pytest.mark.parametrize("part", ["bootloader", "tee", "snp", "microcode", "fmc"])
def test_a_reported_tcb_that_was_not_certified_is_refused_above_and_below(monkeypatch, product, part) -> None:
    amd = FakeAmd(product).install(monkeypatch)
    floor = replace(POLICY, minimum_tcb={product: Tcb(0, 0, 0, 0)})
    for step in (-1, 1):
        if part == "fmc" and product is not Product.TURIN:
            continue
        tcb = replace(TCB[product], **{part: getattr(TCB[product], part) + step})
        report = amd.report(report_data=REPORT_DATA, at_0x180=amd.tcb_bytes(tcb))
        refused("tcb-mismatch", report, amd.certificate(), floor)


@every_product
@pytest.mark.parametrize("offset", ["0x38", "0x1e0", "0x1f0"])
@pytest.mark.parametrize("part", ["bootloader", "tee", "snp", "microcode"])
def test_weak_firmware_now_committed_or_at_launch_is_refused(monkeypatch, product, offset, part) -> None:
    amd = FakeAmd(product).install(monkeypatch)
    weak = replace(TCB[product], **{part: getattr(TCB[product], part) - 1})
    report = amd.report(report_data=REPORT_DATA, **{f"at_{offset}": amd.tcb_bytes(weak)})
    refused("tcb", report, amd.certificate())


@every_product
@pytest.mark.parametrize("offset", [0x38, 0x180, 0x1E0, 0x1F0])
def test_unknown_components_of_a_tcb_are_refused(monkeypatch, product, offset) -> None:
    amd = FakeAmd(product).install(monkeypatch)
    for index in (4, 5, 6) if product is Product.TURIN else (2, 3, 4, 5):
        report = amd.report(report_data=REPORT_DATA, **{f"at_{offset + index:#x}": b"\x01"})
        refused("reserved", report, amd.certificate())


@every_product
def test_a_report_of_another_product_than_its_certificate_is_refused(monkeypatch, product) -> None:
    amd = FakeAmd(product).install(monkeypatch)
    others = [cpuid for other, cpuid in CPUID.items() if other is not product]
    for cpuid in (*others, (0, 0, 0), (0x19, 0xB1, 0), (0x1A, 0x22, 0), (0x17, 0x01, 0)):
        refused("product", amd.report(report_data=REPORT_DATA, at_0x188=bytes(cpuid)), amd.certificate())


def test_bergamo_and_siena_are_genoa(monkeypatch) -> None:
    amd = FakeAmd(Product.GENOA).install(monkeypatch)
    report = amd.report(report_data=REPORT_DATA, at_0x188=bytes((0x19, 0xA0, 2)))
    assert check(report, amd.certificate()).claims["product"] == "genoa"


@every_product
def test_a_certificate_for_another_product_under_this_products_root_is_refused(monkeypatch, product) -> None:
    amd = FakeAmd(product).install(monkeypatch)
    for name in (
        b"\x16\x06Venice",
        b"\x16\x00",
        b"\x0c\x05Milan",
        b"\x16\x05Mil\nn",
        b"\x16\x05Mil\xe4n",
        b"\x16\x07Milan",
    ):
        with pytest.raises(Refused) as caught:
            check(amd.report(report_data=REPORT_DATA), amd.certificate(replaced={"2": name}))
        assert caught.value.check in {"product", "certificate"}


@every_product
@every_kind
def test_a_certificate_that_lacks_an_extension_is_refused(monkeypatch, product, signing_key) -> None:
    amd = FakeAmd(product, signing_key).install(monkeypatch)
    needed = ["2", "3.1", "3.2", "3.3", "3.8", "4" if signing_key is SigningKey.VCEK else "5"]
    for oid in [*needed, "3.9"] if product is Product.TURIN else needed:
        refused("certificate", amd.report(report_data=REPORT_DATA), amd.certificate(without=(oid,)))


@pytest.mark.parametrize(
    "value",
    [b"", b"\x02", b"\x02\x01", b"\x02\x00", b"\x02\x01\xff", b"\x02\x02\x01\x00", b"\x04\x01\x04", b"\x02\x01\x04\x00",
     b"\x02\x81\x01\x04", b"\x02\x05\x01\x00\x00\x00\x04"],
)  # fmt: skip
def test_security_versions_that_are_not_one_byte_are_refused(amd: FakeAmd, value: bytes) -> None:
    refused("certificate", amd.report(report_data=REPORT_DATA), amd.certificate(replaced={"3.1": value}))


def test_a_certified_component_that_nobody_knows_is_refused(amd: FakeAmd) -> None:
    refused("certificate", amd.report(report_data=REPORT_DATA), amd.certificate(replaced={"3.6": b"\x02\x01\x01"}))


def test_an_extension_that_must_be_understood_and_is_not_is_refused(amd: FakeAmd) -> None:
    report = amd.report(report_data=REPORT_DATA)
    refused("certificate", report, amd.certificate(replaced={"9": b"\x05\x00"}, critical=("9",)))
    refused("certificate", report, amd.certificate(critical=("3.3",)))
    assert check(report, amd.certificate(replaced={"9": b"\x05\x00"}))


def test_identifiers_of_the_other_kind_of_key_are_refused(monkeypatch) -> None:
    amd = FakeAmd().install(monkeypatch)
    refused("certificate", amd.report(report_data=REPORT_DATA), amd.certificate(replaced={"5": b"\x16\x01a"}))
    amd = FakeAmd(signing_key=SigningKey.VLEK).install(monkeypatch)
    refused("certificate", amd.report(report_data=REPORT_DATA), amd.certificate(replaced={"4": bytes(64)}))


@every_product
def test_a_hardware_id_may_stand_bare_or_as_an_octet_string_and_in_no_other_length(monkeypatch, product) -> None:
    amd = FakeAmd(product).install(monkeypatch)
    report, hwid = amd.report(report_data=REPORT_DATA), amd.hwid
    assert hwid is not None
    assert check(report, amd.certificate(replaced={"4": bytes((4, len(hwid))) + hwid}))
    for wrong in (hwid[:-1], hwid + b"\0", bytes((4, len(hwid) + 1)) + hwid + b"\0", bytes((4, len(hwid) - 1)) + hwid):
        refused("certificate", report, amd.certificate(replaced={"4": wrong}))


def test_keys_that_are_not_on_p384_are_refused(amd: FakeAmd) -> None:
    for key in (ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP521R1()), rsa_key(2)):
        refused("certificate", amd.report(report_data=REPORT_DATA), amd.certificate(key=key.public_key()))


@pytest.mark.parametrize(
    "options",
    [{"rsa_padding": padding.PKCS1v15()}, {"hashed": hashes.SHA256()},
     {"hashed": hashes.SHA512(), "rsa_padding": padding.PSS(padding.MGF1(hashes.SHA512()), 64)}],
)  # fmt: skip
def test_certificates_signed_in_another_way_than_amds_are_refused(amd: FakeAmd, options) -> None:
    refused("chain", amd.report(report_data=REPORT_DATA), amd.certificate(**options))


def test_certificates_issued_by_another_key_or_in_another_name_are_refused(amd: FakeAmd) -> None:
    report = amd.report(report_data=REPORT_DATA)
    refused("chain", report, amd.certificate(signer=rsa_key(2)))
    refused("chain", report, amd.certificate(issuer="SEV-Genoa"))
    refused("chain", report, amd.certificate(issuer="ARK-Milan", signer=rsa_key(0)))


def test_an_intermediate_or_root_out_of_date_is_refused(amd: FakeAmd, monkeypatch) -> None:
    report, certificate = amd.report(report_data=REPORT_DATA), amd.certificate()
    late = amd.issue("SEV-Milan", rsa_key(1).public_key(), "ARK-Milan", rsa_key(0), end=AT - timedelta(seconds=1))
    monkeypatch.setattr(amd, "authority", replace(amd.authority, intermediate=late))
    refused("validity", report, certificate)
    early = amd.issue("ARK-Milan", rsa_key(0).public_key(), "ARK-Milan", rsa_key(0), start=AT + timedelta(seconds=1))
    monkeypatch.setattr(amd, "authority", replace(amd.authority, intermediate=amd.intermediate, root=early))
    refused("validity", report, certificate)


def test_a_certificate_out_of_date_is_refused(amd: FakeAmd) -> None:
    report = amd.report(report_data=REPORT_DATA)
    refused("validity", report, amd.certificate(end=AT - timedelta(seconds=1)))
    refused("validity", report, amd.certificate(start=AT + timedelta(seconds=1)))
    assert check(report, amd.certificate(start=START, end=END))


def test_a_report_of_the_room_next_door_is_refused(amd: FakeAmd) -> None:
    refused("report-data", amd.report(report_data=bytes(64)), amd.certificate())


def test_a_guest_that_puts_the_report_data_in_other_fields_is_refused(amd: FakeAmd) -> None:
    # What a guest or its host may choose freely: host data, family and image id, the digest of an unsigned id block.
    report = amd.report(at_0xC0=REPORT_DATA[:32], at_0x10=REPORT_DATA[:32], at_0xE0=REPORT_DATA[:48])
    refused("report-data", report, amd.certificate())
