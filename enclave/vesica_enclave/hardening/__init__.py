"""The process gives up what it does not need, before it holds anything that somebody could want.

``at_start`` before any key is made: no memory leaves it. ``to_seal`` once the address is taken and nothing is accepted
yet: from then on it can open, make, connect and run nothing but what serving and giving evidence take. Each measure
raises ``NotHardened`` or says what it made sure of; ``carry_out`` takes them in order. docs/hardening.md tells what
this protects from, and what not.
"""

from vesica_attestation.needs import Needs
from vesica_enclave.hardening import landlock, process, seccomp
from vesica_enclave.hardening.measures import PROTECTS_FROM, Established, Measure, Step, carry_out

__all__ = ["PROTECTS_FROM", "Established", "Measure", "Step", "at_start", "carry_out", "to_seal"]


def at_start(keep: int | None = None) -> tuple[Step, ...]:
    """What is done before anything else. keep: a descriptor that stays open."""
    return (
        Step(Measure.NO_CORE_DUMPS, process.no_core_dumps),
        Step(Measure.MEMORY_HIDDEN, process.memory_hidden),
        Step(Measure.NO_SWAP, process.no_swap),
        Step(Measure.PRIVATE_FILES, process.private_files),
        Step(Measure.NO_NEW_PRIVILEGES, process.no_new_privileges),
        Step(Measure.NOTHING_INHERITED, lambda: process.nothing_inherited(keep)),
    )


def to_seal(needs: Needs) -> tuple[Step, ...]:
    """What is done last, after ``at_start``: all libraries are loaded, and no other thread runs yet.

    needs: what stays possible.
    """
    return (
        Step(Measure.NO_CAPABILITIES, process.no_capabilities),
        Step(Measure.LANDLOCK, lambda: landlock.restrict(needs)),
        Step(Measure.SECCOMP, lambda: seccomp.restrict(needs)),
    )
