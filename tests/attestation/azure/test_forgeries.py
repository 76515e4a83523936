"""What no real evidence shows: made by a paravisor and an AMD of our own, taken for real, and refused all the same."""

import hashlib
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from support.azure_evidence import PCRS, REPORT_DATA, FakeAzure, encoded, hcl_report, runtime_claims, tpm_quote
from support.fake_amd import AT, TCB, FakeAmd, rsa_key
from vesica_attestation.azure import AzurePolicy, extra_data, verify
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.sev_snp import SevSnpPolicy
from vesica_attestation.sev_snp import verify as verify_snp
from vesica_attestation.sev_snp.abi import SigningKey

HARDWARE = SevSnpPolicy(
    launch_digests=frozenset({b"\xaa" * 48}),
    minimum_tcb=TCB,
    vmpl=frozenset({0}),
    allow_vlek=False,
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
POLICY = AzurePolicy(
    pcrs={4: frozenset({PCRS[4]}), 7: frozenset({b"\xee" * 32, PCRS[7]})},
    sev_snp=HARDWARE,
    tdx=None,
    allow_stale_hardware_report=False,
)
PUBLIC = rsa_key(7).public_key()


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> FakeAzure:
    return FakeAzure(FakeAmd().install(monkeypatch))


def refused(word: str, evidence: Evidence, policy: AzurePolicy = POLICY, kind: Kind = Kind.AZURE) -> None:
    with pytest.raises(Refused) as caught:
        verify(evidence, REPORT_DATA, policy, AT)
    assert (caught.value.kind, caught.value.check) == (kind, word)


def test_right_evidence_is_accepted_and_says_what_was_pinned(azure: FakeAzure) -> None:
    proved = verify(azure.evidence(), REPORT_DATA, POLICY, AT)
    assert proved.claims["extra_data"] == hashlib.sha256(REPORT_DATA).hexdigest()
    assert proved.claims["user_data"] == REPORT_DATA.hex()
    assert {"pcr.4", "pcr.7", "extra_data", "user_data", "sev_snp.debug"} <= proved.pinned <= set(proved.claims)


def test_every_bit_of_the_report_data_is_bound_even_with_a_stale_hardware_report(azure: FakeAzure) -> None:
    evidence, stale = azure.evidence(), replace(POLICY, allow_stale_hardware_report=True)
    for bit in range(512):
        other = bytearray(REPORT_DATA)
        other[bit // 8] ^= 1 << bit % 8
        for policy in (POLICY, stale):
            with pytest.raises(Refused) as caught:
                verify(evidence, bytes(other), policy, AT)
            assert caught.value.check == "report-data"


def test_extra_data_fits_the_smallest_tpm() -> None:
    assert len(extra_data(REPORT_DATA)) == 32


def test_the_same_layers_under_roots_that_nobody_pinned_are_refused() -> None:
    refused("chain", FakeAzure(FakeAmd()).evidence(), kind=Kind.SEV_SNP)


def test_a_guest_below_the_paravisor_that_makes_its_own_vtpm_is_refused(azure: FakeAzure) -> None:
    # A guest at VMPL 2 has the launch digest of the paravisor, and may ask for reports over anything.
    own = FakeAzure(azure.amd, rsa_key(9))
    lax = replace(POLICY, sev_snp=replace(HARDWARE, vmpl=frozenset({0, 1, 2, 3})))
    for vmpl in (1, 2, 3):
        refused("vmpl", own.evidence(report={"vmpl": vmpl}), lax)


def test_a_guest_that_booted_something_else_is_refused(azure: FakeAzure) -> None:
    for index in (4, 7):
        pcrs = list(PCRS)
        pcrs[index] = b"\x00" * 32
        refused("pcr", azure.evidence(pcrs=tuple(pcrs)))


def test_a_guest_that_sends_better_pcrs_than_it_booted_is_refused(azure: FakeAzure) -> None:
    booted = (*PCRS[:4], b"\x66" * 32, *PCRS[5:])
    message = tpm_quote(extra_data(REPORT_DATA), booted)
    refused("pcr-digest", azure.evidence(message=message, pcrs=PCRS))


def test_another_machines_attestation_key_is_refused(azure: FakeAzure) -> None:
    message = tpm_quote(extra_data(REPORT_DATA))
    refused("tpm-signature", azure.evidence(quote_signature=FakeAzure(azure.amd, rsa_key(9)).sign(message)))


def test_a_genuine_hardware_report_with_the_forgers_key_in_the_claims_is_refused(azure: FakeAzure) -> None:
    own = FakeAzure(azure.amd, rsa_key(9))
    genuine = azure.evidence().part("hcl_report")[32:1216]
    claims = runtime_claims(rsa_key(9).public_key(), REPORT_DATA)
    refused("runtime-claims", own.evidence(hcl_report=hcl_report(genuine, claims)))


@pytest.mark.parametrize("tail", [b"\x01".rjust(32, b"\0"), b"\x01".ljust(32, b"\0"), b"\xff" * 32])
def test_hardware_report_data_must_be_zero_behind_the_digest(azure: FakeAzure, tail: bytes) -> None:
    claims = runtime_claims(PUBLIC, REPORT_DATA)
    refused("runtime-claims", azure.evidence(claims=claims, bound=hashlib.sha256(claims).digest() + tail))


def test_yesterdays_quote_is_refused_though_the_hardware_report_is_new(azure: FakeAzure) -> None:
    refused("report-data", azure.evidence(message=tpm_quote(extra_data(bytes(64)))))


def test_yesterdays_hardware_report_is_refused_though_the_quote_is_new(azure: FakeAzure) -> None:
    old = azure.evidence(user_data=bytes(64))
    refused("freshness", old)
    assert verify(old, REPORT_DATA, replace(POLICY, allow_stale_hardware_report=True), AT)
    refused("freshness", azure.evidence(claims=runtime_claims(PUBLIC, b"")))
    refused("freshness", azure.evidence(user_data=extra_data(REPORT_DATA) + bytes(32)))


def test_user_data_alone_proves_nothing(azure: FakeAzure) -> None:
    # Any guest under the same paravisor can have this in its claims; without the quote it is not bound to what
    # booted.
    refused("report-data", azure.evidence(message=tpm_quote(b"")))
    refused("report-data", azure.evidence(message=tpm_quote(REPORT_DATA)))
    refused("report-data", azure.evidence(message=tpm_quote(REPORT_DATA[:32])))


def test_the_paravisor_under_debug_is_refused(azure: FakeAzure) -> None:
    refused("debug", azure.evidence(report={"policy": 0x20000 | 1 << 19}), kind=Kind.SEV_SNP)


def test_weak_firmware_under_the_paravisor_is_refused(azure: FakeAzure) -> None:
    weak = azure.amd.tcb_bytes(replace(TCB[azure.amd.product], snp=23))
    refused("tcb", azure.evidence(report={"at_0x1F0": weak}), kind=Kind.SEV_SNP)


def test_a_providers_key_under_azure_is_refused_unless_allowed(monkeypatch) -> None:
    azure = FakeAzure(FakeAmd(signing_key=SigningKey.VLEK).install(monkeypatch))
    refused("vlek", azure.evidence(), kind=Kind.SEV_SNP)
    assert verify(azure.evidence(), REPORT_DATA, replace(POLICY, sev_snp=replace(HARDWARE, allow_vlek=True)), AT)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tpm-magic", {"magic": b"\x00TCG"}),
        ("tpm-magic", {"magic": b"TCG\xff"}),
        ("tpm-type", {"kind": b"\x80\x17"}),
        ("tpm-type", {"kind": b"\x80\x14"}),
        ("format", {"name": b"\x00\x00"}),
        ("format", {"name": b"\x00\x22\x00\x0c" + bytes(32)}),
        ("format", {"name": b"\x00\x23\x00\x0b" + bytes(33)}),
        ("pcr-selection", {"selection": b"\x00\x00\x00\x01\x00\x04\x03\xff\xff\xff"}),
        ("pcr-selection", {"selection": b"\x00\x00\x00\x01\x00\x0b\x03\xff\xff\xfe"}),
        ("pcr-selection", {"selection": b"\x00\x00\x00\x01\x00\x0b\x03\x00\x00\x00"}),
        ("pcr-selection", {"selection": b"\x00\x00\x00\x01\x00\x0b\x02\xff\xff"}),
        ("pcr-selection", {"selection": b"\x00\x00\x00\x02\x00\x0b\x03\xff\xff\xff\x00\x0b\x03\xff\xff\xff"}),
        ("pcr-selection", {"selection": b"\x00\x00\x00\x00"}),
        ("format", {"digest": b"\x01" * 31}),
        ("format", {"digest": b"\x01" * 48}),
        ("pcr-digest", {"digest": b"\x01" * 32}),
    ],
)
def test_signed_messages_that_are_no_quote_of_all_pcrs_are_refused(azure: FakeAzure, word: str, message: dict) -> None:
    refused(word, azure.evidence(message=tpm_quote(extra_data(REPORT_DATA), **message)))


def test_extra_data_longer_than_a_tpm_takes_is_refused(azure: FakeAzure) -> None:
    refused("format", azure.evidence(message=tpm_quote(bytes(65))))


@pytest.mark.parametrize(
    "options",
    [{"scheme": padding.PSS(padding.MGF1(hashes.SHA256()), 32)}, {"algorithm": hashes.SHA1()},
     {"algorithm": hashes.SHA512()}],
)  # fmt: skip
def test_quotes_signed_with_another_scheme_are_refused(azure: FakeAzure, options) -> None:
    signature = azure.sign(tpm_quote(extra_data(REPORT_DATA)), **options)
    refused("tpm-signature", azure.evidence(quote_signature=signature))


def jwk(**changes) -> dict:
    modulus = encoded(PUBLIC.public_numbers().n.to_bytes(256, "big"))
    return {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": modulus, **changes}


@pytest.mark.parametrize(
    "keys",
    [
        [],
        None,
        "HCLAkPub",
        [None],
        {"HCLAkPub": jwk()},
        [jwk(kid="HCLTransferKey")],
        [jwk(kid="HCLEkPub")],
        [jwk(), jwk()],
        [jwk(kty="EC")],
        [jwk(e="AQ")],
        [jwk(e="Aw")],
        [jwk(key_ops=["encrypt"])],
        [jwk(key_ops=["sign", "encrypt"])],
        [jwk(n="")],
        [jwk(n=5)],
        [jwk(n="!" * 342)],
        [jwk(n="\u00fc" * 342)],
        [jwk(n=jwk()["n"] + "=")],
        [jwk(n=jwk()["n"] + "=\n")],
        [jwk(n=jwk()["n"][:-1])],
        [jwk(n=encoded(bytes(256)))],
        [jwk(n=encoded(b"\xff" * 128))],
        [jwk(n=encoded(b"\xff" * 255 + b"\xfe"))],
        [jwk(n=encoded(b"\x7f" + b"\xff" * 255))],
        [jwk(n=encoded(b"\x00" + b"\xff" * 256))],
    ],
)
def test_claims_that_do_not_name_one_attestation_key_are_refused(azure: FakeAzure, keys) -> None:
    refused("attestation-key", azure.evidence(claims=runtime_claims(PUBLIC, REPORT_DATA, keys=keys)))


def test_a_name_that_stands_twice_is_refused_wherever_it_stands(azure: FakeAzure) -> None:
    # A host that may choose a text which a paravisor writes without escaping could add a second list of keys.
    claims = runtime_claims(PUBLIC, REPORT_DATA)
    own = json.dumps([jwk(n=encoded(b"\xff" * 256))]).encode()
    for twice in (b'{"keys": ' + own + b", " + claims[1:], claims[:-1] + b', "keys": ' + own + b"}",
                  claims.replace(b'"secure-boot": true', b'"secure-boot": false, "secure-boot": true'),
                  claims.replace(b'"kid"', b'"kid": "x", "kid"', 1)):  # fmt: skip
        assert twice != claims
        refused("format", azure.evidence(claims=twice))


@pytest.mark.parametrize(
    "claims",
    [b"x", b"[]", b"null", b"{", b"[" * 3000, b'{"a":' * 900 + b"1" + b"}" * 900, b"\xff\xfe{}", b"\xef\xbb\xbf{}",
     b"1" * 5000, '{"keys": []}'.encode("utf-16"), b"NaN"],
)  # fmt: skip
def test_claims_that_are_not_a_json_object_are_refused(azure: FakeAzure, claims: bytes) -> None:
    refused("attestation-key" if claims.startswith(b'{"a"') else "format", azure.evidence(claims=claims))


@pytest.mark.parametrize(
    "changes",
    [
        {"user-data": "00"},
        {"user-data": "00" * 65},
        {"user-data": "zz" * 64},
        {"user-data": 5},
        {"user-data": None},
        {"user-data": "\u0660" * 128},
        {"vm-configuration": []},
        {"vm-configuration": {"secure-boot": "yes"}},
        {"vm-configuration": {"console-enabled": 1}},
        {"vm-configuration": {"vmUniqueId": "\u001b[2Jtrust me"}},
        {"vm-configuration": {"vmUniqueId": "a" * 65}},
        {"vm-configuration": {"vmUniqueId": 7}},
        {"number": float("nan")},
        {"number": float("inf")},
    ],
)
def test_claims_of_another_shape_are_refused(azure: FakeAzure, changes) -> None:
    refused("format", azure.evidence(claims=runtime_claims(PUBLIC, REPORT_DATA, **changes)))


def test_claims_that_nobody_reads_may_be_there_and_are_not_passed_on(azure: FakeAzure) -> None:
    claims = runtime_claims(PUBLIC, REPORT_DATA, **{"vm-configuration": {}, "new": [1, {"secret": 2}]})
    proved = verify(azure.evidence(claims=claims), REPORT_DATA, POLICY, AT)
    assert not [name for name in proved.claims if "host_says" in name or "new" in name]


@pytest.mark.parametrize(
    ("word", "options"),
    [("version", {"version": 0}), ("version", {"version": 3}), ("format", {"request": 1}), ("format", {"request": 3}),
     ("format", {"hardware": 1}), ("format", {"hardware": 3}), ("format", {"hashed": 2}),
     ("trailing-bytes", {"rest": b"\x01"}), ("format", {"rest": bytes(8192)}),
     ("trailing-bytes", {"rest": bytes(98) + b"\x80"})],
)  # fmt: skip
def test_wrappings_of_another_kind_are_refused(azure: FakeAzure, word: str, options: dict) -> None:
    claims = runtime_claims(PUBLIC, REPORT_DATA)
    report = azure.evidence(claims=claims).part("hcl_report")[32:1216]
    refused(word, azure.evidence(claims=claims, hcl_report=hcl_report(report, claims, **options)))


@pytest.mark.parametrize("offset", [0, 3, 8, 16, 20, 24, 28, 31, 1216, 1220, 1232])
def test_sizes_and_fields_of_the_wrapping_that_do_not_agree_are_refused(azure: FakeAzure, offset: int) -> None:
    report = bytearray(azure.evidence().part("hcl_report"))
    report[offset] ^= 1
    refused("format", azure.evidence(hcl_report=bytes(report)))


def test_an_amd_report_that_calls_itself_intels_is_refused(azure: FakeAzure) -> None:
    claims = runtime_claims(PUBLIC, REPORT_DATA)
    report = azure.evidence(claims=claims).part("hcl_report")[32:1216]
    evidence = azure.evidence(claims=claims, hcl_report=hcl_report(report, claims, hardware=4))
    refused("format", evidence)  # certificates are no part of Intel's
    refused("trailing-bytes", azure.evidence(hcl_report=hcl_report(b"\x01" * 1184, claims, hardware=4)))


def test_a_paravisors_report_is_no_evidence_of_the_plain_kind(azure: FakeAzure) -> None:
    # A room on plain SEV-SNP whose policy named the paravisor's digest by mistake: the report data is a digest and
    # zeros.
    evidence = azure.evidence()
    parts = {"report": evidence.part("hcl_report")[32:1216], "certificates": evidence.many("certificates")}
    with pytest.raises(Refused) as caught:
        verify_snp(Evidence(Kind.SEV_SNP, parts), REPORT_DATA, HARDWARE, AT)
    assert caught.value.check == "report-data"


def test_a_small_attestation_key_is_refused(azure: FakeAzure) -> None:
    small = rsa.generate_private_key(65537, 1024)
    claims = runtime_claims(
        PUBLIC, REPORT_DATA, keys=[jwk(n=encoded(small.public_key().public_numbers().n.to_bytes(128, "big")))]
    )
    refused("attestation-key", FakeAzure(azure.amd, small).evidence(claims=claims))
