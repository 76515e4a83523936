"""What a program of this machine sends through ``vesica connect``: its body, read piece by piece, strictly framed.

A body that ends early raises; it is never taken for a whole one. (The proxy writes the framing of what it sends on
by itself, so that two parsers cannot read one request differently.)
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from io import BufferedIOBase
from typing import Final

from python_multipart.multipart import parse_options_header

from vesica.errors import MediaTypeUnsupported, RequestInvalid, RequestTooLarge, TooLarge, UploadIncomplete
from vesica.form import Form
from vesica.limits import FORM_OVERHEAD_BYTES_MAX, SUBMISSION_BYTES_MAX

PIECE_BYTES: Final = 2**16
_LINE_BYTES_MAX: Final = 1_024
_TRAILERS_MAX: Final = 16
_LENGTH: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
# curl --data-binary says "urlencoded" when it is told nothing else, though it sends the file as it is.
_RAW_TYPES: Final = ("text/csv", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded", "")
_UTF8: Final = (b"utf-8", b"utf8", b"us-ascii", b"")


@dataclass(frozen=True)
class Body:
    """A request's body. length: bytes; None: chunked, so that its end is seen when it comes."""

    stream: BufferedIOBase
    length: int | None

    def pieces(self) -> Iterator[bytes]:
        """The bytes as they come.

        Raises UploadIncomplete where they end, or stall, before their end.
        """
        try:
            yield from self._chunked() if self.length is None else self._counted(self.length)
        except TimeoutError:
            raise UploadIncomplete("nothing arrived for too long; send the file again") from None
        except ConnectionError:
            raise UploadIncomplete("the connection ended before the file did; send it again") from None

    def _counted(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self.stream.read1(min(PIECE_BYTES, left))
            if not piece:
                raise UploadIncomplete("the connection ended before the file did; send it again")
            left -= len(piece)
            yield piece

    def _chunked(self) -> Iterator[bytes]:
        while True:
            line = self.stream.readline(_LINE_BYTES_MAX)
            size = _SIZE.fullmatch(line)
            if size is None:
                raise UploadIncomplete("a body whose chunks are not well formed, or that ended early")
            left = int(size[1], 16)
            if not left:
                break
            yield from self._counted(left)
            if self.stream.read(2) != b"\r\n":
                raise UploadIncomplete("a body whose chunks are not well formed, or that ended early")
        for _ in range(_TRAILERS_MAX):
            if self.stream.readline(_LINE_BYTES_MAX) == b"\r\n":
                return
        raise UploadIncomplete("a body whose chunks are not well formed, or that ended early")


def body_of(headers: Message, stream: BufferedIOBase) -> Body:
    """The body of a request; of one that announces none, an empty one.

    Raises RequestInvalid where its length is told twice or in another way than HTTP/1.1 has.
    """
    lengths, codings = headers.get_all("Content-Length", []), headers.get_all("Transfer-Encoding", [])
    if len(lengths) + len(codings) > 1 or any(coding.strip().lower() != "chunked" for coding in codings):
        raise RequestInvalid("a request tells the length of its body once, by Content-Length or chunked")
    if codings:
        return Body(stream, None)
    if any(_LENGTH.fullmatch(length) is None for length in lengths):
        raise RequestInvalid("a Content-Length that is not a number")
    return Body(stream, int(lengths[0]) if lengths else 0)


def small(body: Body, bytes_max: int) -> bytes:
    """A whole small body.

    Raises RequestTooLarge, UploadIncomplete.
    """
    read = bytearray()
    for piece in body.pieces():
        read += piece
        if len(read) > bytes_max:
            raise RequestTooLarge(f"a request of more than {bytes_max} bytes")
    return bytes(read)


def csv_of(headers: Message, body: Body) -> tuple[Iterator[bytes], int | None]:
    """The bytes of one CSV, from a raw body or from the form field ``csv_file``, and how many, where that is known.

    Raises MediaTypeUnsupported, TooLarge, FormInvalid at once; while it is read, UploadIncomplete too.
    """
    kind, options = parse_options_header(headers.get("Content-Type", ""))
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise MediaTypeUnsupported("send the CSV as it is, without Content-Encoding")
    if options.get(b"charset", b"").lower() not in _UTF8:
        raise MediaTypeUnsupported("send the CSV in UTF-8")
    media = kind.decode("latin-1").lower()
    if media in _RAW_TYPES:
        _require_room(body, SUBMISSION_BYTES_MAX)
        return _bounded(body, SUBMISSION_BYTES_MAX), body.length
    if media == "multipart/form-data":
        _require_room(body, SUBMISSION_BYTES_MAX + FORM_OVERHEAD_BYTES_MAX)
        return _from_form(Form(options.get(b"boundary", b"")), body), None
    raise MediaTypeUnsupported(
        "send the CSV as the body (curl -H 'Content-Type: text/csv' --data-binary @FILE) or as a form "
        "(curl -F csv_file=@FILE); this proxy seals it"
    )


def _require_room(body: Body, bytes_max: int) -> None:
    if body.length is not None and body.length > bytes_max:
        raise TooLarge(f"a submission may have at most {SUBMISSION_BYTES_MAX} bytes")


def _bounded(body: Body, bytes_max: int) -> Iterator[bytes]:
    read = 0
    for piece in body.pieces():
        read += len(piece)
        if read > bytes_max:
            raise TooLarge(f"a submission may have at most {SUBMISSION_BYTES_MAX} bytes")
        yield piece


def _from_form(form: Form, body: Body) -> Iterator[bytes]:
    for piece in _bounded(body, SUBMISSION_BYTES_MAX + FORM_OVERHEAD_BYTES_MAX):
        yield form.feed(piece)
    yield form.finish()
