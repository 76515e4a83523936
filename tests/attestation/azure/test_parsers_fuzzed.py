"""Whatever the bytes, the parsers return or raise Refused; nothing else comes out."""

import json
from contextlib import suppress
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from support.azure_evidence import SNP_FOLDER, TDX_FOLDER, real
from support.edits import EDITS, edited
from vesica_attestation._tpm.quote import parse_quote
from vesica_attestation.azure.abi import parse_hcl, parse_runtime_claims
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

REAL = [real(SNP_FOLDER), real(TDX_FOLDER)]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=140),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["keys", "vm-configuration", "user-data", "secure-boot", "vmUniqueId", "kid", "n"])


@settings(max_examples=1000)
@given(st.sampled_from(REAL), EDITS)
def test_a_real_hcl_report_with_edits(evidence, changes) -> None:
    with suppress(Refused):
        found = parse_hcl(edited(evidence.part("hcl_report"), changes))
        assert len(found.report) in {1024, 1184}
        parse_runtime_claims(found.variable_data)


@settings(max_examples=1000)
@given(st.sampled_from(REAL), EDITS)
def test_a_real_quote_with_edits(evidence, changes) -> None:
    with suppress(Refused):
        assert len(parse_quote(Kind.AZURE, edited(evidence.part("quote_message"), changes)).extra_data) <= 64


@settings(max_examples=1000)
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for parse in (parse_hcl, partial(parse_quote, Kind.AZURE), parse_runtime_claims):
        with suppress(Refused):
            parse(data)


@settings(max_examples=1000)
@given(st.dictionaries(names, values | st.dictionaries(names, values), max_size=4))
def test_any_json_as_runtime_claims(document) -> None:
    with suppress(Refused):
        parse_runtime_claims(json.dumps(document).encode())


@settings(max_examples=1000)
@given(st.dictionaries(names, values, max_size=5))
def test_any_json_as_a_key(key) -> None:
    with suppress(Refused):
        parse_runtime_claims(json.dumps({"keys": [{"kid": "HCLAkPub", **key}]}).encode())
