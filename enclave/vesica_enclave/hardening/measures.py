"""The measures by which a process hardens itself: a closed set, and what each of them protects from."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from vesica.errors import NotHardened


@unique
class Measure(StrEnum):
    """All of them are required."""

    NO_CORE_DUMPS = "no-core-dumps"
    MEMORY_HIDDEN = "memory-hidden"
    NO_SWAP = "no-swap"
    PRIVATE_FILES = "private-files"
    NO_NEW_PRIVILEGES = "no-new-privileges"
    NOTHING_INHERITED = "nothing-inherited"
    NO_CAPABILITIES = "no-capabilities"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"


PROTECTS_FROM: Final[Mapping[Measure, str]] = {
    Measure.NO_CORE_DUMPS: "a crash that writes lists and keys to a disk, or hands them to a crash reporter",
    Measure.MEMORY_HIDDEN: "another process of the same user that reads the room's memory (ptrace, gcore, /proc)",
    Measure.NO_SWAP: "the kernel writing memory to a disk that the operator reads",
    Measure.PRIVATE_FILES: "others reading a file that the process makes by mistake",
    Measure.NO_NEW_PRIVILEGES: "gaining rights through a setuid program",
    Measure.NOTHING_INHERITED: "a way out through a file or socket that was open when the room was started",
    Measure.NO_CAPABILITIES: "what root may do beyond its own files, if the room is run by root",
    Measure.LANDLOCK: "reading files that are not the room's, making or writing any, connecting to any port",
    Measure.SECCOMP: "running programs, new code, new sockets, and the kernel calls that most attacks begin with",
}


@dataclass(frozen=True)
class Established:
    """A measure that holds, and in words what was made sure of."""

    measure: Measure
    what: str


@dataclass(frozen=True)
class Step:
    """One measure. take: establishes it for this process and says what it made sure of, or raises NotHardened."""

    measure: Measure
    take: Callable[[], str]


def carry_out(steps: Iterable[Step], tolerate: Callable[[NotHardened], None] | None = None) -> tuple[Established, ...]:
    """Takes the steps in order, and returns what they established.

    tolerate: told each failure, after which the next step is taken; None: the first failure is raised, NotHardened.
    """
    established = []
    for step in steps:
        try:
            established.append(Established(step.measure, step.take()))
        except NotHardened as failure:
            if tolerate is None:
                raise
            tolerate(failure)
    return tuple(established)
