"""Whatever the bytes, the parsers return or raise Refused; nothing else comes out."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.edits import EDITS, edited
from support.snp_evidence import CASES
from vesica_attestation.errors import Refused
from vesica_attestation.sev_snp.abi import REPORT_BYTES, Product, parse_report, parse_tcb
from vesica_attestation.sev_snp.certificates import endorse

CASE = CASES["turin-v5"]


@settings(max_examples=1500)
@given(st.one_of(st.binary(max_size=64), st.binary(min_size=REPORT_BYTES, max_size=REPORT_BYTES)))
def test_any_bytes_as_a_report(data: bytes) -> None:
    with suppress(Refused):
        parse_report(data)


@settings(max_examples=1500)
@given(EDITS)
def test_a_real_report_with_edits(changes: list[tuple[int, bytes]]) -> None:
    with suppress(Refused):
        report = parse_report(edited(CASE.report, changes))
        assert len(report.report_data) == 64
        assert report.version in range(2, 6)


@given(st.binary(min_size=8, max_size=8), st.sampled_from(Product))
def test_any_bytes_as_a_tcb(raw: bytes, product: Product) -> None:
    with suppress(Refused):
        tcb = parse_tcb(raw, product)
        assert sum(raw) == tcb.bootloader + tcb.tee + tcb.snp + tcb.microcode + tcb.fmc


@settings(max_examples=1500, deadline=None)
@given(EDITS)
def test_a_real_certificate_with_edits_is_the_same_or_refused(changes: list[tuple[int, bytes]]) -> None:
    data = edited(CASE.der, changes)
    if data == CASE.der:
        assert endorse((data,), CASE.at)
    else:
        with pytest.raises(Refused):
            endorse((data,), CASE.at)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_as_certificates(certificates: list[bytes]) -> None:
    with pytest.raises(Refused):
        endorse(tuple(certificates), CASE.at)
