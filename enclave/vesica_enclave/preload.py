"""What libraries load at their first use is loaded before the room is sealed, and so before anybody sends a byte."""

import importlib
import time
from typing import Final

from vesica.limits import NANO
from vesica.measure import counting

# What a full room was seen to import after its start: what carries threads, and OpenDP's data frames, which it looks
# for when it draws.
_LATE: Final = ("anyio._backends._asyncio", "concurrent.futures.thread", "opendp._data")


def preload() -> None:
    """Imports what is imported late, and makes one draw: OpenDP's random numbers read their settings at the first."""
    for name in _LATE:
        importlib.import_module(name)
    counting(NANO).draw(0)
    time.tzset()
    time.localtime()  # for the times in the log
