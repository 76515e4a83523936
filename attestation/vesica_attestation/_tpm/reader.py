"""Bytes being read once, from the front: what a TPM says, and what others say that it said."""

from collections.abc import Callable
from typing import Literal

# Given the check that failed and why: Refused for a verifier, TpmError for an attester.
Failure = Callable[[str, str], Exception]


class Reader:
    """Every method raises what ``failure`` gives.

    what: the thing being read, for the reader of an error. order: of the bytes of numbers.
    """

    def __init__(self, data: bytes, what: str, failure: Failure, order: Literal["big", "little"] = "big") -> None:
        self._left = memoryview(data)
        self._what = what
        self._failure = failure
        self._order: Literal["big", "little"] = order

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return bool(self._left)

    def fail(self, why: str, check: str = "format") -> Exception:
        """The error to raise."""
        return self._failure(check, f"{self._what}: {why}")

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        if len(self._left) < size:
            raise self.fail("cut off")
        taken, self._left = bytes(self._left[:size]), self._left[size:]
        return taken

    def number(self, size: int) -> int:
        """The next ``size`` bytes as a number."""
        return int.from_bytes(self.take(size), self._order)

    def sized(self, most: int = 2**16 - 1) -> bytes:
        """A TPM2B: two bytes of size, and as many bytes as they say, ``most`` at most."""
        size = self.number(2)
        if size > most:
            raise self.fail("a field is longer than it may be")
        return self.take(size)

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._left))

    def end(self) -> None:
        """Nothing may be left (check "trailing-bytes")."""
        if self._left:
            raise self.fail("more bytes than it has", "trailing-bytes")
