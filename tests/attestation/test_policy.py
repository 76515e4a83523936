"""The policy file: default deny, and every mistake in it named with its place."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesica_attestation._table import LIST_MAX, TEXT_CHARACTERS_MAX, Table
from vesica_attestation.errors import PolicyInvalid
from vesica_attestation.policy import POLICY_BYTES_MAX, parse_policy

D48, D32 = "ab" * 48, "cd" * 32
Fields = dict[str, object]

# What each table cannot do without. Everything else may be left out, and then refuses.
NEEDED: dict[str, Fields] = {
    "sev_snp": {
        "launch_digests": [D48],
        "minimum_tcb": {"genoa": {"bootloader": 1, "tee": 0, "snp": 1, "microcode": 1}},
        "vmpl": [0],
    },
    "tdx": {
        "launch_digests": [D48],
        "tcb_statuses": ["UpToDate"],
        "minimum_tcb_evaluation_number": 17,
        "collateral_age_days_max": 30,
        "rtmr0": [D48],
        "rtmr1": [D48],
        "rtmr2": [D48],
    },
    "nitro": {"launch_digests": [D48], "max_age_seconds": 300},
    "confidential_space": {
        "launch_digests": [D32],
        "commands": [["/vesica", "serve"]],
        "audience": "vesica",
        "max_age_seconds": 300,
        "hwmodels": ["GCP_AMD_SEV"],
        "support_attributes": ["STABLE"],
    },
}
NEEDED["azure"] = {"pcrs": {"7": [D32]}, "sev_snp": NEEDED["sev_snp"]}
NEEDED["tpm"] = {
    "allow_trusted_hypervisor": True,
    "ca_certificate_digests": [D32],
    "pcrs": {"4": [D32], "11": [D32], "12": [D32], "13": [D32]},
}
TABLES = list(NEEDED)
# Words that only evidence can contradict: any will do.
ANY_TEXT = {f"confidential_space.{name}" for name in ("audience", "hwmodels", "support_attributes")}
PLACES = [(table, name) for table, needed in NEEDED.items() for name in needed]


def toml(fields: Fields, path: str = "") -> str:
    """TOML of nested fields."""
    lines = [f"[{path}]"] if path else []
    inner = []
    for name, value in fields.items():
        if isinstance(value, dict):
            inner.append(toml(value, f"{path}.{name}" if path else name))
        else:
            lines.append(f"{name} = {_value(value)}")
    return "\n".join([*lines, *inner])


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def parse(fields: Fields):
    return parse_policy(toml(fields).encode())


def refusal(fields: Fields) -> PolicyInvalid:
    with pytest.raises(PolicyInvalid) as caught:
        parse(fields)
    assert str(caught.value) == f"{caught.value.place}: {caught.value.detail}"
    return caught.value


@pytest.mark.parametrize("table", TABLES)
def test_a_policy_for_one_kind_accepts_that_kind_and_no_other(table):
    policy = parse({table: NEEDED[table]})
    for other in TABLES:
        assert (getattr(policy, other) is not None) == (other == table)
    assert not policy.allow_insecure_software


@pytest.mark.parametrize(("table", "name"), PLACES)
def test_a_field_that_is_missing_is_refused_with_its_place(table, name):
    fields = {key: value for key, value in NEEDED[table].items() if key != name}
    found = refusal({table: fields})
    # Of Azure's two tables for hardware, either will do.
    assert found.place == (table if (table, name) == ("azure", "sev_snp") else f"{table}.{name}")


@pytest.mark.parametrize(("table", "name"), PLACES)
def test_a_field_that_is_empty_is_refused_with_its_place(table, name):
    value = NEEDED[table][name]
    empty = {list: [], dict: {}, str: "", int: 0, bool: False}[type(value)]
    assert refusal({table: NEEDED[table] | {name: empty}}).place.startswith(f"{table}.{name}")


@pytest.mark.parametrize(("table", "name"), PLACES)
@pytest.mark.parametrize("wrong", [True, -1, "x", ["x"], [1, -1], [True], [[]], [""], {"x": 1}], ids=repr)
def test_a_field_of_another_type_is_refused_with_its_place(table, name, wrong):
    if f"{table}.{name}" in ANY_TEXT and wrong in ("x", ["x"]) and type(wrong) is type(NEEDED[table][name]):
        return
    if (table, name, wrong) == ("tpm", "allow_trusted_hypervisor", True):
        return
    assert refusal({table: NEEDED[table] | {name: wrong}}).place.startswith(f"{table}.{name}")


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", ["unknown", "launch_digest", "Launch_digests", "allow_insecure", "allow"])
def test_a_field_that_there_is_not_is_refused_with_its_place(table, name):
    assert refusal({table: NEEDED[table] | {name: True}}).place == f"{table}.{name}"


@pytest.mark.parametrize("name", ["unknown", "sev-snp", "SEV_SNP", "software", "allow_software", "nonce"])
def test_a_table_or_flag_that_there_is_not_is_refused_with_its_place(name):
    for value in (True, {}, {"launch_digests": [D48]}):
        assert refusal({name: value, "nitro": NEEDED["nitro"]}).place == name


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("value", [1, "x", [], True])
def test_a_kind_that_is_not_a_table_is_refused_with_its_place(table, value):
    assert refusal({table: value}).place == table


@pytest.mark.parametrize("table", TABLES)
def test_a_kind_with_an_empty_table_is_refused(table):
    assert refusal({table: {}}).place.startswith(f"{table}.")


@pytest.mark.parametrize("table", TABLES)
def test_every_flag_that_weakens_is_off_unless_it_is_set(table):
    policy = getattr(parse({table: NEEDED[table]}), table)
    flags = {name: value for name, value in vars(policy).items() if isinstance(value, bool)}
    assert not [name for name, value in flags.items() if value and name.startswith("allow")]


@pytest.mark.parametrize("table", TABLES)
def test_every_flag_takes_true_and_false_and_nothing_else(table):
    policy = getattr(parse({table: NEEDED[table]}), table)
    for name in [name for name in vars(policy) if name.startswith(("allow_", "require_"))]:
        for wrong in (1, 0, "true", [True]):
            assert refusal({table: NEEDED[table] | {name: wrong}}).place == f"{table}.{name}"
        assert getattr(getattr(parse({table: NEEDED[table] | {name: False}}), table), name) is False


@pytest.mark.parametrize("text", ["", "# nothing", "allow_insecure_software = false"])
def test_a_policy_that_accepts_nothing_is_refused(text):
    with pytest.raises(PolicyInvalid, match="accepts no kind of evidence"):
        parse_policy(text.encode())


def test_software_alone_must_be_allowed_in_so_many_words():
    assert parse_policy(b"allow_insecure_software = true").allow_insecure_software
    for wrong in (1, "true", "yes", [True]):
        assert refusal({"allow_insecure_software": wrong}).place == "allow_insecure_software"


DIGESTS = [
    [D48[:-2]], [D48 + "00"], [D48[:-1]], ["zz" * 48], [D48[:-2] + " a"], [D48[:-2] + "\uff41a"], ["0x" + D48[2:]],
    [D48, ""], [D48, 1], D48, [[D48]],
]  # fmt: skip


@pytest.mark.parametrize("digests", DIGESTS, ids=repr)
@pytest.mark.parametrize("table", ["sev_snp", "tdx", "nitro"])
def test_a_launch_digest_that_is_not_48_bytes_in_hex_is_refused(table, digests):
    assert refusal({table: NEEDED[table] | {"launch_digests": digests}}).place == f"{table}.launch_digests"


def test_digests_are_the_same_in_capitals():
    small, large = ({"nitro": NEEDED["nitro"] | {"launch_digests": [text]}} for text in (D48, D48.upper()))
    assert parse(small).nitro == parse(large).nitro


def test_the_digest_of_a_policy_is_of_the_files_bytes():
    text = toml({"nitro": NEEDED["nitro"]}).encode()
    assert parse_policy(text).digest == hashlib.sha256(text).hexdigest()
    assert parse_policy(text + b"\n").digest != parse_policy(text).digest


@pytest.mark.parametrize(
    "text",
    [
        b"\xff", b"\xef\xbb\xbfallow_insecure_software = true", b"allow_insecure_software = true\0",
        b"allow_insecure_software = true\nallow_insecure_software = true", b"[nitro]\n[nitro]", b"{}", b"a",
    ],
)  # fmt: skip
def test_a_file_that_is_not_toml_is_refused(text):
    with pytest.raises(PolicyInvalid) as caught:
        parse_policy(text)
    assert caught.value.place == "the file"


def test_a_file_that_is_too_large_is_refused_before_it_is_read():
    with pytest.raises(PolicyInvalid, match="larger than"):
        parse_policy(b"#" * (POLICY_BYTES_MAX + 1))
    with pytest.raises(PolicyInvalid, match="accepts no kind"):
        parse_policy(b"#" * POLICY_BYTES_MAX)


@pytest.mark.parametrize("text", [b"a = " + b"[" * 100_000, b"a = " + b"{b=" * 5000, b"a = " + b"9" * 5000])
def test_a_file_made_to_exhaust_the_parser_is_refused_like_any_other(text):
    with pytest.raises(PolicyInvalid):
        parse_policy(text)


@given(st.binary(max_size=300) | st.text(alphabet="[]{}=\"\n.,#'ab_1 ", max_size=300).map(str.encode))
def test_no_file_makes_reading_fail_in_another_way(text):
    try:
        parse_policy(text)
    except PolicyInvalid as caught:
        invalid = caught
    else:
        return
    assert invalid.place


VALUES = st.recursive(
    st.booleans() | st.integers(-10, 2**70) | st.text(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(("table", "name"), PLACES)
@given(value=VALUES)
def test_no_value_in_any_field_makes_reading_fail_in_another_way(table, name, value):
    from vesica_attestation import azure, confidential_space, nitro, sev_snp, tdx, tpm

    readers = {
        "sev_snp": sev_snp, "tdx": tdx, "nitro": nitro, "confidential_space": confidential_space, "azure": azure,
        "tpm": tpm,
    }  # fmt: skip
    try:
        readers[table].read_policy(Table(table, NEEDED[table] | {name: value}))
    except PolicyInvalid as caught:
        invalid = caught
    else:
        return
    assert invalid.place.startswith(table)


def test_a_table_gives_each_field_once_and_complains_of_the_rest():
    table = Table("t", {"a": 1, "b": 2})
    assert "a" in table
    assert table.take("a") == 1
    assert "a" not in table
    assert table.names() == ("b",)
    with pytest.raises(PolicyInvalid) as caught:
        table.nothing_else()
    assert caught.value.place == "t.b"
    with pytest.raises(PolicyInvalid) as caught:
        table.take("a")
    assert (caught.value.place, "missing" in caught.value.detail) == ("t.a", True)


@pytest.mark.parametrize("least", [0, 5])
def test_a_whole_number_has_both_bounds(least):
    for value in (least, least + 1, 9):
        assert Table("t", {"n": value}).integer("n", least=least, most=9) == value
    for value in (least - 1, 10, 2**64, True, False, 5.0, "5", None, [5]):
        with pytest.raises(PolicyInvalid):
            Table("t", {"n": value}).integer("n", least=least, most=9)


def test_lists_have_both_bounds():
    assert len(Table("t", {"l": [str(n) for n in range(LIST_MAX)]}).texts("l")) == LIST_MAX
    assert Table("t", {"l": []}).texts("l", least=0) == frozenset()
    assert Table("t", {"l": ["x" * TEXT_CHARACTERS_MAX]}).texts("l")
    for wrong in ([], ["x"] * (LIST_MAX + 1), ["x" * (TEXT_CHARACTERS_MAX + 1)], [""], ["x", 1], "x", {"x": 1}, None):
        with pytest.raises(PolicyInvalid):
            Table("t", {"l": wrong}).texts("l")
    assert Table("t", {"l": [0, 3]}).integers("l", most=3) == frozenset({0, 3})
    for wrong in ([], [4], [-1], [True], [1.0], ["1"], 1, list(range(LIST_MAX + 1))):
        with pytest.raises(PolicyInvalid):
            Table("t", {"l": wrong}).integers("l", most=3)


def test_a_list_that_names_the_same_twice_is_refused():
    with pytest.raises(PolicyInvalid):
        Table("t", {"l": ["x", "x"]}).texts("l")
