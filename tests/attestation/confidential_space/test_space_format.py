"""What is a token and what is not: one spelling, one algorithm, no header that points elsewhere."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import space_tokens as make
from vesica_attestation.confidential_space import abi
from vesica_attestation.confidential_space._json import (
    NESTING_MAX,
    Malformed,
    from_base64url,
    read_object,
    to_base64url,
)
from vesica_attestation.confidential_space.claims import read_claims
from vesica_attestation.confidential_space.keys import read_jwks
from vesica_attestation.errors import PolicyInvalid, Refused

DATA = Path(__file__).parents[2] / "data" / "evidence" / "confidential-space"
REAL = {str(path.relative_to(DATA)): path.read_bytes() for path in sorted(DATA.glob("*/*.jwt"))}
SAMPLE = REAL["oidc-debug-sev/token-nonce.jwt"]


def refusal(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        abi.parse(data)
    return caught.value.check


def encoded(text: bytes) -> bytes:
    return to_base64url(text).encode("ascii")


def with_header(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b".".join([encoded(text), *SAMPLE.split(b".")[1:]])


def with_payload(payload: bytes) -> bytes:
    first, _, last = SAMPLE.split(b".")
    return b".".join([first, encoded(payload), last])


ALGORITHMS = [
    None,
    "none",
    "None",
    "",
    "HS256",
    "rs256",
    "RS256 ",
    "RS384",
    "PS256",
    "ES256",
    ["RS256"],
    {"RS256": 1},
    True,
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_any_algorithm_but_rs256_is_refused(algorithm):
    assert refusal(with_header({"alg": algorithm, "kid": "k", "typ": "JWT"})) == "algorithm"


def test_token_without_an_algorithm_is_refused():
    assert refusal(with_header({"kid": "k", "typ": "JWT"})) == "algorithm"


@pytest.mark.parametrize(
    "name", ["jku", "jwk", "x5u", "x5t", "x5t#S256", "crit", "b64", "zip", "cty", "enc", "epk", "p2c", "JKU", "Alg", ""]
)
@pytest.mark.parametrize("value", [None, "https://evil.example/jwks", [], {}, False])
def test_any_header_that_these_tokens_do_not_have_is_refused(name, value):
    assert refusal(with_header({"alg": "RS256", "kid": "k", "typ": "JWT", name: value})) == "header"


@pytest.mark.parametrize("kid", [None, "", 1, ["k"], "k" * 257])
def test_key_id_that_is_not_a_short_text_is_refused(kid):
    assert refusal(with_header({"alg": "RS256", "kid": kid, "typ": "JWT"})) == "header"


@pytest.mark.parametrize("typ", [None, "", "jwt", "at+jwt", ["JWT"]])
def test_type_that_is_not_jwt_is_refused(typ):
    assert refusal(with_header({"alg": "RS256", "kid": "k", "typ": typ})) == "header"


CHAINS = {
    "null": None,
    "empty": [],
    "one": ["AAAA"],
    "two": ["AAAA", "AAAA"],
    "four": ["AAAA"] * 4,
    "a text": "AAAA",
    "numbers": [1, 2, 3],
    "an empty entry": ["AAAA", "", "AAAA"],
    "base64url": ["AAAA", "__--", "AAAA"],
    "without padding": ["AAAA", "AAA", "AAAA"],
    "a line break": ["AAAA", "AAAA\n", "AAAA"],
    "a loose last digit": ["AAAA", "AAB=", "AAAA"],
    "not ASCII": ["AAAA", "\u00c4AAA", "AAAA"],
    "PEM": ["-----BEGIN CERTIFICATE-----"] * 3,
}


@pytest.mark.parametrize("what", CHAINS)
def test_chain_that_is_not_three_base64_texts_is_refused(what):
    assert refusal(with_header({"alg": "RS256", "kid": "k", "typ": "JWT", "x5c": CHAINS[what]})) == "header"


def _spellings() -> dict[str, bytes]:
    header, payload, signature = SAMPLE.split(b".")
    loose = signature[:-1] + bytes([signature[-1] + 1])
    return {
        "nothing": b"",
        "two segments": header + b"." + payload,
        "four segments": SAMPLE + b".",
        "padding": header + b"." + payload + b"." + signature + b"==",
        "a space": b" " + SAMPLE,
        "a line break": header + b"\n." + payload + b"." + signature,
        "a line break inside": header[:9] + b"\n" + header[9:] + b"." + payload + b"." + signature,
        "ordinary base64": header + b"." + payload + b"." + signature.replace(b"-", b"+").replace(b"_", b"/") + b"+/",
        "loose last bits": header + b"." + payload + b"." + loose,
        "one digit too many": header + b"." + payload + b"." + signature + b"AAA",
        "a byte order mark": "\ufeff".encode() + SAMPLE,
        "not ASCII": "\u0435".encode() + SAMPLE[1:],
        "a JSON serialisation": json.dumps({"payload": "", "protected": "", "signature": ""}).encode(),
        "too long": header + b"." + payload + b"." + b"A" * abi.TOKEN_BYTES_MAX,
    }


@pytest.mark.parametrize("what", _spellings())
def test_any_other_spelling_of_the_compact_form_is_refused(what):
    assert refusal(_spellings()[what]) == "format"


TEXTS = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"claims"',
    "a name twice": b'{"aud": "a", "aud": "a"}',
    "a name twice, once escaped": b'{"aud": "a", "\\u0061ud": "b"}',
    "a name twice, inside": b'{"submods": {"x": {"a": 1, "a": 1}}}',
    "NaN": b'{"exp": NaN}',
    "Infinity": b'{"exp": -Infinity}',
    "a comment": b'{"exp": 1} // 1',
    "two values": b'{"exp": 1}{"exp": 2}',
    "a trailing comma": b'{"exp": 1,}',
    "single quotes": b"{'exp': 1}",
    "a byte order mark": b'\xef\xbb\xbf{"exp": 1}',
    "UTF-16": '{"exp": 1}'.encode("utf-16"),
    "UTF-8 that is not": b'{"exp": "\xff"}',
    "a surrogate in UTF-8": b'{"exp": "\xed\xa0\x80"}',
    "a control character": b'{"exp": "\n"}',
    "an integer without end": b'{"exp": ' + b"9" * 5000 + b"}",
    "a leading zero": b'{"exp": 01}',
    "deep lists": b'{"a": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deeper than allowed": b'{"a": ' * (NESTING_MAX + 1) + b"1" + b"}" * (NESTING_MAX + 1),
}


@pytest.mark.parametrize("what", TEXTS)
def test_json_that_two_readers_could_read_differently_is_refused(what):
    with pytest.raises(Malformed):
        read_object(TEXTS[what])
    assert refusal(with_payload(TEXTS[what])) == "format"
    assert refusal(with_header(TEXTS[what])) == "format"


def test_json_may_be_nested_as_deep_as_allowed():
    assert read_object(b'{"a": ' * (NESTING_MAX - 1) + b"1" + b"}" * (NESTING_MAX - 1))


WRONG = {
    "aud": [["vesica"], None, True, 1, {}, "", "a\nb", "\ud800", "a" * 4097],
    "iss": [["https://confidentialcomputing.googleapis.com"], None, ""],
    "iat": ["1757060250", 1757060250.0, True, None, -1, 10**15, [1757060250]],
    "nbf": ["0", 0.5, False, None],
    "exp": ["9999999999", 1e10, True, None, float(2**70)],
    "eat_nonce": [1, {make.NONCE: 1}, [1], [[make.NONCE]], True, ["a"] * 7, ["\x07"]],
    "oemid": ["11129", 11129.0, True, None],
    "secboot": ["true", 1, None, "false", [True]],
    "dbgstat": [False, None, ["disabled-since-boot"], 0],
    "hwmodel": [["GCP_INTEL_TDX"], None, 0],
    "swname": [["CONFIDENTIAL_SPACE"], None],
    "swversion": ["260301", 260301, [], ["1", "2"], [260301], ["26.3"], ["-1"], ["\u0661"], [""], None, ["1" * 13]],
    "submods": [None, [], "container"],
    "submods__confidential_space": [None, [], True],
    "submods__confidential_space__support_attributes": ["STABLE", {"STABLE": True}, [["STABLE"]], [True], True],
    "submods__confidential_space__monitoring_enabled": [None, False, [], {"memory": "false"}, {"memory": 0}],
    "submods__container": [None, []],
    "submods__container__image_digest": ["sha256:" + "0" * 63, "sha512:" + "0" * 64, "0" * 64, "sha256:" + "G" * 64,
                                         "SHA256:" + "a" * 64, "sha256:" + "A" * 64, "sha256:" + "a" * 64 + "\n", None,
                                         "sha256:" + "a" * 65,
                                         ["sha256:" + "a" * 64]],
    "submods__container__args": ["/usr/local/bin/vesica serve", {"0": "a"}, [1], [None], True],
    "submods__container__cmd_override": ["serve", True, {"0": "a"}, [1], 0],
    "submods__container__env_override": [["A=B"], "A=B", {"A": None}, {"A": 1}, True, 0],
    "submods__container__restart_policy": [None, ["Never"], "", False],
    "submods__container__image_reference": [None, ""],
    "submods__container__mounts": [[], None],
    "submods__gce": [None, []],
    "submods__gce__instance_id": [42, None, ["42"]],
    "submods__gce__project_id": [None, ["p"]],
    "submods__gce__zone": [None, True],
    "tdx": [None, [], "UpToDate", {}, {"gcp_attester_tcb_status": ["UpToDate"]}],
}  # fmt: skip


@pytest.mark.parametrize("path", WRONG)
def test_claim_of_another_type_or_out_of_bounds_is_refused(path):
    for value in WRONG[path]:
        with pytest.raises(Refused) as caught:
            read_claims(make.claims_of(**{path: value}))
        assert caught.value.check == "claims", (path, value)


OPTIONAL = {
    "submods__container__cmd_override",
    "submods__container__env_override",
    "submods__confidential_space__support_attributes",
    "submods__confidential_space__monitoring_enabled",
    "submods__container__args",
    "submods__container__mounts",
    "eat_nonce",
    "tdx",
}


@pytest.mark.parametrize("path", sorted(set(WRONG) - OPTIONAL))
def test_token_without_a_required_claim_is_refused(path):
    with pytest.raises(Refused) as caught:
        read_claims(make.claims_of(drop=(path,)))
    assert caught.value.check == "claims"


def test_overrides_that_are_null_or_left_out_are_none():
    names = ("submods__container__cmd_override", "submods__container__env_override")
    null = read_claims(make.claims_of(**dict.fromkeys(names)))
    assert null == read_claims(make.claims_of())
    assert (null.cmd_override, null.env_override) == ((), {})


def test_unknown_claims_outside_the_container_are_not_read():
    more = make.claims_of(google_service_accounts=["a@b"], submods__nvidia_gpu={"cc_mode": "ON"}, new_claim=[None])
    assert read_claims(more) == read_claims(make.claims_of())


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_base64url_has_one_spelling(value):
    text = to_base64url(value)
    assert from_base64url(text) == value
    assert text == base64.urlsafe_b64encode(value).decode().rstrip("=")


@settings(deadline=None)
@given(st.text("ABab01-_+/=\n. ", max_size=12))
def test_two_texts_of_base64url_are_never_the_same_bytes(text):
    try:
        assert to_base64url(from_base64url(text)) == text
    except Malformed:
        return


def _only_refused(parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        parse(data)
    except Refused:
        return


@settings(deadline=None)
@given(st.binary(max_size=512))
def test_any_bytes_are_refused_and_never_crash(data):
    _only_refused(abi.parse, data)
    _only_refused(abi.parse, with_header(data))
    _only_refused(abi.parse, with_payload(data))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(REAL)),
    st.lists(st.tuples(st.integers(0, 12_000), st.integers(0, 40), st.binary(max_size=12)), min_size=1, max_size=4),
)
def test_any_damage_to_a_real_token_is_refused_or_read_and_never_crashes(name, cuts):
    data = REAL[name]
    for start, length, put in cuts:
        data = data[: start % len(data)] + put + data[start % len(data) + length :]
    _only_refused(abi.parse, data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["args", "container", "memory", "gce"]) | st.text(max_size=4), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(set(WRONG) | {"submods__container__env"})), json_values)
def test_claims_of_any_shape_are_refused_or_read_and_never_crash(path, value):
    try:
        read_claims(make.claims_of(**{path: value}))
    except Refused:
        return


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "x5c", "jku"]), json_values))
def test_headers_of_any_shape_are_refused_or_read_and_never_crash(header):
    _only_refused(abi.parse, with_header(header))


@settings(deadline=None)
@given(json_values | st.fixed_dictionaries({"keys": json_values}))
def test_jwks_of_any_shape_is_invalid_or_read_and_never_crashes(value):
    for form in (value, json.dumps(value)):
        try:
            read_jwks(form, "jwks")
        except PolicyInvalid:
            continue


@pytest.mark.parametrize("text", ['{"keys": "\ud800"}', "\udcff", "[]", "", "null"])
def test_jwks_text_that_is_not_json_is_invalid(text):
    with pytest.raises(PolicyInvalid, match="jwks"):
        read_jwks(text, "jwks")


def test_unsigned_token_is_refused():
    unsigned = jwt.encode(make.claims_of(), key=None, algorithm="none", headers={"kid": "k"})
    assert refusal(unsigned.encode()) == "algorithm"
