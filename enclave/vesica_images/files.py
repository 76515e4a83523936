"""What all readers of image files share. Like all that a build needs, it uses the standard library alone."""

import json
from pathlib import Path
from typing import Final

FILE_BYTES_MAX: Final = 4 * 2**30


class FileInvalid(Exception):
    """A file of an image that cannot be measured: not of its kind, damaged, or beyond what is understood here."""


def read(path: Path) -> bytes:
    """A file's bytes. Raises FileInvalid, naming the file."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise FileInvalid(f"{path}: larger than {FILE_BYTES_MAX} bytes")
        return path.read_bytes()
    except OSError as error:
        raise FileInvalid(f"cannot read {path}: {error.strerror}") from None


def command_line(content: bytes) -> str:
    """A kernel command line from its file: one line without an end, as it is measured.

    Raises FileInvalid: with a line end, one tool measures it and another does not.
    """
    if not content or any(not 0x20 <= byte < 0x7F for byte in content):  # noqa: PLR2004 (printable ASCII)
        raise FileInvalid("a command line must be printable ASCII on one line, without a line end")
    return content.decode("ascii")


def json_object(content: bytes, what: str) -> dict[str, object]:
    """A JSON object that names no field twice. Raises FileInvalid."""
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_different_names)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise FileInvalid(f"{what}: not a JSON object, or one that names a field twice")
    return value


def _different_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name twice")
    return dict(pairs)
