"""CSV as RFC 4180 writes it, strictly, a block of bytes at a time: where every value begins and ends. Nothing is typed.

Rows end with LF, CRLF or CR. A value may stand in quotes and then hold commas, line ends and doubled quotes. Anything
else about quotes is refused, not guessed at. The work is done on whole blocks with numpy; only values with doubled
quotes inside are touched one by one.

Source: RFC 4180, section 2, with CR and LF alone allowed as line ends.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesica.errors import BadQuote, NotUtf8, NulByte, RaggedRow, SubmissionRejected, ValueTooLong

_LF, _CR, _QUOTE, _COMMA = 10, 13, 34, 44
_ASCII_MAX = 127

Bytes = NDArray[np.uint8]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Records:
    """Complete rows of one block.

    data: the bytes that values stand in (the block, and after it values that had doubled quotes). starts, ends: shape
    (rows, columns), half-open. lines: shape (rows,), the number in the file of the line on which each row begins, or
    None where rows and lines go together, the first row standing on ``first_line``. next_line: the number of the line
    behind them.
    """

    data: bytes
    starts: Index
    ends: Index
    first_line: int
    lines: NDArray[np.int64] | None
    next_line: int

    def line(self, row: int) -> int:
        """The number in the file, from 1, of the line on which a row begins."""
        return self.first_line + row if self.lines is None else int(self.lines[row])


def count_lines(text: bytes) -> int:
    """Line ends in a text: LF, CRLF and CR each count once."""
    ends = text.count(b"\n")
    if b"\r" in text:
        ends += text.count(b"\r") - text.count(b"\r\n")
    return ends


@dataclass(frozen=True)
class _Block:
    """A block that begins with a row. inside: for each byte, whether it stands between quotes; None: no quotes."""

    block: bytes
    text: Bytes
    inside: NDArray[np.bool_] | None
    first_line: int

    @classmethod
    def of(cls, block: bytes, first_line: int) -> "_Block":
        text: Bytes = np.frombuffer(block, np.uint8)
        # An odd number of quotes up to and including a byte: it stands inside, or opens.
        inside = np.logical_xor.accumulate(text == _QUOTE) if b'"' in block else None
        return cls(block, text, inside, first_line)

    def line_at(self, offset: int) -> int:
        """The number in the file of the line that a byte stands on."""
        return self.first_line + count_lines(self.block[: int(offset)])

    def outside(self, mask: NDArray[np.bool_]) -> Index:
        """Where a mask over the first bytes is set outside quotes."""
        return _places(mask if self.inside is None else mask & ~self.inside[: mask.size])


def _places(mask: NDArray[np.bool_]) -> Index:
    """``np.flatnonzero``. Where they lie evenly, as in a list of ids of one width, counting is enough to know them."""
    count = int(np.count_nonzero(mask))
    first = int(mask.argmax()) if count else 0
    step = first + 1
    if count * step <= mask.size and mask[first : count * step : step].all():
        return np.arange(first, count * step, step)
    return np.flatnonzero(mask)


def first_record(head: bytes, *, final: bool) -> tuple[list[str], int] | None:
    """The values of the first row and how many bytes it takes, or None where it is not complete in ``head``.

    Raises BadQuote, NulByte, NotUtf8.
    """
    whole = _Block.of(head, 1)
    _, next_rows = _row_ends(whole, final=final)
    if not next_rows.size and not (final and head):
        return None
    used = int(next_rows[0]) if next_rows.size else len(head)
    columns = whole.outside(whole.text[:used] == _COMMA).size + 1
    records, _ = split_records(head[:used], columns=columns, first_line=1, final=True)
    spans = zip(records.starts[0].tolist(), records.ends[0].tolist(), strict=True)
    return [records.data[start:end].decode("utf-8") for start, end in spans], used


def split_records(block: bytes, *, columns: int, first_line: int, final: bool) -> tuple[Records, int]:
    """The complete rows of a block, and how many bytes of it they take; the rest belongs to the next block.

    columns: values in every row. first_line: number in the file of the block's first line. final: nothing follows, so
    that a last row without a line end is complete too.

    Raises RaggedRow, BadQuote, NulByte or NotUtf8, with the line.
    """
    whole = _Block.of(block, first_line)
    row_ends, next_rows = _row_ends(whole, final=final)
    used = int(next_rows[-1]) if next_rows.size else 0
    if final and used < len(block):
        if whole.inside is not None and whole.inside[-1]:
            raise BadQuote("a quote is opened and never closed", line=whole.line_at(used))
        used = len(block)
        row_ends, next_rows = np.append(row_ends, used), np.append(next_rows, used)
    _check_text(whole, used)
    row_starts = np.zeros_like(next_rows)
    row_starts[1:] = next_rows[:-1]
    starts, ends = _values(whole, used, row_starts, row_ends, columns)
    data, lines, lines_used = block, None, row_starts.size  # without quotes, a row is a line
    if whole.inside is not None:
        data, starts, ends = _unquote(whole, used, starts, ends)
        lines_used = count_lines(block[:used])
        if lines_used > row_starts.size:
            lines = _line_numbers(whole.text[:used], row_starts, first_line)
    return Records(data, starts, ends, first_line, lines, first_line + lines_used), used


def _row_ends(whole: _Block, *, final: bool) -> tuple[Index, Index]:
    """Where each complete row ends, and where the next one begins (one further, or two after CRLF)."""
    text, has_cr = whole.text, b"\r" in whole.block
    ends = whole.outside((text == _LF) | (text == _CR) if has_cr else text == _LF)
    if not has_cr:
        return ends, ends + 1
    if ends.size and not final and ends[-1] == text.size - 1 and text[-1] == _CR:
        ends = ends[:-1]  # a LF may follow in the next block
    # The LF of a CRLF ends nothing by itself. Both bytes stand on the same side of the quotes: none is between them.
    second = (text[ends] == _LF) & (text[np.maximum(ends - 1, 0)] == _CR) & (ends > 0)
    pair = np.zeros(ends.size, np.int64)
    pair[:-1] = second[1:]
    keep = ~second
    return ends[keep], ends[keep] + 1 + pair[keep]


def _check_text(whole: _Block, used: int) -> None:
    """Refuses NUL and anything that is not UTF-8 in the complete rows."""
    nul = whole.block.find(b"\0", 0, used)
    if nul >= 0:
        raise NulByte(
            "a NUL byte: the file is not plain text (if a spreadsheet wrote it, save it as CSV UTF-8)",
            line=whole.line_at(nul),
        )
    if whole.text.max(initial=0) <= _ASCII_MAX:
        return
    try:
        whole.block[:used].decode("utf-8")
    except UnicodeDecodeError as error:
        line = whole.line_at(error.start)
        raise NotUtf8("bytes that are not UTF-8: save the file as CSV UTF-8", line=line) from None


def _values(whole: _Block, used: int, row_starts: Index, row_ends: Index, columns: int) -> tuple[Index, Index]:
    """Starts and ends of all values, quotes still on, shape (rows, columns)."""
    wanted = columns - 1
    if not wanted and b"," not in whole.block:
        return row_starts[:, None], row_ends[:, None]
    commas = whole.outside(whole.text[:used] == _COMMA)
    even = commas.size == wanted * row_starts.size
    if even and commas.size:
        grid = commas.reshape(-1, wanted)
        even = bool((grid[:, 0] >= row_starts).all() and (grid[:, -1] < row_ends).all())
    if not even:
        have = np.searchsorted(commas, row_ends) - np.searchsorted(commas, row_starts)
        bad = int(np.flatnonzero(have != wanted)[0])
        raise RaggedRow(
            f"{int(have[bad]) + 1} values where the header has {columns}; a value with a comma needs quotes around it",
            line=whole.line_at(row_starts[bad]),
        )
    grid = commas.reshape(row_starts.size, wanted)
    starts = np.concatenate((row_starts[:, None], grid + 1), axis=1)
    ends = np.concatenate((grid, row_ends[:, None]), axis=1)
    return starts, ends


def _unquote(whole: _Block, used: int, starts: Index, ends: Index) -> tuple[bytes, Index, Index]:
    """The same values without their quotes; doubled quotes become one, in a copy behind the block."""
    text = whole.text[:used]
    quotes_upto = np.concatenate((np.zeros(1, np.int64), np.cumsum(text == _QUOTE)))
    quotes = quotes_upto[ends] - quotes_upto[starts]
    opened = (text[np.minimum(starts, used - 1)] == _QUOTE) & (ends > starts)
    closed = text[np.maximum(ends - 1, 0)] == _QUOTE
    well_formed = np.where(opened, closed & (quotes > 1), quotes == 0)
    if not well_formed.all():
        row = int(np.argwhere(~well_formed)[0][0])
        raise _bad_quote(whole, starts[row, 0])
    first_of_row = starts[:, 0].copy()
    starts = starts + opened
    ends = ends - opened
    extra: list[bytes] = []
    length = len(whole.block)
    doubled = opened & (quotes > 2)  # noqa: PLR2004 (more than the outer two)
    for row, column in np.argwhere(doubled).tolist():
        value = whole.block[starts[row, column] : ends[row, column]]
        if b'"' in value.replace(b'""', b""):
            raise _bad_quote(whole, first_of_row[row])
        value = value.replace(b'""', b'"')
        starts[row, column], ends[row, column] = length, length + len(value)
        extra.append(value)
        length += len(value)
    return b"".join((whole.block, *extra)) if extra else whole.block, starts, ends


def _bad_quote(whole: _Block, row_start: int) -> SubmissionRejected:
    return BadQuote(
        "a quote that does not enclose a whole value; put quotes around the value and double those inside it",
        line=whole.line_at(row_start),
    )


def _line_numbers(text: Bytes, row_starts: Index, first_line: int) -> NDArray[np.int64]:
    """For each row, the line that it begins on, where values hold line ends."""
    is_end = text == _LF
    is_end[1:] &= text[:-1] != _CR
    is_end |= text == _CR
    numbers: NDArray[np.int64] = first_line + np.searchsorted(np.flatnonzero(is_end), row_starts)
    return numbers


def check_lengths(records: Records, longest: int) -> None:
    """Raises ValueTooLong, with the line, where a value has more than ``longest`` bytes."""
    lengths = records.ends - records.starts
    if lengths.size and int(lengths.max()) > longest:
        row = int(np.argwhere(lengths > longest)[0][0])
        raise ValueTooLong(
            f"a value of more than {longest} bytes; an id is shorter (is a quote missing its partner?)",
            line=records.line(row),
        )
