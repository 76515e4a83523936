"""Intake: the bytes of one submission, as they arrive, become sorted keys. The text is dropped block by block.

``Intake(terms, secret)``, then ``feed`` any number of times, then ``finish`` once; after any error the object is
useless and is thrown away. It does no input or output and knows no party: it can be tested with bytes alone.

Memory, per row: 20 bytes of keys until their uniqueness is decided, 8 afterwards; and 4 for the line of each row in
blocks whose values hold line ends.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesica import unique
from vesica.csvtext import Bytes, Index, Records, check_lengths, count_lines, first_record, split_records
from vesica.errors import EmptyFile, EmptyValue, HeaderMismatch, NotUtf8, TooLarge, ValueTooLong
from vesica.evenrows import even_rows
from vesica.keys import PADDING, KeyedHash, KeySecret, Words
from vesica.limits import (
    BLOCK_BYTES,
    HEADER_BYTES_MAX,
    RECORD_BYTES_MAX,
    SUBMISSION_BYTES_MAX,
    SUBMISSION_ROWS_MAX,
    VALUE_BYTES_MAX,
)
from vesica.normalise import normalise
from vesica.terms import Duplicates, KeyColumn, KeyTerms

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Keys:
    """One accepted submission. ``sorted_keys``: the first 64 bits of each row's key, ascending, no value twice.

    rows: rows in the file that count. dropped: further rows that repeated a key (only with ``duplicates = "drop"``).
    Both are for the party alone that sent the file.
    """

    sorted_keys: NDArray[np.uint64]
    rows: int
    dropped: int


class Intake:
    """The state of one submission on its way in."""

    def __init__(self, terms: KeyTerms, secret: KeySecret) -> None:
        self._terms = terms
        self._hash = KeyedHash(secret)
        # Filled with numpy and not joined: numpy lets the event loop run meanwhile.
        self._text: Bytes = np.empty(max(HEADER_BYTES_MAX, RECORD_BYTES_MAX) + BLOCK_BYTES + PADDING, np.uint8)
        self._size = 0  # how much of it is filled
        self._new = 0  # how much of that came since it was last worked through
        self._bytes = 0
        self._line = 1
        self._columns: tuple[int, ...] | None = None  # where each key column stands in the file; None before the header
        self._width = 0
        self._rows = 0
        self._keys = unique.KeyLog()
        self._plain = len(terms.columns) == 1 and not terms.columns[0].normalise  # rows are keyed as they stand

    def feed(self, data: bytes) -> None:
        """More bytes of the file, of any size.

        Raises a SubmissionRejected that names the line.
        """
        self._bytes += len(data)
        if self._bytes > SUBMISSION_BYTES_MAX:
            raise TooLarge(f"more than {SUBMISSION_BYTES_MAX} bytes")
        left = np.frombuffer(data, np.uint8)
        while left.size:
            piece = left[: BLOCK_BYTES - self._new]
            self._text[self._size : self._size + piece.size] = piece
            self._size += piece.size
            self._new += piece.size
            left = left[piece.size :]
            if self._new >= BLOCK_BYTES:
                self._take(final=False)

    def finish(self) -> Keys:
        """The keys, when all bytes have come.

        Raises a SubmissionRejected that names the line, DuplicateRow among them.
        """
        self._take(final=True)
        if self._columns is None:
            raise EmptyFile("the file is empty; its first line names the columns, and each line after it is one row")
        if self._rows == 0:
            raise EmptyFile("the file has a header and no rows", line=1)
        drop = self._terms.duplicates is Duplicates.DROP
        sorted_keys = self._keys.distinct() if drop else self._keys.all_different()
        kept = sorted_keys.size if drop else self._rows
        return Keys(sorted_keys, kept, self._rows - kept)

    def discard(self) -> None:
        """Lets go of all keys. Where a submission is refused or given up, that may be gigabytes."""
        self._keys.clear()

    def _take(self, *, final: bool) -> None:
        """Works through what is waiting; an incomplete last row waits on."""
        self._new = 0  # only new bytes count, or a long rest would be worked through again at every feed
        text = self._text[: self._size]
        even = even_rows(text, VALUE_BYTES_MAX) if self._plain and self._columns is not None and not final else None
        if even is not None:
            self._count(even.count)
            self._keys.append(self._hash.even(self._text, even), self._line)
            self._line += even.count
            self._rest(text[even.used :])
            return
        block = text.tobytes()
        if self._columns is None:
            block = self._header(block, final=final)
        if self._columns is not None and block:
            records, used = split_records(block, columns=self._width, first_line=self._line, final=final)
            self._key(records)
            self._line = records.next_line
            block = block[used:]
            if len(block) > RECORD_BYTES_MAX:
                raise ValueTooLong(
                    f"a row of more than {RECORD_BYTES_MAX} bytes; most often a quote is opened here and never closed",
                    line=self._line,
                )
        self._rest(np.frombuffer(block, np.uint8))

    def _rest(self, text: Bytes) -> None:
        """What is left of the text, to be continued."""
        self._size = text.size
        self._text[: text.size] = text

    def _header(self, block: bytes, *, final: bool) -> bytes:
        """Takes the first line off the block and checks it against the terms; no text is quoted back."""
        block = block.removeprefix(_BOM)
        if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise NotUtf8("this is UTF-16: save the file as CSV UTF-8", line=1)
        head = block[:HEADER_BYTES_MAX]
        found = first_record(head, final=final and len(head) == len(block))
        if found is None:
            if len(block) > len(head):
                raise HeaderMismatch(f"the first line is longer than {HEADER_BYTES_MAX} bytes", line=1)
            return block
        names, used = found
        self._columns = _locate(names, self._terms.columns)
        self._width = len(names)
        self._line += count_lines(block[:used])
        return block[used:]

    def _key(self, records: Records) -> None:
        """Hashes the key columns of some rows."""
        check_lengths(records, VALUE_BYTES_MAX)
        rows = len(records.starts)
        if rows == 0 or self._columns is None:
            return
        self._count(rows)
        hashed = [
            self._hash_column(records, place, column)
            for place, column in zip(self._columns, self._terms.columns, strict=True)
        ]
        self._keys.append(self._hash.rows(hashed), records.first_line, records.lines)

    def _count(self, more: int) -> None:
        """Counts rows, and bounds them."""
        self._rows += more
        if self._rows > SUBMISSION_ROWS_MAX:
            raise TooLarge(f"more than {SUBMISSION_ROWS_MAX} rows")

    def _hash_column(self, records: Records, place: int, column: KeyColumn) -> Words:
        data, starts, ends = records.data, records.starts[:, place], records.ends[:, place]
        _refuse_empty(records, starts, ends, column, "")
        if column.normalise:
            data, starts, ends = _normalised(data, starts, ends, column)
            _refuse_empty(records, starts, ends, column, ", once normalised as agreed")
        return self._hash.values(data, starts, ends)


def _locate(names: list[str], wanted: tuple[KeyColumn, ...]) -> tuple[int, ...]:
    """Where each key column stands in the file."""
    if len(set(names)) != len(names):
        raise HeaderMismatch("the first line names a column twice", line=1)
    if wanted[0].name is None:
        if len(names) != 1:
            raise HeaderMismatch(
                f"the agreement names no column, so the file must have exactly one; this one has {len(names)}",
                line=1,
            )
        return (0,)
    agreed = [column.name for column in wanted if column.name is not None]
    missing = [name for name in agreed if name not in names]
    if missing:
        raise HeaderMismatch(
            f"the first line must name the agreed columns ({', '.join(agreed)}); missing: {', '.join(missing)}",
            line=1,
            column=missing[0],
        )
    if len(names) != len(agreed):
        raise HeaderMismatch(
            f"{len(names) - len(agreed)} columns more than agreed; send only: {', '.join(agreed)}", line=1
        )
    return tuple(names.index(name) for name in agreed)


def _normalised(data: bytes, starts: Index, ends: Index, column: KeyColumn) -> tuple[bytes, Index, Index]:
    """The values of one column after its normalisers, as bytes and where each begins and ends."""
    text = _joined(data, starts, ends)
    after = normalise(text.decode("utf-8"), column.normalise).encode("utf-8")
    after_ends = np.flatnonzero(np.frombuffer(after, np.uint8) == 0)
    if after_ends.size != starts.size:
        raise ValueError("a normaliser changed the number of values")  # a bug, not a fault of the file
    after_starts = np.concatenate((np.zeros(1, np.int64), after_ends[:-1] + 1))
    return after, after_starts, after_ends


def _joined(data: bytes, starts: Index, ends: Index) -> bytes:
    """The values one after the other, a NUL behind each."""
    if (
        starts[1:] <= ends[:-1]
    ).any():  # values that had doubled quotes stand at the end of the data, out of their order
        pairs = zip(starts.tolist(), ends.tolist(), strict=True)
        return b"\0".join([data[start:end] for start, end in pairs]) + b"\0"
    # In order, with a byte between each two (a comma, a line end or a quote): that byte becomes the NUL, the others go.
    text = np.frombuffer(data + b"\0", np.uint8).copy()
    text[ends] = 0
    change = np.zeros(text.size + 1, np.int8)
    change[starts] += 1
    change[ends + 1] -= 1
    return text[np.cumsum(change[:-1], dtype=np.int8).view(np.bool_)].tobytes()


def _refuse_empty(records: Records, starts: Index, ends: Index, column: KeyColumn, when: str) -> None:
    empty = starts == ends
    if empty.any():
        raise EmptyValue(
            f"a key value is empty{when}; leave out rows without one (an empty line at the end counts as a row)",
            line=records.line(int(np.argmax(empty))),
            column=column.name,
        )
