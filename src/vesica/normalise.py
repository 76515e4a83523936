"""What an agreement may have done to key values before they are compared. Nothing is done that it does not name.

========  =========================================================  =======================================
word      what it does                                               joins (left and right become one value)
========  =========================================================  =======================================
trim      drops white space at both ends, as Unicode defines it      ``" ana@example.org\u00a0"``, ``"ana@example.org"``
nfc       one code for a letter with its accent                      ``"Jose\u0301"``, ``"Jos\u00e9"``
nfkc      nfc, and look-alike forms: ligatures, full width, ...      ``"\ufb02ow"``, ``"flow"``
casefold  no difference between capitals and small letters           ``"Ana@Example.ORG"``, ``"ana@example.org"``
email     trim, nfc, casefold, and a leading ``mailto:`` dropped     ``"mailto:Ana@b.org "``, ``"ana@b.org"``
digits    keeps decimal digits only, as ASCII                        ``"+31 (0)20-555"``, ``"31020555"``
========  =========================================================  =======================================

None of them joins ``007`` and ``7``, ``1e5`` and ``100000``, or letters of different alphabets that look alike.
``email`` does not drop dots or ``+tags``, and does not ask whether a value is an address: providers differ, and a
value that is silently dropped is a count that is silently wrong. ``digits`` keeps leading zeros.

All values of a block are done at once, in one text with a NUL after each; no value holds a NUL, no normal form joins
across one, and folding looks at one character at a time. So the result is that of doing them one by one.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final, assert_never

from vesica.terms import Normaliser

_SPACE_AT_AN_END: Final = re.compile(r"(?:\A|\0)\s|\s(?:\0|\Z)")
_NO_DIGITS: Final = re.compile(r"[^0-9\0]+")
_MAILTO: Final = "\0mailto:"


def normalise(values: str, words: Sequence[Normaliser]) -> str:
    """Every value of a block, each followed by NUL, after the named steps in their order; as many values come back."""
    for word in words:
        values = _step(word)(values)
    return values


def _step(word: Normaliser) -> Callable[[str], str]:
    match word:
        case Normaliser.TRIM:
            return _trim
        case Normaliser.NFC:
            return _nfc
        case Normaliser.NFKC:
            return _nfkc
        case Normaliser.CASEFOLD:
            return str.casefold
        case Normaliser.EMAIL:
            return _email
        case Normaliser.DIGITS:
            return _digits
        case _:
            assert_never(word)


def _trim(values: str) -> str:
    if _SPACE_AT_AN_END.search(values) is None:
        return values
    return "\0".join(map(str.strip, values.split("\0")))


def _nfc(values: str) -> str:
    return unicodedata.normalize("NFC", values)


def _nfkc(values: str) -> str:
    return unicodedata.normalize("NFKC", values)


def _email(values: str) -> str:
    folded = "\0" + _nfc(_trim(values)).casefold()
    # A second "mailto:" is part of the value: only one is dropped, so that the step is the same however values are
    # blocked.
    return folded.replace(_MAILTO, "\0")[1:]


class _ToAsciiDigit(dict[int, str | None]):
    """For ``str.translate``: any Unicode decimal digit to ASCII, NUL kept, the rest dropped."""

    def __missing__(self, code: int) -> str | None:
        digit = unicodedata.decimal(chr(code), None)
        self[code] = "\0" if code == 0 else None if digit is None else str(digit)
        return self[code]


def _digits(values: str) -> str:
    if values.isascii():
        return _NO_DIGITS.sub("", values)
    return values.translate(_ToAsciiDigit())
