"""Every fault of a file: which error, which line, which column; and never a cell."""

import pytest

from vesica import errors, limits
from vesica.intake import Intake
from vesica.keys import KeySecret
from vesica.terms import Duplicates, KeyColumn, KeyTerms, Normaliser

ONE = KeyTerms()
TWO = KeyTerms((KeyColumn("name"), KeyColumn("born", (Normaliser.TRIM,))))


def submit(data, terms=ONE, step=None):
    intake = Intake(terms, KeySecret())
    for i in range(0, len(data), step or max(1, len(data))):
        intake.feed(data[i : i + (step or len(data))])
    return intake.finish()


FAULTS = [
    # terms, file, error, line, column
    (ONE, b"", errors.EmptyFile, None, None),
    (ONE, b"\xef\xbb\xbf", errors.EmptyFile, None, None),
    (ONE, b"id", errors.EmptyFile, 1, None),
    (ONE, b"id\n", errors.EmptyFile, 1, None),
    (ONE, b"id,secret-header\na,b\n", errors.HeaderMismatch, 1, None),
    (TWO, b"name\nsecret\n", errors.HeaderMismatch, 1, "born"),
    (TWO, b"name,born,secret\na,b,c\n", errors.HeaderMismatch, 1, None),
    (TWO, b"name,name\na,b\n", errors.HeaderMismatch, 1, None),
    (TWO, b"Name,born\na,b\n", errors.HeaderMismatch, 1, "name"),
    (ONE, b"id\n" + b"x" * 20 + b"\nsecret,b\n", errors.RaggedRow, 3, None),
    (TWO, b"name,born\na,b\nsecret\n", errors.RaggedRow, 3, None),
    (TWO, b"name,born\na,b\nsecret,b,c\n", errors.RaggedRow, 3, None),
    (TWO, b"name,born\na,b\n\na,c\n", errors.RaggedRow, 3, None),
    (ONE, b'id\n"a\nb"\nsecret,b\n', errors.RaggedRow, 4, None),
    (ONE, b'id\na\nsec"ret\n', errors.BadQuote, 3, None),
    (ONE, b'id\na\n"secret"x\n', errors.BadQuote, 3, None),
    (ONE, b'id\na\n"sec"re"t"\n', errors.BadQuote, 3, None),
    (ONE, b'id\na\n"secret\nb\n', errors.BadQuote, 3, None),
    (ONE, b"id\na\nsecret\xff\n", errors.NotUtf8, 3, None),
    (ONE, b"id\na\nsecret\xc3\n", errors.NotUtf8, 3, None),
    (ONE, b"id\na\nsecret\xed\xa0\x80\n", errors.NotUtf8, 3, None),  # a surrogate
    (ONE, b"\xff\xfei\0d\0\n\0", errors.NotUtf8, 1, None),
    (ONE, b"id\na\nsec\0ret\n", errors.NulByte, 3, None),
    (ONE, b"id\na\n\nb\n", errors.EmptyValue, 3, None),
    (ONE, b"id\na\nb\n\n", errors.EmptyValue, 4, None),
    (ONE, b'id\na\n""\n', errors.EmptyValue, 3, None),
    (TWO, b"name,born\na,b\nsecret,\n", errors.EmptyValue, 3, "born"),
    (TWO, b"name,born\na,b\nsecret,  \n", errors.EmptyValue, 3, "born"),
    (ONE, b"id\nsecret\na\nb\nsecret\n", errors.DuplicateRow, 5, None),
    (ONE, b"id\rsecret\ra\rb\rsecret\r", errors.DuplicateRow, 5, None),
    (ONE, b'id\nsecret\n"a\r\nb"\n"secret"\n', errors.DuplicateRow, 5, None),
    (TWO, b"born,name\na,b\nc,d\na ,b\n", errors.DuplicateRow, 4, None),
    (ONE, b"id\na\n" + b"secret" * 1000 + b"\n", errors.ValueTooLong, 3, None),
    (ONE, b'id\na\n"' + b"secret\n" * 200_000, errors.BadQuote, 3, None),
    (ONE, b'id\na\n"' + b"secret\n" * (2 * limits.BLOCK_BYTES // 7), errors.ValueTooLong, 3, None),
    (ONE, b"i" * 20_000 + b"\na\n", errors.HeaderMismatch, 1, None),
]


@pytest.mark.parametrize("step", [None, 1000])
@pytest.mark.parametrize(("terms", "data", "kind", "line", "column"), FAULTS)
def test_each_fault_is_named_with_its_line_and_column_and_no_cell(terms, data, kind, line, column, step):
    with pytest.raises(kind) as caught:
        submit(data, terms, step)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert "secret" not in caught.value.detail
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert len(caught.value.detail) > 20


@pytest.mark.parametrize("step", [5, 10_000, None])
def test_faults_far_into_a_file_have_the_right_line(step, monkeypatch):
    monkeypatch.setattr("vesica.intake.BLOCK_BYTES", 300)
    rows = [f"{i}" for i in range(1, 3000)]
    rows[1234] = '"two\nlines"'
    rows[2500] = "17"
    data = ("id\n" + "\n".join(rows)).encode()
    with pytest.raises(errors.DuplicateRow) as caught:
        submit(data, step=step)
    assert caught.value.line == 2500 + 2 + 1
    assert "line 18 " in caught.value.detail


def test_more_bytes_or_rows_than_allowed_are_refused(monkeypatch):
    monkeypatch.setattr("vesica.intake.SUBMISSION_BYTES_MAX", 100)
    with pytest.raises(errors.TooLarge):
        submit(b"id\n" + b"x\n" * 50, step=10)
    monkeypatch.setattr("vesica.intake.SUBMISSION_BYTES_MAX", limits.SUBMISSION_BYTES_MAX)
    monkeypatch.setattr("vesica.intake.SUBMISSION_ROWS_MAX", 3)
    with pytest.raises(errors.TooLarge):
        submit(b"id\na\nb\nc\nd\n")


def test_a_billion_row_file_is_not_refused_for_a_collision_in_64_bits(monkeypatch):
    """Two different ids whose first 64 bits agree are told apart by the other 64."""
    from vesica.keys import KeyedHash

    genuine = KeyedHash.values

    def colliding(self, data, starts, ends):
        state = genuine(self, data, starts, ends)
        state[:, 0] = 7
        return state

    monkeypatch.setattr(KeyedHash, "values", colliding)
    assert submit(b"id\na\nb\nc\n").rows == 3
    with pytest.raises(errors.DuplicateRow) as caught:
        submit(b"id\na\nb\nc\nb\n")
    assert caught.value.line == 5


def test_with_drop_repeated_rows_count_once():
    keys = submit(b"id\na\nb\na\na\n", KeyTerms((KeyColumn(None),), Duplicates.DROP))
    assert (keys.rows, keys.dropped, keys.sorted_keys.size) == (2, 2, 2)


@pytest.mark.parametrize(
    "data", [b"id\na\nb", b"id\r\na\r\nb\r\n", b"id\ra\rb\r", b"\xef\xbb\xbfid\na\nb\n", b'"id"\n"a"\n"b"']
)
def test_line_ends_quotes_and_byte_order_marks_make_no_difference(data):
    secret = KeySecret()
    plain, other = Intake(ONE, secret), Intake(ONE, secret)
    plain.feed(b"id\na\nb\n")
    other.feed(data)
    assert plain.finish().sorted_keys.tolist() == other.finish().sorted_keys.tolist()
