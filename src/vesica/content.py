"""A submission's bytes, from a file, a stream or a DataFrame.

In order, in bounded memory, never written anywhere.
"""

import csv
import hashlib
import importlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from vesica.errors import EmptyFile, TooLarge
from vesica.limits import SUBMISSION_BYTES_MAX
from vesica.refusals import FileUnreadable, NotText, PandasMissing

if TYPE_CHECKING:
    import pandas as pd

CHUNK_BYTES: Final = 2**18
_FRAME_ROWS: Final = 4_096  # rows of a DataFrame written at once

CSV_TYPE: Final = "text/csv; charset=utf-8"
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Content:
    """What is to be sent. ``length``: bytes, or None where that is not known before the end.

    sha256: of all of it, where it was read once before; None where it was not, or cannot be.
    """

    chunks: Iterable[bytes]
    length: int | None
    sha256: bytes | None = None


def from_stream(stream: BinaryIO, *, hashed: bool = False) -> Content:
    """The bytes of an open file: a pipe or standard input as well as a regular file.

    hashed: read a regular file twice, the first time for its digest.
    """
    length = None
    try:
        mode = os.fstat(stream.fileno())
    except io.UnsupportedOperation:  # bytes in memory: their end is seen when it comes
        mode = None
    if mode is not None and stat.S_ISREG(mode.st_mode):
        length = mode.st_size - stream.tell()
        if length == 0:
            raise EmptyFile("the file is empty")
        if length > SUBMISSION_BYTES_MAX:
            raise TooLarge(f"the file is larger than the {SUBMISSION_BYTES_MAX} bytes that a submission may have")
    if length is None:
        return Content(iter(lambda: stream.read(CHUNK_BYTES), b""), None)
    digest = None
    if hashed:
        start, hasher = stream.tell(), hashlib.sha256()
        for chunk in _exactly(stream, length):
            hasher.update(chunk)
        stream.seek(start)
        digest = hasher.digest()
    return Content(_exactly(stream, length), length, digest)


def hashed(chunks: Iterable[bytes], tell: Callable[[bytes], None]) -> Iterator[bytes]:
    """The same chunks. Before the last one leaves, ``tell`` gets the SHA-256 of all; if it raises, that one stays."""
    hasher = hashlib.sha256()
    held = b""
    for chunk in chunks:
        hasher.update(chunk)
        if held:
            yield held
        held = chunk
    tell(hasher.digest())
    yield held


def changed() -> FileUnreadable:
    """A file that is not the same from one look to the next."""
    return FileUnreadable("the file changed while it was read; nothing was submitted")


def _exactly(stream: BinaryIO, length: int) -> Iterator[bytes]:
    """As many bytes as were announced. A file that is written to while it is read is nothing to submit.

    Raises FileUnreadable before the last bytes leave, so that a room never takes a part for the whole.
    """
    left = length
    while left:
        chunk = stream.read(min(CHUNK_BYTES, left))
        left -= len(chunk)
        if not chunk or (not left and stream.read(1)):
            raise changed()
        yield chunk


def open_file(path: Path) -> BinaryIO:
    """A file, opened for reading.

    Raises FileUnreadable.
    """
    try:
        return path.open("rb")
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}") from None


def watched(content: Content, progress: Progress | None) -> Iterable[bytes]:
    """The chunks, telling ``progress`` how many bytes went by, of how many."""
    if progress is None:
        return content.chunks
    return _telling(content, progress)


def _telling(content: Content, progress: Progress) -> Iterator[bytes]:
    sent = 0
    for chunk in content.chunks:
        yield chunk
        sent += len(chunk)
        progress(sent, content.length)


def from_frame(frame: "pd.DataFrame") -> Content:
    """A DataFrame as CSV. Its index is not sent. Every column is text, every value there.

    A column of numbers is refused, not converted: ``007`` was lost when it became 7, and nobody would notice.

    Raises NotText or EmptyFile.
    """
    names = list(frame.columns)
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise NotText("the DataFrame's column names must be text, and all different")
    if not names or len(frame) == 0:
        raise EmptyFile("the DataFrame has no rows")
    for position, name in enumerate(names):
        _require_text(frame.iloc[:, position], name)
    return Content(_frame_chunks(frame, names), None)


def _require_text(column: "pd.Series[Any]", name: str) -> None:
    kind = str(column.dtype)
    if kind != "object" and not kind.startswith(("str", "string")):
        raise NotText(
            f"a column of the DataFrame is {kind}, not text: zeros or digits may be lost already. "
            'Read the file with pandas.read_csv(..., dtype="str", keep_default_na=False), or submit it as it is',
            column=name,
        )
    missing = column.isna()
    for position, value in enumerate(column):
        if not isinstance(value, str):
            what = "missing (NaN or None)" if missing.iloc[position] else f"not text ({type(value).__name__})"
            raise NotText(
                f"the value at position {position} of a column of the DataFrame is {what}. Ids are text: "
                "leave out rows without one, and read files with keep_default_na=False so that an id `NA` stays one",
                column=name,
            )


def _frame_chunks(frame: "pd.DataFrame", names: list[str]) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(names)
    for start in range(0, len(frame), _FRAME_ROWS):
        writer.writerows(frame.iloc[start : start + _FRAME_ROWS].itertuples(index=False, name=None))
        try:
            yield text.getvalue().encode()
        except UnicodeEncodeError:
            raise NotText(f"a text in the DataFrame's rows from position {start} is not Unicode") from None
        text.seek(0)
        text.truncate()


def import_pandas() -> "type[pd.DataFrame]":
    """The DataFrame class, imported when first needed.

    Raises PandasMissing.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ModuleNotFoundError:
        raise PandasMissing(
            "this needs pandas: pip install 'vesica[pandas]' (Room.released() gives the same without)"
        ) from None
    frame: type[pd.DataFrame] = pandas.DataFrame
    return frame
