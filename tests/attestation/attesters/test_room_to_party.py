"""From a room's keys to a party's verdict: binding, attester, wire, policy, verifier, on an AMD of our own."""

import json
from dataclasses import fields, replace

import pytest

from support.attesters import VCEK, table
from support.fake_amd import AT, FakeAmd
from support.tsm import Provider, Tsm
from vesica_attestation.attester import Supplies, Surroundings, choose
from vesica_attestation.binding import Binding
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import from_json
from vesica_attestation.policy import parse_policy
from vesica_attestation.software import InsecureSoftwareAttester
from vesica_attestation.verifier import verify

BINDING = Binding(b"n" * 32, b"t" * 32, b"h" * 32, b"r" * 32, b"a" * 32)
POLICY = f"""
[sev_snp]
launch_digests = ["{"aa" * 48}"]
vmpl = [0]
minimum_tcb.milan = {{ bootloader = 4, tee = 1, snp = 24, microcode = 219 }}
"""


@pytest.fixture
def wire(mount, monkeypatch, tmp_path):
    """What a room in an SEV-SNP guest sends for a binding, as text."""
    amd = FakeAmd().install(monkeypatch)

    def report(inblob: bytes, privlevel: int) -> tuple[bytes, bytes]:
        return amd.report(report_data=inblob, vmpl=privlevel), table({VCEK: amd.certificate()})

    none = tmp_path / "none"
    place = mount(Tsm(Provider("sev_guest", report, levelled=True)))
    attester = choose("auto", Supplies(), Surroundings(place, none, none, none, (none,)))
    return lambda binding: json.dumps(attester.attest(binding.report_data()).to_json())


def appraise(text: str, binding: Binding, policy: str = POLICY):
    return verify(from_json(json.loads(text)), binding.report_data(), parse_policy(policy.encode()), AT)


def test_a_party_that_saw_what_the_room_bound_accepts_it(wire):
    result = appraise(wire(BINDING), BINDING)
    assert not result.insecure
    ear = result.as_ear()
    assert ear["submods"]["sev-snp"]["ear.status"] == "affirming"
    assert ear["vesica.report-data"] == BINDING.report_data().hex()
    assert "launch_digest" in ear["submods"]["sev-snp"]["vesica.pinned"]


@pytest.mark.parametrize("name", [field.name for field in fields(Binding)])
def test_a_party_that_saw_another_nonce_key_or_agreement_refuses_it(wire, name):
    """Yesterday's evidence, a proxy's TLS key, another room's keys, another agreement: one field each."""
    with pytest.raises(Refused, match="report-data"):
        appraise(wire(BINDING), replace(BINDING, **{name: b"x" * 32}))


def test_software_evidence_is_refused_by_a_policy_for_hardware_and_contraindicated_where_it_is_allowed(wire):
    text = json.dumps(InsecureSoftwareAttester().attest(BINDING.report_data()).to_json())
    with pytest.raises(Refused) as caught:
        appraise(text, BINDING)
    assert caught.value.check == "policy"
    result = appraise(text, BINDING, "allow_insecure_software = true")
    assert result.insecure
    assert result.as_ear()["submods"]["insecure-software"]["ear.status"] == "contraindicated"
    with pytest.raises(Refused):
        appraise(wire(BINDING), BINDING, "allow_insecure_software = true")


def test_evidence_that_calls_itself_another_kind_is_refused(wire):
    document = json.loads(wire(BINDING))
    both = "allow_insecure_software = true\n" + POLICY
    for kind in ("tdx", "nitro", "azure", "tpm", "confidential-space", "insecure-software"):
        with pytest.raises(Refused):
            appraise(json.dumps(document | {"kind": kind}), BINDING, both)
