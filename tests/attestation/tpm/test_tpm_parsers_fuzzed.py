"""Whatever the bytes, the parsers return or raise Refused; nothing else comes out."""

from contextlib import suppress
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from support.edits import EDITS, edited
from support.tpm_evidence import AT, REPORT_DATA, FakeTpm
from vesica_attestation import tpm
from vesica_attestation._tpm.quote import parse_quote
from vesica_attestation._tpm.signature import parse_signature
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.tpm.abi import parse_public
from vesica_attestation.tpm.certificates import certificates_in
from vesica_attestation.tpm.event_log import parse_log

FAKE = FakeTpm()
RIGHT = FAKE.evidence()
PARSERS = {
    "quote_message": partial(parse_quote, Kind.TPM),
    "quote_signature": partial(parse_signature, Kind.TPM),
    "attestation_key": parse_public,
    "event_log": parse_log,
}


@settings(max_examples=1000)
@given(st.sampled_from(sorted(PARSERS)), EDITS)
def test_a_right_part_with_edits(name, changes) -> None:
    with suppress(Refused):
        PARSERS[name](edited(RIGHT.part(name), changes))


@settings(max_examples=1000)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for parse in PARSERS.values():
        with suppress(Refused):
            parse(data)
    with suppress(ValueError):
        certificates_in(data)


@settings(max_examples=300)
@given(st.sampled_from(sorted(PARSERS)), EDITS)
def test_right_evidence_with_an_edited_part_is_refused_or_says_the_same(name, changes) -> None:
    changed = edited(RIGHT.part(name), changes)
    with suppress(Refused):
        proved = tpm.verify(Evidence(Kind.TPM, {**RIGHT.parts, name: changed}), REPORT_DATA, FAKE.policy(), AT)
        assert changed == RIGHT.part(name) or name in {"event_log", "quote_signature"}
        assert proved == tpm.verify(RIGHT, REPORT_DATA, FAKE.policy(), AT)


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from([*RIGHT.parts, "x"]), st.binary(max_size=80) | st.lists(st.binary(max_size=40)).map(tuple)
    )
)
def test_any_parts(parts) -> None:
    with suppress(Refused):
        tpm.verify(Evidence(Kind.TPM, {**RIGHT.parts, **parts}), REPORT_DATA, FAKE.policy(), AT)
