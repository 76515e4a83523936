"""reference-values.json: one way to write each set of values, and everything else refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.reference import KINDS, reference_values
from vesica_attestation.reference_values import ReferenceValuesInvalid, parse, to_json

TEXT = to_json(reference_values(**KINDS))
SUBSETS = st.sets(st.sampled_from(sorted(KINDS)), min_size=1)


def refused(text):
    with pytest.raises(ReferenceValuesInvalid) as caught:
        parse(text)
    return caught.value.place


def changed(*path, to):
    """The file with one field changed, written as it must be written."""
    document = json.loads(TEXT)
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    if to is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


@given(SUBSETS)
def test_what_is_written_is_read_back(kinds):
    values = reference_values(**{kind: KINDS[kind] for kind in kinds})
    assert parse(to_json(values)) == values


@given(st.integers(0, len(TEXT) - 1), st.integers(0, 255))
def test_any_changed_byte_is_refused_or_another_value(place, byte):
    text = TEXT[:place] + bytes([byte]) + TEXT[place + 1 :]
    try:
        values = parse(text)
    except ReferenceValuesInvalid:
        return
    assert (values == parse(TEXT)) == (text == TEXT)


@pytest.mark.parametrize(
    "text",
    [
        TEXT[:-1],
        TEXT + b"\n",
        TEXT.replace(b"  ", b"\t"),
        TEXT.replace(b"\n", b"\r\n"),
        json.dumps(json.loads(TEXT)).encode(),
        TEXT.replace(b'"version": 1', b'"version": 1,\n  "version": 1'),
        b"\xef\xbb\xbf" + TEXT,
    ],
)
def test_another_way_to_write_the_same_is_refused(text):
    assert refused(text) == "the file"


@pytest.mark.parametrize("version", [0, 2, "1", True, 1.0, None, [1]])
def test_another_version_is_refused(version):
    assert refused(changed("version", to=version)) in {"version", "the file"}


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("more",), 1),
        (("values", "sgx"), {}),
        (("sources", "other"), {"file": "x", "size": 1, "sha256": "00" * 32}),
        (("sources", "image", "more"), 1),
        (("values", "nitro", "pcr3"), "00" * 48),
        (("values", "tpm", "pcr7"), "00" * 32),
        (("values", "tdx", "rtmr0"), "00" * 48),
        (("values", "verity", "salt"), ""),
        (("values", "sev_snp", 0, "host_data"), "00" * 32),
        (("values", "confidential_space", "audience"), "x"),
    ],
)
def test_a_field_that_is_not_known_is_refused_and_named(path, to):
    assert str(path[-1]) in refused(changed(*path, to=to))


@pytest.mark.parametrize(
    "path",
    [
        ("version",), ("sources",), ("values",), ("sources", "image"), ("sources", "kernel", "sha256"),
        ("values", "nitro", "pcr0"), ("values", "tpm", "pcr12"), ("values", "tdx", "rtmr2"),
        ("values", "sev_snp", 0, "vcpus"), ("values", "confidential_space", "command"),
        ("values", "verity", "root_hash"),
    ],
)  # fmt: skip
def test_a_field_that_is_missing_is_refused_and_named(path):
    assert str(path[-1]) in refused(changed(*path, to=None))


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("values",), {}),
        (("values",), []),
        (("values", "nitro", "pcr0"), "00" * 32),
        (("values", "nitro", "pcr0"), "AA" * 48),
        (("values", "nitro", "pcr0"), "x" * 96),
        (("values", "nitro", "pcr0"), 7),
        (("values", "sev_snp"), []),
        (("values", "sev_snp", 0, "vcpus"), 0),
        (("values", "sev_snp", 0, "vcpus"), True),
        (("values", "sev_snp", 0, "vcpus"), 513),
        (("values", "sev_snp", 0, "vcpus"), 4),
        (("values", "sev_snp", 0, "vcpus"), 8),
        (("values", "sev_snp", 0, "vcpu_type"), 'x"\nallow_insecure_debug = true'),
        (("values", "confidential_space", "command"), []),
        (("values", "confidential_space", "command"), [""]),
        (("values", "confidential_space", "command"), ["a", 7]),
        (("sources", "image", "file"), "../image"),
        (("sources", "image", "file"), "a\nb"),
        (("sources", "image", "size"), -1),
        (("sources", "image", "size"), 2**60),
    ],
)
def test_a_value_that_is_none_is_refused(path, to):
    refused(changed(*path, to=to))


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{" * 100_000, b"\xff", b" " * 300_000, b"1" * 10_000])
def test_junk_is_refused(text):
    refused(text)


def test_a_value_whose_files_are_not_named_is_refused():
    assert refused(changed("sources", "tdx_firmware", to=None)) == "sources.tdx_firmware"


def test_a_file_that_no_value_is_computed_from_is_refused():
    assert refused(changed("values", "verity", to=None)) == "sources.root"


def test_values_that_could_not_be_read_back_are_not_written():
    with pytest.raises(ReferenceValuesInvalid):
        to_json(reference_values(verity=bytes(31)))
