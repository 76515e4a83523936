"""Runs steps one after the other, and says of each how it went and how long it took."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vesica_images.check.site import CheckFailed, Site

NAME_WIDTH: Final = 46


@dataclass(frozen=True)
class Step:
    """do: returns what it saw, in a line, or raises CheckFailed."""

    name: str
    do: Callable[[Site], str]


def run(steps: Sequence[Step], site: Site) -> bool:
    """Runs steps until one fails. A line on stdout for each; after a failed one, why, and where its log is."""
    logs = site.work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    for number, step in enumerate(steps, start=1):
        log = logs / f"{number:02d}.log"
        log.unlink(missing_ok=True)
        started = time.monotonic()
        try:
            seen, failure = step.do(replace(site, log=log)), ""
        except Exception as error:  # noqa: BLE001 (a step that breaks has failed, and says as what)
            seen, failure = "", str(error) if isinstance(error, CheckFailed) else f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - started
        _say(f"{'FAILED' if failure else 'ok    '} {step.name:<{NAME_WIDTH}} {seconds:6.1f} s  {seen}".rstrip())
        if failure:
            _say(f"{failure}\n(all of it: {log})")
            return False
    _say(f"{len(steps)} steps held, in {time.monotonic() - begun:.0f} s")
    return True


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
