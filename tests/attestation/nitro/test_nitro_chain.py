"""Forgeries of the chain and the signature: everything is right but one thing. The verifier trusts a fake AWS here."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from support import nitro_documents as make
from support.nitro_documents import MADE_AT, FakeAws
from vesica_attestation import nitro
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.nitro import NitroPolicy, abi, authentic

REPORT_DATA = bytes(range(64))
POLICY = NitroPolicy(frozenset({make.PCR0}), max_age_seconds=300)


def verify(document: bytes):
    return nitro.verify(Evidence(Kind.NITRO, {"document": document}), REPORT_DATA, POLICY, MADE_AT)


def refusal(document: bytes) -> str:
    with pytest.raises(Refused) as caught:
        verify(document)
    return caught.value.check


def trusted(monkeypatch: pytest.MonkeyPatch, **changed) -> FakeAws:
    """A fake AWS with one certificate made otherwise, whose root the verifier trusts."""
    fake = make.make_aws(**changed)
    monkeypatch.setattr(authentic, "ROOT", fake.root.certificate)
    return fake


def test_document_of_a_trusted_chain_is_accepted(aws):
    assert verify(aws.document()).pinned == {"launch_digest"}


def test_document_in_all_right_form_is_refused_without_the_real_root():
    assert refusal(make.fake_aws().document()) == "root"


def test_forged_root_with_the_same_name_is_refused(aws):
    assert refusal(make.make_aws().document()) == "root"


def test_forged_chain_that_carries_the_real_root_is_refused(aws):
    forger = make.make_aws()
    assert refusal(forger.document(cabundle=[aws.root.der, *forger.bundle[1:]])) == "chain"


def test_leaf_that_signed_itself_is_refused(aws):
    leaf = make.issue("i-0.aws", None, ca=False, usage=make.SIGNING)
    payload = make.encode(aws.fields(certificate=leaf.der))
    assert refusal(make.sign(leaf, payload)) == "chain"


def test_leaf_of_another_chain_under_the_same_root_is_refused(aws):
    zonal = make.intermediate("zonal.other.aws.nitro-enclaves", 1)(aws.regional)
    leaf = make.leaf(make.intermediate("i-1.other.aws.nitro-enclaves", 0)(zonal))
    payload = make.encode(aws.fields(certificate=leaf.der))
    assert refusal(make.sign(leaf, payload)) == "chain"


def _bundles(aws: FakeAws) -> dict[str, tuple[list[bytes], str]]:
    root, regional, zonal, instance = aws.bundle
    return {
        "no root": ([regional, zonal, instance], "root"),
        "leaf first": ([instance, zonal, regional, root], "root"),
        "only the root": ([root], "chain"),
        "a link missing": ([root, regional, instance], "chain"),
        "a link twice": ([root, regional, regional, zonal, instance], "chain"),
        "the root twice": ([root, root, regional, zonal, instance], "chain"),
        "two links swapped": ([root, zonal, regional, instance], "chain"),
        "the leaf among them": ([root, regional, zonal, instance, aws.leaf.der], "chain"),
        "a stranger at the end": ([root, regional, zonal, instance, make.make_aws().zonal.der], "chain"),
        "not a certificate": ([root, regional, zonal, b"\x30\x03\x02\x01\x00"], "format"),
        "a certificate and a byte": ([root, regional, zonal, instance + b"\0"], "format"),
    }


@pytest.mark.parametrize("what", _bundles(make.fake_aws()))
def test_bundle_that_is_not_exactly_the_chain_is_refused(aws, what):
    bundle, check = _bundles(aws)[what]
    assert refusal(aws.document(cabundle=bundle)) == check


def _extended(usage: object) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    return ((usage, False),)


CERTIFICATES = {
    "a leaf that is an authority": {"leaf": lambda by: make.leaf(by, ca=True)},
    "a leaf that may not sign": {"leaf": lambda by: make.leaf(by, usage=make.IDLE)},
    "a leaf that does not say what it may": {"leaf": lambda by: make.leaf(by, usage=None)},
    "a leaf that does not say what it is": {"leaf": lambda by: make.leaf(by, basic=False)},
    "a leaf with an unknown critical extension": {"leaf": lambda by: make.leaf(by, extra=(make.UNKNOWN_CRITICAL,))},
    "an issuer that is no authority": {"instance": make.intermediate("i-0", None, ca=False)},
    "an issuer that may not issue": {"instance": make.intermediate("i-0", 0, usage=make.SIGNING)},
    "an issuer that does not say what it may": {"instance": make.intermediate("i-0", 0, usage=None)},
    "an issuer of leaves that issued an issuer": {"zonal": make.intermediate("zonal", 0)},
    "an issuer with an unknown critical extension": {
        "zonal": make.intermediate("zonal", 1, extra=(make.UNKNOWN_CRITICAL,))
    },
}


@pytest.mark.parametrize("what", CERTIFICATES)
def test_chain_that_breaks_a_rule_of_its_certificates_is_refused(monkeypatch, what):
    assert refusal(trusted(monkeypatch, **CERTIFICATES[what]).document()) == "chain"


@pytest.mark.parametrize("member", ["regional", "zonal", "instance", "leaf"])
@pytest.mark.parametrize("when", ["not yet", "no longer"])
def test_certificate_that_was_not_valid_when_the_document_was_made_is_refused(monkeypatch, member, when):
    second = timedelta(seconds=1)
    times = (
        {"start": MADE_AT + second, "end": MADE_AT + 2 * second}
        if when == "not yet"
        else {"start": MADE_AT - 3 * second, "end": MADE_AT - 2 * second}
    )
    maker = (lambda by: make.leaf(by, **times)) if member == "leaf" else make.intermediate(member, None, **times)
    assert refusal(trusted(monkeypatch, **{member: maker}).document()) == "validity"


def test_certificates_are_judged_at_the_documents_time_not_at_ours(aws):
    after_the_leaf = MADE_AT + timedelta(hours=4)
    policy = NitroPolicy(frozenset({make.PCR0}), max_age_seconds=5 * 3600)
    evidence = Evidence(Kind.NITRO, {"document": aws.document()})
    assert nitro.verify(evidence, REPORT_DATA, policy, after_the_leaf).pinned == {"launch_digest"}


def test_document_dated_back_into_the_life_of_an_old_leaf_is_still_too_old(aws):
    document = aws.document(timestamp=int((MADE_AT - timedelta(minutes=30)).timestamp() * 1000))
    assert refusal(document) == "age"


def test_leaf_on_another_curve_is_refused(monkeypatch):
    fake = trusted(monkeypatch, leaf=lambda by: make.leaf(by, curve=ec.SECP256R1()))
    assert refusal(fake.document()) == "algorithm"


def test_signature_by_another_key_of_the_chain_is_refused(aws):
    assert refusal(make.sign(aws.instance, make.encode(aws.fields()))) == "signature"


def test_signature_over_the_payload_alone_is_refused(aws):
    payload = make.encode(aws.fields())
    signature = make.raw_signature(aws.leaf, payload)
    assert refusal(make.encode([abi.PROTECTED, {}, payload, signature])) == "signature"


def test_signature_with_external_data_is_refused(aws):
    assert refusal(make.sign(aws.leaf, make.encode(aws.fields()), aad=b"another protocol")) == "signature"


@pytest.mark.parametrize("r", [0, 1, 2**384 - 1])
@pytest.mark.parametrize("s", [0, 1, 2**384 - 1])
def test_degenerate_signatures_are_refused(aws, r, s):
    signature = r.to_bytes(48, "big") + s.to_bytes(48, "big")
    assert refusal(make.encode([abi.PROTECTED, {}, make.encode(aws.fields()), signature])) == "signature"


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_certificate_with_serial_number_zero_is_refused_and_not_only_warned_of(aws):
    version_and_serial = b"\xa0\x03\x02\x01\x02\x02\x01"
    leaf = make.leaf(aws.instance, serial=1).der
    assert leaf.count(version_and_serial + b"\x01") == 1
    zero = leaf.replace(version_and_serial + b"\x01", version_and_serial + b"\x00")
    assert refusal(aws.document(certificate=leaf)) == "signature"
    assert refusal(aws.document(certificate=zero)) == "format"


def test_many_authorities_of_one_name_do_not_make_the_verifier_search(aws):
    key = make.issue("loop", None, ca=True, usage=make.ISSUING)
    loops = [make.issue("loop", key, ca=True, usage=make.ISSUING) for _ in range(6)]
    leaf = make.leaf(loops[0])
    payload = make.encode(aws.fields(certificate=leaf.der, cabundle=[aws.root.der, *(loop.der for loop in loops)]))
    assert refusal(make.sign(leaf, payload)) == "chain"
