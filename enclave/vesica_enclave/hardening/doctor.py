"""What holds on this machine: each measure taken for real, in children that a room's process would be like.

Then whatever a sealed room must not be able to do is tried, and must fail.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vesica.errors import NotHardened
from vesica_attestation.needs import Needs
from vesica_enclave.hardening import at_start, to_seal
from vesica_enclave.hardening.attempts import ATTEMPTS, attempt, place
from vesica_enclave.hardening.measures import PROTECTS_FROM, Measure, carry_out

_PIPE_BYTES: Final = 65_536


@dataclass(frozen=True)
class Finding:
    """name: of a measure, or of a fact about the machine. holds: None where that cannot be seen.

    seen: in words, what was looked at or tried.
    """

    name: str
    holds: bool | None
    protects_from: str
    seen: str


def examine() -> tuple[Finding, ...]:
    """Every measure, as a room on this machine would have it. Only for a process of one thread."""
    taken = _take_all()
    undone = {measure: _what_works(measure) for measure in (Measure.LANDLOCK, Measure.SECCOMP)}
    findings = []
    for measure in Measure:
        holds, seen = taken[measure]
        works = undone.get(measure, [])
        if holds and works:
            holds, seen = False, f"taken, and yet it was possible to {', to '.join(works)}"
        elif holds and measure in undone:
            count = sum(1 for tried in ATTEMPTS if tried.measure is measure)
            seen = f"{seen}; {count} ways around it were tried and failed"
        findings.append(Finding(measure, holds, PROTECTS_FROM[measure], seen))
    return tuple(findings)


def _take_all() -> Mapping[Measure, tuple[bool, str]]:
    """Takes all measures in a child. By measure: whether it was taken, and what was made sure of, or what was wrong."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        status = 1
        try:
            status = _tell(writer)
        finally:
            os._exit(status)  # whatever happens, this child must not go on as a second parent
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read(_PIPE_BYTES)
    os.waitpid(child, 0)
    answer = json.loads(told or b"{}")
    silent = (False, "the process ended before it was taken")
    found = {measure: answer.get(measure, silent) for measure in Measure}
    return {measure: (bool(taken), str(what)) for measure, (taken, what) in found.items()}


def _tell(writer: int) -> int:
    failures: list[NotHardened] = []
    steps = (*at_start(keep=writer), *to_seal(Needs()))
    told: dict[str, tuple[bool, str]] = {done.measure: (True, done.what) for done in carry_out(steps, failures.append)}
    told |= {failure.measure: (False, failure.why) for failure in failures}
    os.write(writer, json.dumps(told).encode())
    return 0


def _what_works(measure: Measure) -> list[str]:
    """What can be done in spite of a measure: nothing, if it holds."""
    works = []
    for tried in ATTEMPTS:
        if tried.measure is measure:
            with place() as where:
                outcome = attempt(tried, where, (*at_start(), *to_seal(Needs())))
            if not outcome.stopped:
                works.append(tried.name)
    return works
