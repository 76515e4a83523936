"""Where the log goes: to stderr, our own events as they are, and of everybody else nothing but who and what kind.

Libraries log what they meet: sizes of bodies at debug level, cells in the messages of exceptions. So a record of
another logger than ours keeps its logger's name, its level, and the type and place of its exception; its text is
dropped (promise P6).
"""

import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Final

_OURS: Final = "vesica"
LEVELS: Final = ("debug", "info", "warning", "error")


class EventFormatter(logging.Formatter):
    """Formats a record without any text that is not from a closed set."""

    def format(self, record: logging.LogRecord) -> str:
        """One line: time, level, and the event or who spoke."""
        head = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')} {record.levelname.lower()}"
        text = record.getMessage() if record.name == _OURS else f"library={record.name}"
        return f"{head} {text}{_exception(record)}"


def configure_logging(level: str) -> None:
    """Sends every logger of the process through ``EventFormatter``. level: one of LEVELS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter())
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
