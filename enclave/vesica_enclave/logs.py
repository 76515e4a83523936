"""Where the log goes: to stderr, our own events as they are, and of everybody else nothing but who and what kind.

Libraries log what they meet: sizes of bodies at debug level, cells in the messages of exceptions. So a record of
another logger than ours keeps its logger's name, its level, and the type and place of its exception; its text is
dropped (promise P6). And nobody can fill a disk with lines: of each kind that a request can cause, some are written
and then one every few seconds, which says that others were not.
"""

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Final

from vesica.limits import LOG_BURST_MAX, LOG_REPEAT_SECONDS

_OURS: Final = "vesica"
LEVELS: Final = ("debug", "info", "warning", "error")


class EventFormatter(logging.Formatter):
    """Formats a record without any text that is not from a closed set."""

    def format(self, record: logging.LogRecord) -> str:
        """One line: time, level, and the event or who spoke."""
        head = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')} {record.levelname.lower()}"
        text = record.getMessage() if record.name == _OURS else f"library={record.name}"
        others = " others=dropped" if getattr(record, "others_dropped", False) else ""
        return f"{head} {text}{_exception(record)}{others}"


class FloodFilter(logging.Filter):
    """Lets LOG_BURST_MAX records of a kind through, and one more for every LOG_REPEAT_SECONDS that pass.

    Our own events say what kind they are where they can be caused without end, and always pass where they cannot. All
    that another logger says on one level is one kind: it can only have been caused by what was sent.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: in seconds."""
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  # how many may pass, and as of when
        self._dropped: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written. The first after a gap is marked."""
        kind = getattr(record, "kind", None) if record.name == _OURS else f"{record.name} {record.levelname}"
        if kind is None:
            return True
        with self._lock:
            now = self._clock()
            left, before = self._left.get(kind, (float(LOG_BURST_MAX), now))
            left = min(LOG_BURST_MAX, left + (now - before) / LOG_REPEAT_SECONDS)
            if left < 1:
                self._left[kind] = (left, now)
                self._dropped.add(kind)
                return False
            self._left[kind] = (left - 1, now)
            record.others_dropped = kind in self._dropped
            self._dropped.discard(kind)
        return True


def configure_logging(level: str) -> None:
    """Sends every logger of the process through ``EventFormatter``. level: one of LEVELS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter())
    handler.addFilter(FloodFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(level.upper())
    # An error that nobody caught is shown by type and place: its message may quote a cell.
    sys.excepthook = _tell
    threading.excepthook = lambda args: _tell(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _tell(args.exc_type, args.exc_value, args.exc_traceback)


def _exception(record: logging.LogRecord) -> str:
    if not isinstance(record.exc_info, tuple) or record.exc_info[0] is None:
        return ""
    kind, _, trace = record.exc_info
    return f" exception={kind.__name__}{_place(traceback.extract_tb(trace))}"


def _place(frames: traceback.StackSummary) -> str:
    return f" at={frames[-1].name}:{frames[-1].lineno}" if frames else ""


def _tell(kind: type[BaseException], _: BaseException | None, trace: TracebackType | None) -> None:
    frames = traceback.extract_tb(trace)
    sys.stderr.write(f"vesica: {kind.__name__}{_place(frames)}\n")
