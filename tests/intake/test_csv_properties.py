"""The CSV reader against an independent writer and reader (Python's csv module), and against itself in other blocks."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesica import csvtext
from vesica.csvtext import count_lines, first_record, split_records
from vesica.errors import SubmissionRejected, VesicaError
from vesica.intake import Intake
from vesica.keys import KeySecret
from vesica.terms import Duplicates, KeyColumn, KeyTerms

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
AWKWARD = st.text(st.sampled_from(list('a,"\n\r\té \ufeff')), min_size=1, max_size=8)
VALUE = st.one_of(TEXT, AWKWARD)
SECRET = KeySecret()


def written(rows, line_end, quoting):
    out = io.StringIO()
    csv.writer(out, lineterminator=line_end, quoting=quoting).writerows(rows)
    return out.getvalue().encode()


@given(st.integers(1, 5), st.integers(0, 8), st.lists(st.booleans(), max_size=12))
def test_places_are_found_where_they_lie_evenly_and_where_they_do_not(step, times, rest):
    mask = np.array([*([False] * (step - 1) + [True]) * times, *rest], bool)
    assert csvtext._places(mask).tolist() == [at for at, hit in enumerate(mask.tolist()) if hit]


def read_in_blocks(data, columns, sizes):
    """All rows, with the data cut at the given sizes (then in one piece), as Intake cuts it."""
    rows, lines, line, rest, at = [], [], 1, b"", 0
    cuts = [*sizes, len(data)]
    for i, size in enumerate(cuts):
        final = i == len(cuts) - 1
        rest += data[at:] if final else data[at : at + size]
        at += size
        records, used = split_records(rest, columns=columns, first_line=line, final=final)
        for row in range(len(records.starts)):
            spans = zip(records.starts[row].tolist(), records.ends[row].tolist(), strict=True)
            rows.append([records.data[start:end].decode() for start, end in spans])
            lines.append(records.line(row))
        line += count_lines(rest[:used])
        rest = rest[used:]
    assert rest == b""
    return rows, lines


@settings(max_examples=400)
@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(VALUE, min_size=n, max_size=n), min_size=1, max_size=8)),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.lists(st.integers(0, 9), max_size=30),
)
def test_what_a_csv_writer_wrote_comes_back_unchanged_however_it_is_cut(rows, line_end, quoting, sizes):
    # QUOTE_MINIMAL leaves a lone CR in a value unquoted when lines end with LF; RFC 4180 asks for quotes there.
    if quoting == csv.QUOTE_MINIMAL and any("\r" in value or "\n" in value for row in rows for value in row):
        quoting = csv.QUOTE_ALL
    data = written(rows, line_end, quoting)
    got, lines = read_in_blocks(data, len(rows[0]), sizes)
    assert got == rows
    text = data.decode()
    begins = [0]
    for row in rows[:-1]:
        begins.append(begins[-1] + len(written([row], line_end, quoting).decode()))
    newlines_before = [text[:b].replace("\r\n", "\n").replace("\r", "\n").count("\n") for b in begins]
    assert lines == [1 + n for n in newlines_before]


@given(st.lists(VALUE, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n", "\r", ""]))
def test_the_header_is_read_as_any_row_is(names, line_end):
    data = written([names], line_end, csv.QUOTE_ALL)
    found = first_record(data + b"x", final=False) if line_end else first_record(data, final=True)
    if line_end == "\r":
        assert found == (names, len(data))
    else:
        assert found is not None
        assert found[0] == names


@settings(max_examples=600)
@given(st.binary(max_size=60), st.integers(1, 3), st.lists(st.integers(0, 7), max_size=12))
def test_any_bytes_are_read_or_refused_and_the_same_however_they_are_cut(data, columns, sizes):
    def outcome(cuts):
        try:
            return read_in_blocks(data, columns, cuts)
        except SubmissionRejected as error:
            return type(error)

    whole, cut = outcome([]), outcome(sizes)
    # Two faults in one file: which is met first may depend on the cuts, but not whether one is.
    assert isinstance(whole, type) == isinstance(cut, type)
    if not isinstance(whole, type):
        assert whole == cut


CHUNKY = st.lists(st.sampled_from([b"a", b'"', b",", b"\n", b"\r", b'""', b'"a"', b"\xc3", b"\xc3\xa9"]), max_size=25)


@settings(max_examples=800)
@given(CHUNKY, st.integers(1, 2))
def test_strictness_is_that_of_the_csv_modules_strict_mode_or_more(parts, columns):
    """Whatever is accepted, Python's strict reader reads the same; it takes some that RFC 4180 does not."""
    data = b"".join(parts)
    try:
        rows, _ = read_in_blocks(data, columns, [])
    except SubmissionRejected:
        return
    reader = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
    theirs = [row or [""] for row in reader]  # an empty line is a row with one empty value here
    assert rows == theirs


def submit(data, terms=None, step=None):
    intake = Intake(terms or KeyTerms(), SECRET)
    for i in range(0, len(data), step or max(1, len(data))):
        intake.feed(data[i : i + (step or len(data))])
    return intake.finish()


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_intake_of_any_bytes_is_keys_or_a_typed_refusal(data):
    try:
        keys = submit(b"id\n" + data)
    except VesicaError as error:
        refused = error
    else:
        assert keys.rows == keys.sorted_keys.size > 0
        return
    assert refused.code
    assert repr(data) not in refused.detail


@given(st.lists(VALUE, min_size=1, max_size=30))
def test_rows_that_count_are_the_distinct_texts(values):
    terms = KeyTerms((KeyColumn(None),), Duplicates.DROP)
    keys = submit(written([["id"], *([v] for v in values)], "\n", csv.QUOTE_ALL), terms)
    assert keys.rows == len(set(values))
    assert keys.dropped == len(values) - len(set(values))


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_the_same_file_in_other_chunks_gives_the_same_keys(step):
    data = 'id\r\n"a\r\nb"\r\n"c""d"\r\n\u00e9\r\nlast'.encode()
    assert submit(data, step=step).sorted_keys.tolist() == submit(data).sorted_keys.tolist()
