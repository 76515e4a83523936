"""The parsers: exactly the format, and only Refused on anything else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.fake_intel import FakeIntel, sgx_extension, td_report
from support.tdx import UP_TO_DATE_AT, real, refusal
from vesica_attestation.errors import Refused
from vesica_attestation.tdx import abi
from vesica_attestation.tdx.authentic import check_signatures
from vesica_attestation.tdx.collateral import COLLATERAL_BYTES_MAX, read_collateral
from vesica_attestation.tdx.dstack import EVENT_LOG_BYTES_MAX, replay
from vesica_attestation.tdx.pck import read_sgx_extension

QUOTE = real("tdx", "v4-uptodate", "quote.bin").rstrip(b"\0") + b"\0"  # the NUL ends the PCK chain's text
QUOTE_V5 = real("tdx", "v5-no-tcb-level", "quote.bin")
COLLATERAL = real("tdx", "v4-uptodate", "collateral.json")
EVENT_LOG = real("dstack", "tdx-2026", "event_log.json")
SIGNATURE_DATA_AT, CERTIFICATION_AT = 632, 636 + 128


def replaced(data: bytes, at: int, value: bytes) -> bytes:
    """The same with bytes replaced from a place on."""
    return data[:at] + value + data[at + len(value) :]


def test_the_quote_without_padding_is_as_good():
    check_signatures(QUOTE, UP_TO_DATE_AT)
    assert len(QUOTE) == 5006 - 70


def test_zeros_after_the_signature_data_are_allowed_up_to_the_limit():
    check_signatures(QUOTE.ljust(abi.QUOTE_BYTES_MAX, b"\0"), UP_TO_DATE_AT)
    assert refusal(lambda: abi.parse_quote(QUOTE.ljust(abi.QUOTE_BYTES_MAX + 1, b"\0"))) == "format"


@pytest.mark.parametrize("place", [0, 1, 69])
def test_any_other_byte_after_the_signature_data_is_refused(place):
    padded = QUOTE + bytes(70)
    assert refusal(lambda: abi.parse_quote(replaced(padded, len(QUOTE) + place, b"\1"))) == "trailing-bytes"


@pytest.mark.parametrize("quote", [QUOTE, QUOTE_V5], ids=["v4", "v5"])
def test_a_quote_cut_off_at_any_length_is_refused(quote):
    for length in range(len(quote)):
        assert refusal(lambda length=length: abi.parse_quote(quote[:length])) in {"format", "tee-type"}


@pytest.mark.parametrize(
    ("at", "value", "check"),
    [
        (0, b"\3\0", "version"),
        (0, b"\6\0", "version"),
        (0, b"\5\0", "body-type"),
        (2, b"\3\0", "key-type"),
        (4, bytes(4), "tee-type"),
        (4, b"\x81\0\0\1", "tee-type"),
        (8, b"\1", "format"),
        (10, b"\1", "format"),
        (12, b"\0", "qe-vendor"),
        (CERTIFICATION_AT, b"\5\0", "certification-type"),
        (CERTIFICATION_AT, b"\1\0", "certification-type"),
    ],
)
def test_a_form_that_is_not_known_is_refused(at, value, check):
    assert refusal(lambda: abi.parse_quote(replaced(QUOTE, at, value))) == check


@pytest.mark.parametrize(
    "at", [SIGNATURE_DATA_AT, CERTIFICATION_AT + 2, CERTIFICATION_AT + 6 + 448, 5006 - 70 - 3678 - 4]
)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_length_that_does_not_fit_is_refused(at, change):
    size = 2 if at == CERTIFICATION_AT + 6 + 448 else 4
    value = int.from_bytes(QUOTE[at : at + size], "little") + change
    with pytest.raises(Refused):
        abi.parse_quote(replaced(QUOTE, at, value.to_bytes(size, "little")))


@pytest.mark.parametrize("body", [b"\1\0\x80\1\0\0", b"\4\0\x88\2\0\0", b"\3\0\x48\2\0\0", b"\2\0\x88\2\0\0"])
def test_a_version_5_body_of_another_type_or_size_is_refused(body):
    assert refusal(lambda: abi.parse_quote(replaced(QUOTE_V5, 48, body))) == "body-type"


def test_a_version_5_quote_may_carry_a_td_report_1_0():
    report = abi.parse_quote(FakeIntel().quote(version=5, td_15=False)).report
    assert (report.tee_tcb_svn2, report.mrservicetd) == (None, None)


@pytest.mark.parametrize("size", [0, 583, 585, 647, 649])
def test_a_td_report_of_another_length_is_refused(size):
    assert refusal(lambda: abi.parse_td_report(bytes(size))) == "format"


def test_every_field_of_a_td_report_is_read_from_its_own_place():
    names = ["tee_tcb_svn", "mrseam", "mrsignerseam", "mrtd", "mrconfigid", "mrowner", "mrownerconfig", "tee_tcb_svn2"]
    sizes = {name: 16 if "svn" in name else 48 for name in names} | {"xfam": 8, "seamattributes": 8}
    fields = {name: bytes([number + 1]) * size for number, (name, size) in enumerate(sizes.items())}
    registers = {f"rtmr{number}": bytes([0x50 + number]) * 48 for number in range(4)}
    report = abi.parse_td_report(td_report(version=5, **fields, **registers))
    assert {name: getattr(report, name) for name in fields} == fields
    assert report.rtmrs == tuple(registers.values())


@pytest.mark.parametrize(
    "chain",
    [b"", b"\0", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_a_chain_that_is_no_chain_is_refused(chain):
    quote = FakeIntel().quote(chain=chain)
    assert refusal(lambda: check_signatures(quote, UP_TO_DATE_AT)) == "format"


@pytest.mark.parametrize(
    "change",
    [
        lambda pem: pem + b"\0",
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: b"\n" + pem,
        lambda pem: b"# a note\n" + pem,
        lambda pem: pem[: pem.rindex(b"-----BEGIN")],
        lambda pem: pem + pem[pem.rindex(b"-----BEGIN") :],
    ],
    ids=["two NULs", "CRLF", "empty line", "a note", "without a root", "the root twice"],
)
def test_the_chain_has_one_spelling_and_three_certificates(change):
    pem = abi.parse_quote(QUOTE).pck_chain
    plain = pem.removesuffix(b"\0")
    altered = change(plain) + b"\0"
    inner = 5006 - 70 - len(pem)
    quote = QUOTE[: inner - 4] + len(altered).to_bytes(4, "little") + altered
    for at in (SIGNATURE_DATA_AT, CERTIFICATION_AT + 2):
        size = int.from_bytes(quote[at : at + 4], "little") + len(altered) - len(pem)
        quote = replaced(quote, at, size.to_bytes(4, "little"))
    assert refusal(lambda: check_signatures(quote, UP_TO_DATE_AT)) == "format"


def test_an_sgx_extension_names_machine_and_model():
    fields = read_sgx_extension(sgx_extension(ppid=b"p" * 16, fmspc=b"f" * 6))
    assert (fields[1], fields[4]) == (b"p" * 16, b"f" * 6)


def test_an_sgx_extension_cut_off_or_doubled_is_refused():
    der = sgx_extension()
    for length in range(len(der)):
        assert refusal(lambda length=length: read_sgx_extension(der[:length])) == "pck"
    assert refusal(lambda: read_sgx_extension(der + der)) == "pck"
    inner = der[4:]
    doubled = b"\x30\x82" + (2 * len(inner)).to_bytes(2) + inner + inner
    assert refusal(lambda: read_sgx_extension(doubled)) == "pck"


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"null", b"{}", b"\xff", b'{"tcb_info": 1}', b"[" * 100_000, b"1" * 5000,
        COLLATERAL.replace(b'"tcb_info":', b'"tcb_inf":'),
        COLLATERAL.replace(b"{", b'{"tcb_info": "x", ', 1),
        COLLATERAL.replace(b"{", b'{"pck_certificate_chain": "x", ', 1),
        COLLATERAL.replace(b'"root_ca_crl": "', b'"root_ca_crl": "0'),
        COLLATERAL.replace(b'"root_ca_crl": "', b'"root_ca_crl": "\\ud800'),
        COLLATERAL.ljust(COLLATERAL_BYTES_MAX + 1, b" "),
    ],
)  # fmt: skip
def test_collateral_of_another_shape_is_refused(text):
    assert text != COLLATERAL
    assert refusal(lambda: read_collateral(text)) == "format"


@pytest.mark.parametrize("name", ["tcb_info", "pck_crl"])
@pytest.mark.parametrize("value", [1, None, ["x"], "\ud800", "\u0661\u0662", "\u212a"])
def test_collateral_whose_texts_are_not_ascii_text_is_refused(name, value):
    document = {**json.loads(COLLATERAL), name: value}
    assert refusal(lambda: read_collateral(json.dumps(document).encode())) == "format"


def only_refused(parse, data):
    """Whatever the bytes, a parser returns or refuses."""
    try:
        parse(data)
    except Refused:
        return


MUTATIONS = st.lists(st.tuples(st.integers(0, 5005), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000), MUTATIONS, st.sampled_from([QUOTE, QUOTE_V5]))
def test_quotes_of_any_bytes_are_read_or_refused(data, mutations, quote):
    only_refused(abi.parse_quote, data)
    only_refused(abi.parse_quote, quote[:48] + data)
    for at, value in mutations:
        quote = replaced(quote, at, value)
    only_refused(lambda quote: check_signatures(quote, UP_TO_DATE_AT), quote)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.lists(st.tuples(st.integers(0, 549), st.integers(0, 255)), min_size=1, max_size=4))
def test_sgx_extensions_of_any_bytes_are_read_or_refused(data, mutations):
    only_refused(read_sgx_extension, data)
    der = sgx_extension()
    for at, value in mutations:
        der = replaced(der, at % len(der), bytes([value]))
    only_refused(read_sgx_extension, der)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | JSON, st.integers(0, 3000), st.binary(min_size=1, max_size=4))
def test_collateral_and_event_logs_of_any_bytes_are_read_or_refused(data, at, value):
    only_refused(read_collateral, data)
    only_refused(lambda data: replay(data, bytes(48)), data)
    only_refused(read_collateral, replaced(COLLATERAL, at * 5, value))
    only_refused(lambda data: replay(data, bytes(48)), replaced(EVENT_LOG, at, value))


def test_an_event_log_that_is_too_large_is_refused():
    rtmr3 = abi.parse_quote(real("dstack", "tdx-2026", "quote.bin")).report.rtmrs[3]
    replay(EVENT_LOG.ljust(EVENT_LOG_BYTES_MAX), rtmr3)
    assert refusal(lambda: replay(EVENT_LOG.ljust(EVENT_LOG_BYTES_MAX + 1), rtmr3)) == "format"


def entry(oid: str, value: bytes) -> bytes:
    """One field of an SGX extension, by the hex of its OID."""
    inner = bytes([6, len(oid) // 2]) + bytes.fromhex(oid) + value
    return bytes([0x30, len(inner)]) + inner


@pytest.mark.parametrize(
    "inner",
    [
        entry("2a864886f84d010d0201", b"\4\1p"),  # another arc
        entry("2a864886f84d010d01", b"\4\1p"),  # no field of it
        entry("", b"\4\1p"),
        entry("2a864886f84d010d0101", b""),
        entry("2a864886f84d010d0101", b"\4\1p\4\1p"),
        entry("2a864886f84d010d0101", b"\4\1p") * 2,
        entry("2a864886f84d010d0101", b"\2\1p") + entry("2a864886f84d010d0101", b"\4\1p"),
        entry("2a864886f84d010d0101", b"\4\x81\1p"),  # a length that is longer than it need be
        entry("2a864886f84d010d0101", b"\4\x82\0\1p"),
        entry("2a864886f84d010d0101", b"\4\x80p\0\0"),  # an indefinite length
        entry("2a864886f84d010d0101", b"\4\x83\0\0\1p"),
        entry("2a864886f84d010d0101", b"\4\2p"),
        b"\x31" + entry("2a864886f84d010d0101", b"\4\1p")[1:],
    ],
)
def test_an_sgx_extension_of_another_shape_is_refused(inner):
    assert refusal(lambda: read_sgx_extension(bytes([0x30, len(inner)]) + inner)) == "pck"
    assert read_sgx_extension(b"\x30\x11" + entry("2a864886f84d010d0101", b"\4\1p")) == {1: b"p"}
