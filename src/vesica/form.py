"""A multipart form with one file, ``csv_file``, whose bytes are passed on as they come. Pure: bytes in, bytes out.

A room reads such forms, and so does ``vesica connect`` before it seals what is in them.
"""

from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from vesica.errors import FormInvalid, UploadIncomplete
from vesica.limits import FORM_OVERHEAD_BYTES_MAX

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_FIELD: Final = b"csv_file"
_AS_IT_IS: Final = (b"", b"7bit", b"8bit", b"binary")


class Form:
    """A multipart form that must have exactly one part, ``csv_file``.

    ``feed`` any number of times, then ``finish`` once. Raises FormInvalid, UploadIncomplete; the object is then
    useless.
    """

    def __init__(self, boundary: bytes) -> None:
        if not boundary:
            raise FormInvalid("a multipart form needs a boundary in its Content-Type")
        self._pieces: list[memoryview] = []
        self._header: list[bytes] = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0
        self._parts = 0
        self._ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError:
            raise FormInvalid("the form's boundary is too long; curl -F csv_file=@FILE makes a good one") from None

    def feed(self, chunk: bytes) -> bytes:
        """The bytes of the file that a chunk of the form holds."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise FormInvalid("this is not a well-formed multipart form") from None
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    def finish(self) -> bytes:
        """Nothing: ``feed`` kept nothing back.

        Raises UploadIncomplete unless the form was complete, FormInvalid if it had no ``csv_file``.
        """
        if not self._ended:
            raise UploadIncomplete("the form ended before its last boundary; send the file again")
        if self._parts != 1:
            raise FormInvalid("the form has no field csv_file: curl -F csv_file=@FILE")
        return b""

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > 1:
            raise FormInvalid("the form has a second field; send csv_file alone")
        self._headers = {}

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(memoryview(data)[start:end])

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header[0] += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header[1] += data[start:end]

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > FORM_OVERHEAD_BYTES_MAX:
            raise FormInvalid("the form's part has too long a header")

    def _header_end(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") != _FIELD:
            raise FormInvalid("the form's field must be named csv_file: curl -F csv_file=@FILE")
        if self._headers.get(b"content-transfer-encoding", b"").lower() not in _AS_IT_IS:
            raise FormInvalid("send csv_file as it is, without a transfer encoding")

    def _end(self) -> None:
        self._ended = True
