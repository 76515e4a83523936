"""The agreement: one digest for one meaning, and every unclear term refused with its place."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesica.agreement import as_document, canonical_bytes, digest, document_digest, parse_agreement
from vesica.epsilon import format_epsilon, parse_epsilon
from vesica.errors import AgreementInvalid, EpsilonInvalid
from vesica.limits import AGREEMENT_BYTES_MAX, PARTIES_MAX

HASHES = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(PARTIES_MAX + 1)]

GOOD = f"""
name = "customer-overlap-2026"
closes_at = 2027-01-31T18:00:00+01:00

[keys]
columns = ["email"]
normalise = {{ email = ["trim", "casefold"] }}
duplicates = "refuse"

[[parties]]
name = "bob"
token_sha256 = "{HASHES[1]}"
epsilon = "0.5"

[[parties]]
name = "alice"
token_sha256 = "{HASHES[0]}"
epsilon = "1.0"

[releases]
statistics = ["union_cardinality", "intersection_cardinality"]
epsilon_min = "0.01"
epsilon_default = "0.5"
"""

SAME_MEANING = f"""
# the same, said another way
[releases]
epsilon_default = '0.50'
epsilon_min = "1e-2"
statistics = ["intersection_cardinality", "union_cardinality",]
[keys]
normalise.email = ["trim", "casefold"]
columns = ['email']
[[parties]]
epsilon = 1
name = "alice"
token_sha256 = "{HASHES[0].upper()}"
[[parties]]
epsilon = "0.500000000"
name = "bob"
token_sha256 = "{HASHES[1]}"
"""


def parse(text):
    return parse_agreement(text.encode())


def test_a_good_agreement_is_read_whole():
    agreement = parse(GOOD)
    assert agreement.party_names() == ("alice", "bob")
    assert [party.epsilon_nano for party in agreement.parties] == [10**9, 5 * 10**8]
    assert agreement.releases.epsilon_min_nano == 10**7
    assert agreement.closes_at is not None
    assert agreement.closes_at.isoformat() == "2027-01-31T17:00:00+00:00"


def test_the_digest_does_not_depend_on_formatting_or_order():
    header = 'name = "customer-overlap-2026"\ncloses_at = 2027-01-31T17:00:00Z\n'
    assert digest(parse(GOOD)) == digest(parse(header + SAME_MEANING))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"1.0"', '"1.1"'), ('"0.01"', '"0.02"'), ("refuse", "drop"), ('"trim", "casefold"', '"casefold", "trim"'),
        ("2026", "2027"), (HASHES[0], HASHES[2]), ('"union_cardinality", ', ""), ("18:00:00+", "18:00:01+"),
        ('epsilon_default = "0.5"', ""), ('name = "bob"', 'name = "bobby"'),
    ],
)  # fmt: skip
def test_any_change_of_terms_changes_the_digest(old, new):
    assert old in GOOD
    assert digest(parse(GOOD.replace(old, new))) != digest(parse(GOOD))


def test_the_canonical_form_is_sorted_compact_json_whose_hash_is_the_digest():
    document = as_document(parse(GOOD))
    text = canonical_bytes(document)
    assert b" " not in text.replace(b"customer overlap", b"")
    assert hashlib.sha256(text).hexdigest() == digest(parse(GOOD)) == document_digest(json.loads(text))


def test_the_digest_of_a_known_agreement_never_changes():
    """Receipts name digests: a change of the canonical form would orphan them. If this fails, raise FORMAT_VERSION."""
    assert canonical_bytes(as_document(parse(GOOD))).decode() == (
        '{"closes_at":"2027-01-31T17:00:00Z","format":1,'
        '"keys":{"columns":[{"name":"email","normalise":["trim","casefold"]}],"duplicates":"refuse"},'
        '"name":"customer-overlap-2026","parties":['
        f'{{"epsilon":"1","name":"alice","token_sha256":"{HASHES[0]}"}},'
        f'{{"epsilon":"0.5","name":"bob","token_sha256":"{HASHES[1]}"}}],'
        '"releases":{"epsilon_default":"0.5","epsilon_min":"0.01",'
        '"statistics":["intersection_cardinality","union_cardinality"]}}'
    )


BAD = [
    # what is changed, into what, the place named
    ('name = "customer-overlap-2026"', "", "name"),
    ('name = "customer-overlap-2026"', "name = 7", "name"),
    ('name = "customer-overlap-2026"', 'name = "a/b"', "name"),
    ('name = "customer-overlap-2026"', 'name = "x"\ncolour = "red"', "colour"),
    ('duplicates = "refuse"', 'duplicates = "maybe"', "keys.duplicates"),
    ('duplicates = "refuse"', 'duplikates = "drop"', "keys.duplikates"),
    ('columns = ["email"]', 'columns = ["email", "email"]', "keys.columns[2]"),
    ('columns = ["email"]', "columns = []", "keys.columns"),
    ('columns = ["email"]', 'columns = ["  "]', "keys.columns[1]"),
    ('columns = ["email"]', 'columns = ["mail"]', "keys.normalise.email"),
    ('columns = ["email"]', "", "keys.normalise"),
    ('"trim", "casefold"', '"trim", "uppercase"', "keys.normalise.email[2]"),
    ('name = "bob"', 'name = "alice"', "parties[2].name"),
    ('name = "bob"', 'name = "ALICE"', "parties[2].name"),
    ('name = "bob"', 'name = "bob\\n"', "parties[1].name"),
    (HASHES[0], HASHES[1], "parties[2].token_sha256"),
    (HASHES[0], "ab", "parties[2].token_sha256"),
    (HASHES[0], hashlib.sha256(b"").hexdigest(), "parties[2].token_sha256"),
    (f'token_sha256 = "{HASHES[0]}"', "", "parties[2].token_sha256"),
    ('epsilon = "1.0"', 'epsilon = "0"', "parties[2].epsilon"),
    ('epsilon = "1.0"', 'epsilon = "0.000"', "parties[2].epsilon"),
    ('epsilon = "1.0"', 'epsilon = "-1"', "parties[2].epsilon"),
    ('epsilon = "1.0"', 'epsilon = "inf"', "parties[2].epsilon"),
    ('epsilon = "1.0"', "epsilon = 1.0", "parties[2].epsilon"),
    ('epsilon = "1.0"', 'epsilon = "101"', "parties[2].epsilon"),
    ('epsilon = "1.0"', "epsilon = 99999999999999999999", "parties[2].epsilon"),
    ('epsilon = "1.0"', 'epsilon = "0.0000000001"', "parties[2].epsilon"),
    ('epsilon = "1.0"', 'epsilon = "1.0"\nweight = 3', "parties[2].weight"),
    ('"union_cardinality", ', '"mean", ', "releases.statistics[1]"),
    ('"union_cardinality", ', '"intersection_cardinality", ', "releases.statistics[2]"),
    ('epsilon_min = "0.01"', 'epsilon_min = "0.6"', "releases.epsilon_min"),
    ('epsilon_min = "0.01"', 'epsilon_min = "0.0000001"', "releases.epsilon_min"),
    ('epsilon_default = "0.5"', 'epsilon_default = "0.51"', "releases.epsilon_default"),
    ('epsilon_default = "0.5"', 'epsilon_default = "0.001"', "releases.epsilon_default"),
    ("2027-01-31T18:00:00+01:00", "2027-01-31T18:00:00", "closes_at"),
    ("2027-01-31T18:00:00+01:00", "2027-01-31T18:00:00.5Z", "closes_at"),
    ("2027-01-31T18:00:00+01:00", '"tomorrow"', "closes_at"),
    ("[releases]", "[release]", "releases"),
    ("[keys]", "[keys", "the file"),
]


@pytest.mark.parametrize(("old", "new", "place"), BAD)
def test_an_unclear_term_is_refused_with_its_place(old, new, place):
    assert old in GOOD
    with pytest.raises(AgreementInvalid) as caught:
        parse(GOOD.replace(old, new))
    assert caught.value.members["place"] == place
    assert caught.value.detail.startswith(f"{place}: ")
    assert HASHES[0] not in caught.value.detail


def roster(n):
    parties = "".join(f'[[parties]]\nname = "p{i}"\ntoken_sha256 = "{HASHES[i]}"\nepsilon = "1"\n' for i in range(n))
    return f'name = "r"\n{parties}[releases]\nstatistics = ["union_cardinality"]\n'


@pytest.mark.parametrize(("n", "fits"), [(1, False), (2, True), (PARTIES_MAX, True), (PARTIES_MAX + 1, False)])
def test_a_room_has_at_least_two_parties_and_not_too_many(n, fits):
    if fits:
        assert len(parse(roster(n)).parties) == n
    else:
        with pytest.raises(AgreementInvalid):
            parse(roster(n))


def test_without_keys_there_is_one_column_of_any_name_and_nothing_is_normalised():
    keys = parse(roster(2)).keys
    assert [(column.name, column.normalise) for column in keys.columns] == [(None, ())]


def test_a_file_that_is_too_large_or_not_text_is_refused():
    for data in (b"#" * (AGREEMENT_BYTES_MAX + 1), b"\xff"):
        with pytest.raises(AgreementInvalid):
            parse_agreement(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_agreement_or_a_typed_refusal(data):
    with pytest.raises(AgreementInvalid):
        parse_agreement(data)


@given(st.integers(1, 100 * 10**9))
def test_epsilon_survives_its_text(nano):
    assert parse_epsilon(format_epsilon(nano)) == nano


@given(st.one_of(st.text(max_size=30), st.floats(), st.integers(max_value=0), st.booleans(), st.none()))
def test_what_is_not_an_exact_positive_decimal_is_refused(value):
    try:
        nano = parse_epsilon(value)
    except EpsilonInvalid:
        return
    assert isinstance(value, str)
    assert format_epsilon(nano)
    assert value.isascii()
