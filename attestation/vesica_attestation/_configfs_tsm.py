"""Reports of SEV-SNP and TDX through Linux's configfs-tsm: one directory made, written, read and removed for each
report.

Source: Linux 6.7 and later, Documentation/ABI/testing/configfs-tsm-report, drivers/virt/coco/guest/report.c and
fs/configfs/file.c. Two things there shape this code. What is written to ``inblob`` takes effect when the file is
closed, and an error at that moment is lost: only ``generation`` shows it. And a report is made when it is first read,
from whatever was written last, by anybody: ``generation`` must have risen by exactly our writes, before the report is
read and after.
"""

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vesica_attestation import _tsm_socket
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import Kind
from vesica_attestation.needs import Needs

TSM_REPORTS: Final = Path("/sys/kernel/config/tsm/report")
BROKER: Final = Path("/run/vesica/tsm.sock")
# The kernel waits for a busy host itself, for up to a minute; these tries are for its locks, and for other writers.
ATTEMPTS_MAX: Final = 8
_WAIT_SECONDS: Final = 0.05
_BLOB_BYTES_MAX: Final = 128 * 2**10
_TEXT_BYTES_MAX: Final = 4096
_READ_BYTES: Final = 2**16
_AGAIN: Final = frozenset({errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR})
_NO_DRIVER: Final = "configfs-tsm is here, but no TEE's guest driver has registered with it"
_NOT_PERMITTED: Final = "not permitted: making a report needs root, or other owners and modes in configfs"
_REASONS: Final = {
    errno.ENOENT: "no configfs-tsm here: it needs Linux 6.7, configfs mounted, and the TEE's guest driver loaded",
    errno.ENXIO: _NO_DRIVER,
    errno.ENODEV: _NO_DRIVER,
    errno.EACCES: _NOT_PERMITTED,
    errno.EPERM: _NOT_PERMITTED,
}


@dataclass(frozen=True)
class TsmReport:
    """What the kernel gave. outblob: the report or quote, padding kept. auxblob: certificates, or empty."""

    outblob: bytes
    auxblob: bytes


class _ConflictError(Exception):
    """Somebody else wrote to our entry, or our own write was lost."""


def usual_place() -> Path:
    """Where reports are to be had here: the broker's socket, if there is one."""
    return BROKER if BROKER.is_socket() else TSM_REPORTS


def needs(place: Path) -> Needs:
    """What asking there takes."""
    return Needs(sockets=frozenset({place})) if place.is_socket() else Needs(entries=frozenset({place}))


def provider(place: Path) -> str:
    """Who makes reports here, as the kernel names it. Makes none.

    Raises AttesterUnavailable (of the kind "configfs-tsm").
    """
    try:
        with _entry(place) as entry:
            return _text(entry / "provider")
    except OSError as error:
        raise _unavailable("configfs-tsm", error) from None


def require_provider(place: Path, kind: Kind, wanted: str) -> None:
    """Raises AttesterUnavailable unless configfs-tsm speaks for ``wanted`` here. Makes no report."""
    if place.is_socket():
        _require_provider(kind, _brokered(place, kind).provider, wanted)
        return
    try:
        found = provider(place)
    except AttesterUnavailable as error:
        raise AttesterUnavailable(kind, error.detail) from None
    _require_provider(kind, found, wanted)


def read_report(
    place: Path,
    kind: Kind,
    wanted: str,
    inblob: bytes,
    *,
    levelled: bool,
    privlevel: int | None,
    sleep: Callable[[float], None],
) -> TsmReport:
    """A fresh report over ``inblob``.

    wanted: the provider that it must come from. levelled: whether that provider has privilege levels and an auxblob.
    privlevel: the level to ask for; None: the most privileged that this guest may ask for. sleep: waits between
    tries, in seconds.

    Raises AttesterUnavailable, also if after ``ATTEMPTS_MAX`` tries the kernel is still busy or others still write.
    """
    if place.is_socket():
        return _brokered_report(place, kind, wanted, inblob, privlevel)
    for attempt in range(ATTEMPTS_MAX):
        if attempt:
            sleep(_WAIT_SECONDS * 2 ** (attempt - 1))
        try:
            with _entry(place) as entry:
                return _report(entry, kind, wanted, inblob, levelled=levelled, privlevel=privlevel)
        except _ConflictError:
            continue
        except OSError as error:
            if error.errno not in _AGAIN:
                raise _unavailable(kind, error) from None
    raise AttesterUnavailable(kind, f"no undisturbed report in {ATTEMPTS_MAX} tries: busy, or others write")


def _brokered_report(place: Path, kind: Kind, wanted: str, inblob: bytes, privlevel: int | None) -> TsmReport:
    if privlevel is not None:
        raise AttesterUnavailable(kind, "the broker asks at the guest's own privilege level, and at no other")
    answer = _brokered(place, kind, inblob)
    _require_provider(kind, answer.provider, wanted)
    return TsmReport(answer.outblob, answer.auxblob)


def _brokered(place: Path, kind: Kind, report_data: bytes = b"") -> _tsm_socket.Answer:
    try:
        return _tsm_socket.ask(place, report_data)
    except _tsm_socket.BrokerFailed as error:
        raise AttesterUnavailable(kind, str(error)) from None


def _report(entry: Path, kind: Kind, wanted: str, inblob: bytes, *, levelled: bool, privlevel: int | None) -> TsmReport:
    _require_provider(kind, _text(entry / "provider"), wanted)
    expected = _generation(entry)
    if levelled:
        level = _text(entry / "privlevel_floor") if privlevel is None else str(privlevel)
        _write(entry / "privlevel", level.encode("ascii", "replace"))
        expected += 1
    _write(entry / "inblob", inblob)
    expected += 1
    _undisturbed(entry, expected)
    outblob = _read(entry / "outblob", _BLOB_BYTES_MAX)
    auxblob = _read(entry / "auxblob", _BLOB_BYTES_MAX) if levelled else b""
    _undisturbed(entry, expected)
    return TsmReport(outblob, auxblob)


def _require_provider(kind: Kind, found: str, wanted: str) -> None:
    if found != wanted:
        raise AttesterUnavailable(kind, f"configfs-tsm speaks for {found!r} here, not for {wanted!r}")


@contextmanager
def _entry(place: Path) -> Iterator[Path]:
    # A name that nobody guesses: an entry of our own is what keeps other, honest users of the interface out of our way.
    entry = place / f"vesica-{secrets.token_hex(16)}"
    entry.mkdir()
    try:
        yield entry
    finally:
        entry.rmdir()


def _undisturbed(entry: Path, expected: int) -> None:
    if _generation(entry) != expected:
        raise _ConflictError


def _generation(entry: Path) -> int:
    text = _text(entry / "generation")
    if not (text.isascii() and text.isdecimal()):
        raise OSError(errno.EPROTO, "generation is not a number")
    return int(text)


def _text(path: Path) -> str:
    return _read(path, _TEXT_BYTES_MAX).decode("ascii", "replace").strip()


def _read(path: Path, bytes_max: int) -> bytes:
    """All of an attribute, however few bytes each read gives. The kernel keeps one report for one open file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = b""
        while piece := os.read(descriptor, _READ_BYTES):
            found += piece
            if len(found) > bytes_max:
                raise OSError(errno.EFBIG, f"{path.name} has more than {bytes_max} bytes")
        return found
    finally:
        os.close(descriptor)


def _write(path: Path, value: bytes) -> None:
    """Writes an attribute in one write: configfs does not join the pieces of a text attribute."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if os.write(descriptor, value) != len(value):
            raise _ConflictError
    finally:
        os.close(descriptor)


def _unavailable(kind: str, error: OSError) -> AttesterUnavailable:
    name = errno.errorcode.get(error.errno or 0, "an unknown error")
    return AttesterUnavailable(kind, _REASONS.get(error.errno or 0, f"configfs-tsm answered {name}"))
