"""What is a Nitro document and what is not: one spelling for each, checked against cbor2, which reads more."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.nitro_documents import encode, fake_aws
from vesica_attestation.errors import Refused
from vesica_attestation.nitro import abi
from vesica_attestation.nitro._cbor import byte_string

DATA = Path(__file__).parents[2] / "data" / "evidence" / "nitro"
REAL = {path.parent.name: path.read_bytes() for path in sorted(DATA.glob("*/document.cose"))}
SAMPLE = REAL["prod-2022-nonce"]
PROTECTED = b"\xa1\x01\x38\x22"


def refusal(parse: Callable[[bytes], object], data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        parse(data)
    return caught.value.check


@pytest.mark.parametrize("name", REAL)
def test_we_read_what_cbor2_reads(name):
    parsed = abi.parse(REAL[name])
    protected, unprotected, payload, signature = cbor2.loads(REAL[name])
    assert (protected, unprotected, payload, signature) == (PROTECTED, {}, parsed.signed, parsed.signature)
    fields = cbor2.loads(payload)
    read = vars(parsed.payload)
    assert fields.keys() == read.keys()
    assert fields.pop("timestamp") == round(read["timestamp"].timestamp() * 1000)
    assert fields.pop("cabundle") == list(read["cabundle"])
    assert all(fields[name] == read[name] for name in fields)


HEADERS = {
    "another algorithm": b"\xa1\x01\x26",
    "no algorithm": b"\xa0",
    "an empty header": b"",
    "a second parameter": b"\xa2\x01\x38\x22\x04\x41\x30",
    "the algorithm as text": b"\xa1\x01\x65ES384",
    "a longer spelling of -35": b"\xa1\x01\x39\x00\x22",
    "the algorithm twice": b"\xa2\x01\x38\x22\x01\x38\x22",
    "an indefinite map": b"\xbf\x01\x38\x22\xff",
    "something after it": b"\xa1\x01\x38\x22\x00",
}


@pytest.mark.parametrize("what", HEADERS)
def test_protected_header_that_says_anything_but_es384_is_refused(what):
    _, _, payload, signature = cbor2.loads(SAMPLE)
    assert refusal(abi.parse, encode([HEADERS[what], {}, payload, signature])) == "algorithm"


def _wrappers() -> dict[str, bytes]:
    _, _, payload, signature = cbor2.loads(SAMPLE)
    return {
        "nothing": b"",
        "a tag": b"\xd2" + SAMPLE,
        "self-described CBOR": b"\xd9\xd9\xf7" + SAMPLE,
        "an indefinite array": b"\x9f" + SAMPLE[1:] + b"\xff",
        "a longer spelling of the array": b"\x98\x04" + SAMPLE[1:],
        "three entries": encode([PROTECTED, {}, payload]),
        "five entries": encode([PROTECTED, {}, payload, signature, None]),
        "an unprotected algorithm": encode([PROTECTED, {1: -35}, payload, signature]),
        "an unprotected key id": encode([PROTECTED, {4: b"1"}, payload, signature]),
        "an unprotected null": encode([PROTECTED, None, payload, signature]),
        "a detached payload": encode([PROTECTED, {}, None, signature]),
        "a payload as text": encode([PROTECTED, {}, "payload", signature]),
        "an empty payload": encode([PROTECTED, {}, b"", signature]),
        "a payload in pieces": SAMPLE[:7] + b"\x5f" + byte_string(payload) + b"\xff" + byte_string(signature),
        "a longer spelling of the payload's length": SAMPLE[:7]
        + b"\x5a"
        + len(payload).to_bytes(4, "big")
        + payload
        + byte_string(signature),
        "a huge length": SAMPLE[:7] + b"\x5b" + b"\xff" * 8,
        "a payload over the limit": encode([PROTECTED, {}, bytes(abi.PAYLOAD_BYTES_MAX + 1), signature]),
        "a short signature": encode([PROTECTED, {}, payload, signature[:-1]]),
        "a long signature": encode([PROTECTED, {}, payload, signature + b"\0"]),
        "a signature in DER": encode([PROTECTED, {}, payload, b"\x30\x06\x02\x01\x01\x02\x01\x01"]),
        "a reserved length": b"\x9c" + SAMPLE[1:],
        "deep nesting": b"\x81" * 100_000,
        "JSON": b'{"payload": {}}',
    }


@pytest.mark.parametrize("what", _wrappers())
def test_wrapper_that_is_not_the_plain_untagged_one_is_refused(what):
    assert refusal(abi.parse, _wrappers()[what]) == "format"


def _pcrs(**changes: object) -> dict[Any, Any]:
    return {index: bytes([index + 1]) * 48 for index in range(16)} | changes


FIELDS: dict[str, dict[str, Any]] = {
    "module_id null": {"module_id": None},
    "module_id empty": {"module_id": ""},
    "module_id bytes": {"module_id": b"i-0"},
    "module_id too long": {"module_id": "i" * 129},
    "module_id with an escape": {"module_id": "i-0\x1b[2J"},
    "module_id not ASCII": {"module_id": "i-\u0430"},
    "digest of another kind": {"digest": "SHA256"},
    "digest in lower case": {"digest": "sha384"},
    "digest null": {"digest": None},
    "timestamp zero": {"timestamp": 0},
    "timestamp negative": {"timestamp": -1},
    "timestamp a float": {"timestamp": 1668034320696.0},
    "timestamp text": {"timestamp": "1668034320696"},
    "timestamp true": {"timestamp": True},
    "timestamp after the year 9999": {"timestamp": abi.TIMESTAMP_MS_MAX + 1},
    "timestamp huge": {"timestamp": 2**64 - 1},
    "timestamp bignum": {"timestamp": 2**64},
    "timestamp a tagged date": {"timestamp": datetime(2022, 1, 1, tzinfo=UTC)},
    "pcrs null": {"pcrs": None},
    "pcrs empty": {"pcrs": {}},
    "pcrs a list": {"pcrs": [bytes(48)] * 16},
    "pcrs without PCR0": {"pcrs": {index: bytes(48) for index in range(1, 16)}},
    "pcrs without PCR2": {"pcrs": {0: bytes(48), 1: bytes(48)}},
    "pcr 32": {"pcrs": _pcrs() | {32: bytes(48)}},
    "pcr negative": {"pcrs": _pcrs() | {-1: bytes(48)}},
    "pcr by text": {"pcrs": _pcrs() | {"0": bytes(48)}},
    "pcr by true": {"pcrs": {0: bytes(48), True: bytes(48), 2: bytes(48)}},
    "pcr by float": {"pcrs": {0.0: bytes(48), 1: bytes(48), 2: bytes(48)}},
    "pcr of 32 bytes": {"pcrs": _pcrs() | {3: bytes(32)}},
    "pcr of 47 bytes": {"pcrs": _pcrs() | {3: bytes(47)}},
    "pcr of 64 bytes": {"pcrs": _pcrs() | {3: bytes(64)}},
    "pcr as text": {"pcrs": _pcrs() | {3: "0" * 48}},
    "pcr null": {"pcrs": _pcrs() | {3: None}},
    "certificate null": {"certificate": None},
    "certificate empty": {"certificate": b""},
    "certificate too long": {"certificate": bytes(1025)},
    "certificate as text": {"certificate": "-----BEGIN"},
    "cabundle null": {"cabundle": None},
    "cabundle empty": {"cabundle": []},
    "cabundle of too many": {"cabundle": [b"\x30\x00"] * 8},
    "cabundle not a list": {"cabundle": b"\x30\x00"},
    "cabundle with an empty entry": {"cabundle": [b""]},
    "cabundle with a long entry": {"cabundle": [bytes(1025)]},
    "cabundle nested": {"cabundle": [[b"\x30\x00"]]},
    "user_data too long": {"user_data": bytes(1025)},
    "user_data as text": {"user_data": "0" * 64},
    "user_data undefined": {"user_data": cbor2.undefined},
    "user_data false": {"user_data": False},
    "nonce a number": {"nonce": 5},
    "public_key a list": {"public_key": [b""]},
    "an unknown field": {"debug": False},
    "a field by number": {7: b""},
}


@pytest.mark.parametrize("what", FIELDS)
def test_payload_with_a_field_of_another_type_or_out_of_bounds_is_refused(what):
    assert refusal(abi.parse_payload, encode(fake_aws().fields() | FIELDS[what])) == "format"


@pytest.mark.parametrize("name", ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"])
def test_payload_without_a_required_field_is_refused(name):
    assert refusal(abi.parse_payload, encode(fake_aws().fields(drop=(name,)))) == "format"


def test_optional_fields_may_be_null_or_left_out():
    absent = abi.parse_payload(encode(fake_aws().fields(drop=("public_key", "user_data", "nonce"))))
    null = abi.parse_payload(encode(fake_aws().fields(public_key=None, user_data=None, nonce=None)))
    assert absent == null


def _entries(fields: dict[str, Any]) -> list[bytes]:
    return [encode(name) + encode(value) for name, value in fields.items()]


def test_field_that_is_there_twice_is_refused_even_with_one_value():
    entries = _entries(fake_aws().fields())
    for entry in entries:
        assert refusal(abi.parse_payload, b"\xbf" + b"".join([*entries, entry]) + b"\xff") == "format"


def test_second_pcr_of_the_same_index_is_refused():
    fields = fake_aws().fields(drop=("pcrs",))
    pcrs = b"\xa4" + b"".join(bytes([index]) + byte_string(bytes(48)) for index in (0, 1, 2, 0))
    payload = b"\xa9" + b"".join(_entries(fields)) + encode("pcrs") + pcrs
    assert cbor2.loads(payload)["pcrs"].keys() == {0, 1, 2}  # cbor2 keeps the last and says nothing
    assert refusal(abi.parse_payload, payload) == "format"


def test_payload_map_may_be_indefinite_but_must_be_closed_and_last():
    entries = b"".join(_entries(fake_aws().fields()))
    assert abi.parse_payload(b"\xbf" + entries + b"\xff") == abi.parse_payload(b"\xa9" + entries)
    assert refusal(abi.parse_payload, b"\xbf" + entries) == "format"
    assert refusal(abi.parse_payload, b"\xbf" + entries + b"\xff\xff") == "trailing-bytes"
    assert refusal(abi.parse_payload, b"\xa9" + entries + b"\xff") == "trailing-bytes"
    assert refusal(abi.parse_payload, b"\xaa" + entries) == "format"
    assert refusal(abi.parse_payload, b"\xa8" + entries) == "trailing-bytes"
    assert refusal(abi.parse_payload, b"\xb8\x09" + entries) == "format"


def test_map_or_array_inside_the_payload_may_not_be_indefinite():
    pcrs = b"".join(bytes([index]) + byte_string(bytes(48)) for index in range(3))
    rest = b"".join(_entries(fake_aws().fields(drop=("pcrs",))))
    good = b"\xa9" + rest + encode("pcrs") + b"\xa3" + pcrs
    assert len(abi.parse_payload(good).pcrs) == 3
    assert refusal(abi.parse_payload, b"\xa9" + rest + encode("pcrs") + b"\xbf" + pcrs + b"\xff") == "format"
    bundle = b"".join(_entries(fake_aws().fields(drop=("cabundle",))))
    entry = byte_string(b"\x30\x00")
    assert abi.parse_payload(b"\xa9" + bundle + encode("cabundle") + b"\x81" + entry).cabundle == (b"\x30\x00",)
    indefinite = b"\xa9" + bundle + encode("cabundle") + b"\x9f" + entry + b"\xff"
    assert refusal(abi.parse_payload, indefinite) == "format"


user_bytes = st.none() | st.binary(max_size=abi.USER_BYTES_MAX)
printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=abi.TEXT_BYTES_MAX)
pcr = st.binary(min_size=48, max_size=48)
payloads = st.builds(
    abi.Payload,
    module_id=printable,
    digest=st.just("SHA384"),
    timestamp=st.integers(1, abi.TIMESTAMP_MS_MAX).map(
        lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    ),
    pcrs=st.tuples(pcr, pcr, pcr, st.dictionaries(st.integers(3, 31), pcr)).map(
        lambda drawn: {0: drawn[0], 1: drawn[1], 2: drawn[2], **drawn[3]}
    ),
    certificate=st.binary(min_size=1, max_size=abi.CERTIFICATE_BYTES_MAX),
    cabundle=st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=abi.BUNDLE_CERTIFICATES_MAX).map(tuple),
    public_key=user_bytes,
    user_data=user_bytes,
    nonce=user_bytes,
)


@settings(deadline=None)
@given(payloads)
def test_every_payload_within_bounds_is_read_as_it_was_written(payload):
    since = payload.timestamp - datetime(1970, 1, 1, tzinfo=UTC)
    fields = vars(payload) | {"timestamp": since // timedelta(milliseconds=1), "cabundle": list(payload.cabundle)}
    assert abi.parse_payload(encode(fields)) == payload


def _only_refused(parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        parse(data)
    except Refused:
        return


@settings(deadline=None)
@given(st.binary(max_size=512))
def test_any_bytes_are_refused_and_never_crash(data):
    for start in (b"", SAMPLE[:7], SAMPLE[:10]):
        _only_refused(abi.parse, start + data)
    _only_refused(abi.parse_payload, data)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(REAL)),
    st.lists(st.tuples(st.integers(0, 4700), st.integers(0, 4700), st.binary(max_size=12)), min_size=1, max_size=4),
)
def test_any_damage_to_a_real_document_is_refused_or_read_and_never_crashes(name, cuts):
    data = REAL[name]
    for start, length, put in cuts:
        data = data[:start] + put + data[start + length % 40 :]
    _only_refused(abi.parse, data)
    _only_refused(abi.parse_payload, data[10:-98])


recursive = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["pcrs", "cabundle", "timestamp", "nonce", "digest"]) | st.integers(0, 40), inner
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(recursive)
def test_any_cbor_is_refused_and_never_crashes(value):
    _only_refused(abi.parse, encode(value))
    _only_refused(abi.parse_payload, encode(fake_aws().fields() | {"pcrs": value}))
