"""Known truths, end to end over HTTP: at epsilon 50 a released count is the true one, but for 1e-21."""

import importlib.resources
import json
from pathlib import Path

import pytest

from support.server import agreement_text, running_room
from support.wire import count, csv_of, release, submit

DATA = Path(__file__).parents[1] / "data"
DEMO = importlib.resources.files("vesica") / "demo_data"
EXACT = json.loads((DATA / "ids_exact" / "expected.json").read_text())
NUMERIC = json.loads((DATA / "ids_numeric" / "expected.json").read_text())
TWO = {"alice": "60", "bob": "60"}
SHARED = Path(__file__).parents[3] / "shared" / "data"


def truths(agreement: str, a: bytes, b: bytes) -> dict[str, int]:
    """What two parties are told: the rows that counted, and the released counts (the union in a room of its own: one
    release at epsilon 50 is all that a limit of 60 allows)."""
    told = {}
    for statistic, name in [("intersection_cardinality", "intersection"), ("union_cardinality", "union")]:
        with running_room(agreement) as room:
            for party, data, label in [("alice", a, "A_distinct"), ("bob", b, "B_distinct")]:
                answer = submit(room.url, party, data)
                assert answer.status_code == 201, answer.text
                told[label] = answer.json()["rows"]
            told[name] = count(room.url, "bob", statistic=statistic)
            assert release(room.url, "bob", "20", statistic=statistic).json()["code"] == "budget-exceeded"
    return told


@pytest.mark.parametrize("mode", EXACT["modes"])
def test_ids_that_software_likes_to_change_are_counted_as_agreed(mode: str) -> None:
    normalise = [] if mode == "raw" else mode.split("+")
    agreement = agreement_text(TWO, normalise=normalise, duplicates="drop")
    a, b = ((DEMO / f"party_{letter}.csv").read_bytes() for letter in "ab")
    assert truths(agreement, a, b) == EXACT["modes"][mode]


def test_the_expected_counts_are_the_ones_that_were_agreed() -> None:
    raw = EXACT["modes"]["raw"]
    assert (raw["A_distinct"], raw["B_distinct"], raw["intersection"], raw["union"]) == (34_797, 28_597, 16_818, 46_576)
    assert NUMERIC["raw"]["intersection"] == 15_000


def test_without_normalisers_no_row_repeats_and_duplicates_may_be_refused() -> None:
    a, b = ((DEMO / f"party_{letter}.csv").read_bytes() for letter in "ab")
    with running_room(agreement_text(TWO)) as room:
        answer = submit(room.url, "alice", a).json()
        assert (answer["party"], answer["rows"], answer["dropped"]) == ("alice", 34_797, 0)
        assert submit(room.url, "bob", b).status_code == 201
        assert count(room.url, "alice") == 16_818


@pytest.mark.parametrize("words", [["trim", "nfc", "casefold"], ["trim", "nfkc", "casefold"]])
def test_normalisers_that_make_rows_equal_refuse_the_file_unless_dropping_is_agreed(words: list[str]) -> None:
    a = (DEMO / "party_a.csv").read_bytes()
    with running_room(agreement_text(TWO, normalise=words)) as room:
        assert submit(room.url, "alice", a).json()["code"] == "duplicate-row"
    with running_room(agreement_text(TWO, normalise=words, duplicates="drop")) as room:
        assert submit(room.url, "alice", a).json()["dropped"] == 34_797 - EXACT["modes"]["+".join(words)]["A_distinct"]


def test_long_numbers_are_text() -> None:
    a, b = ((DATA / "ids_numeric" / f"party_{letter}.csv").read_bytes() for letter in "ab")
    told = truths(agreement_text(TWO), a, b)
    assert told == NUMERIC["raw"]
    assert told["intersection"] not in [wrong["intersection"] for key, wrong in NUMERIC.items() if "wrong" in key]


def test_three_parties_and_every_pair_of_them() -> None:
    a, b = ((DEMO / f"party_{letter}.csv").read_bytes() for letter in "ab")
    common = set(rows(a)) & set(rows(b))
    third = sorted(common)[:1_234] + [f"only-c-{i}" for i in range(5_000)] + sorted(set(rows(a)) - common)[:100]
    pairs = {("alice", "bob"): 16_818, ("alice", "carol"): 1_334, ("bob", "carol"): 1_234}
    quoted = 'id\n"' + '"\n"'.join(v.replace('"', '""') for v in third) + '"\n'
    with running_room(agreement_text({"alice": "100", "bob": "100", "carol": "100"})) as room:
        assert submit(room.url, "carol", quoted.encode()).json()["rows"] == 6_334
        assert submit(room.url, "alice", a).status_code == 201
        assert submit(room.url, "bob", b).status_code == 201
        assert count(room.url, "carol", epsilon="25") == 1_234
        assert count(room.url, "carol", epsilon="25", statistic="union_cardinality") == 46_576 + 5_000
        for pair, truth in pairs.items():
            assert count(room.url, "alice", epsilon="25", parties=list(pair)) == truth


def test_nothing_in_common_is_nought() -> None:
    with running_room(agreement_text({"alice": "100", "bob": "100"})) as room:
        assert submit(room.url, "alice", csv_of(f"a{i}" for i in range(2_000))).status_code == 201
        assert submit(room.url, "bob", csv_of(f"b{i}" for i in range(3_000))).status_code == 201
        assert count(room.url, "alice") == 0
        assert count(room.url, "alice", statistic="union_cardinality") == 5_000


def test_one_row_each_is_enough() -> None:
    with running_room(agreement_text({"alice": "100", "bob": "100"})) as room:
        assert submit(room.url, "alice", b"a\n1").json()["rows"] == 1
        assert submit(room.url, "bob", b'"b"\r\n"1"\r\n').json()["rows"] == 1
        assert count(room.url, "alice") == 1
        assert count(room.url, "alice", statistic="union_cardinality") == 1


def test_keys_of_two_columns_are_framed_and_columns_may_stand_in_any_order() -> None:
    with running_room(agreement_text({"alice": "60", "bob": "60"}, columns=["first", "last"])) as room:
        assert submit(room.url, "alice", b"first,last\nab,c\nx,y\nq,r\n").status_code == 201
        assert submit(room.url, "bob", b"last,first\nbc,a\ny,x\nq,r\n").status_code == 201
        assert count(room.url, "alice") == 1


def test_the_copies_here_are_the_data_that_all_agreed_on() -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared data is not on this machine")
    for name in ("ids_exact/expected.json", "ids_exact/near_misses.csv", "ids_numeric/expected.json"):
        assert (SHARED / name).read_bytes() == (DATA / name).read_bytes()
    for letter in "ab":
        assert (SHARED / f"ids_exact/party_{letter}.csv").read_bytes() == (DEMO / f"party_{letter}.csv").read_bytes()
        numeric = f"ids_numeric/party_{letter}.csv"
        assert (SHARED / numeric).read_bytes() == (DATA / numeric).read_bytes()


def rows(data: bytes) -> list[str]:
    """A file of one column, read by another hand than ours."""
    import csv
    import io

    _, *found = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    return [row[0] for row in found]
