"""DataFrames as submissions, and releases as a DataFrame, for a party that has pandas."""

import csv
import io

import pytest

import vesica
from party.fake_room import POLICY, ROOM, TOKEN, fake_room, replies
from vesica import content, errors, refusals

pd = pytest.importorskip("pandas", reason="pandas is optional for a party")

IDS = ["007", "NA", "1e5", "9007199254740993", 'a "quoted" one', "two\nlines", "comma, comma", " é ", "\r"]


@pytest.mark.parametrize("kind", ["str", "object", "string"])
def test_a_dataframe_of_text_arrives_as_the_same_text(kind):
    columns = {"id": pd.Series(IDS, dtype=kind), 'na"me': pd.Series(["x"] * len(IDS), dtype=kind)}
    frame = pd.DataFrame(columns).set_axis(range(5, 5 + len(IDS)))  # an index, which is not sent
    with fake_room(replies()) as (url, seen), vesica.Room(url, TOKEN, policy=POLICY) as room:
        room.submit(frame)
    rows = list(csv.reader(io.StringIO(ROOM.unseal(seen[-1].body).decode(), newline="")))
    assert rows == [["id", 'na"me'], *([value, "x"] for value in IDS)]


def test_a_long_dataframe_is_written_in_pieces():
    frame = pd.DataFrame({"id": [f"{i:09d}" for i in range(20_000)]})
    chunks = list(content.from_frame(frame).chunks)
    assert len(chunks) == 5
    assert b"".join(chunks).decode().split("\n")[1:-1] == [f'"{i:09d}"' for i in range(20_000)]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1, 2], "int64, not text"),
        ([1.5, 2.0], "float64, not text"),
        ([True, False], "bool, not text"),
        (pd.Categorical(["a", "b"]), "category, not text"),
        (["a", None], "missing"),
        (["a", float("nan")], "missing"),
        (pd.Series(["a", None], dtype="string"), "missing"),
        (pd.Series(["a", 5551234], dtype=object), r"not text \(int\)"),
        (pd.Series(["a", b"5551234"], dtype=object), r"not text \(bytes\)"),
    ],
    ids=["int", "float", "bool", "category", "none", "nan", "pd-na", "mixed", "bytes"],
)
def test_a_dataframe_with_anything_but_text_is_refused_and_not_converted(values, why):
    with pytest.raises(refusals.NotText, match=why) as caught:
        content.from_frame(pd.DataFrame({"id": values}))
    assert caught.value.column == "id"
    assert "5551234" not in str(caught.value)


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(), pd.DataFrame({"id": pd.Series([], dtype=str)})], ids=["nothing", "no-rows"]
)
def test_a_dataframe_without_rows_is_refused(frame):
    with pytest.raises(errors.EmptyFile):
        content.from_frame(frame)


def test_a_dataframe_with_two_columns_of_one_name_or_a_number_for_a_name_is_refused():
    for columns in (["id", "id"], [0, 1]):
        with pytest.raises(refusals.NotText):
            content.from_frame(pd.DataFrame([["a", "b"]], columns=columns))


def test_text_that_is_not_unicode_is_refused():
    with pytest.raises(refusals.NotText):
        list(content.from_frame(pd.DataFrame({"id": pd.Series(["\ud800"], dtype=object)})).chunks)


def test_releases_is_a_dataframe_with_exact_epsilon():
    with fake_room(replies()) as (url, _), vesica.Room(url, TOKEN, policy=POLICY) as room:
        frame = room.releases()
    assert list(frame["value"]) == [100]
    assert (frame["low"][0], frame["high"][0]) == (94, 106)
    assert str(frame["epsilon"][0]) == "0.5"
