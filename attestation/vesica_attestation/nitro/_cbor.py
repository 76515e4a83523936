"""As much CBOR as a Nitro document has, read strictly: every value has one spelling, so nothing can be said in two
ways.

Heads are of the shortest form and lengths definite (RFC 8949 section 4.2.1), with one exception that AWS itself
makes: the outermost map of a document's payload may be of indefinite length. No tags, no floats, no negative numbers.
cbor2 is not used: it keeps the last of two equal keys, skips what follows, and reads tag 2 as a number and ``true``
as the key 1.
"""

from collections.abc import Iterator
from typing import Final

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

UINT: Final = 0
BYTES: Final = 2
TEXT: Final = 3
ARRAY: Final = 4
MAP: Final = 5

_NULL: Final = 0xF6
_MAP_OPEN: Final = 0xBF
_BREAK: Final = 0xFF
_ARGUMENT_HERE_MAX: Final = 23
_ARGUMENT_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}


class Reader:
    """A place in a byte string. Every method reads one thing and moves on; each raises Refused (check "format")."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def head(self, major: int) -> int:
        """The argument of a head of this major type: a number, a length or a count."""
        first = self._take(1)[0]
        if first >> 5 != major:
            raise _malformed("a value of another type")
        short = first & 0x1F
        if short <= _ARGUMENT_HERE_MAX:
            return short
        if short not in _ARGUMENT_BYTES:
            raise _malformed("an indefinite length")
        size = _ARGUMENT_BYTES[short]
        argument = int.from_bytes(self._take(size), "big")
        if argument <= _ARGUMENT_HERE_MAX or (size > 1 and argument >> (4 * size) == 0):
            raise _malformed("a number that is not in its shortest form")
        return argument

    def bytes_(self, least: int, most: int) -> bytes:
        """A byte string within bounds."""
        return self._take(self._length(BYTES, least, most))

    def text(self, most: int) -> str:
        """A text of 1 to ``most`` printable ASCII characters: all that a document's texts are made of."""
        raw = self._take(self._length(TEXT, 1, most))
        if not raw.isascii() or not (text := raw.decode("ascii")).isprintable():
            raise _malformed("a text that is not printable ASCII")
        return text

    def count(self, major: int, least: int, most: int) -> int:
        """How many entries an array or a map has."""
        return self._length(major, least, most)

    def null(self) -> bool:
        """Whether null comes next; if so, it is read."""
        if self._data[self._at : self._at + 1] != bytes([_NULL]):
            return False
        self._at += 1
        return True

    def entries(self, most: int) -> Iterator[None]:
        """Once for each entry of a map, whose length may be indefinite; the caller reads key and value."""
        if self._data[self._at : self._at + 1] != bytes([_MAP_OPEN]):
            for _ in range(self.count(MAP, 0, most)):
                yield
            return
        self._at += 1
        while self._data[self._at : self._at + 1] != bytes([_BREAK]):
            yield
        self._at += 1

    def end(self) -> None:
        """Nothing may follow.

        Raises Refused (check "trailing-bytes").
        """
        if self._at != len(self._data):
            raise Refused(Kind.NITRO, "trailing-bytes", "something follows the document")

    def _length(self, major: int, least: int, most: int) -> int:
        length = self.head(major)
        if not least <= length <= most:
            raise _malformed("a length out of bounds")
        return length

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise _malformed("it ends too early")
        self._at += size
        return taken


def byte_string(value: bytes) -> bytes:
    """A byte string, encoded: what ``Reader.bytes_`` reads."""
    length = len(value)
    if length <= _ARGUMENT_HERE_MAX:
        return bytes([BYTES << 5 | length]) + value
    for short, size in _ARGUMENT_BYTES.items():
        if length < 1 << (8 * size):
            return bytes([BYTES << 5 | short]) + length.to_bytes(size, "big") + value
    raise ValueError("longer than CBOR can say")


def _malformed(why: str) -> Refused:
    return Refused(Kind.NITRO, "format", f"not a Nitro document: {why}")
