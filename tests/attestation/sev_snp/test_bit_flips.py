"""Every single bit that is changed in real evidence is refused."""

import pytest

from support.snp_evidence import CASES, Case
from vesica_attestation.errors import Refused
from vesica_attestation.sev_snp import verify
from vesica_attestation.sev_snp.authentic import authenticate
from vesica_attestation.sev_snp.certificates import endorse

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@every
def test_every_bit_of_a_report_counts(case: Case) -> None:
    """All 9472 bits: what is signed, the signature, and the zeros behind it."""
    certificates = (case.der,)
    for bit in range(1184 * 8):
        with pytest.raises(Refused):
            authenticate(flipped(case.report, bit), certificates, case.at)


@every
def test_every_bit_of_a_certificate_counts(case: Case) -> None:
    for bit in range(len(case.der) * 8):
        with pytest.raises(Refused):
            endorse((flipped(case.der, bit),), case.at)


@every
def test_the_unchanged_evidence_is_accepted_by_the_same_calls(case: Case) -> None:
    assert verify(case.evidence, case.report_data, case.policy(), case.at)
    assert authenticate(case.report, (case.der,), case.at)
    assert endorse((case.der,), case.at)
