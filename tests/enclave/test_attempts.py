"""What a sealed process cannot do, tried for real, one process each; and a control that shows what it can unsealed."""

import errno
import json
import signal

import pytest

from support.hardened import outcomes
from vesica_enclave.hardening.attempts import ATTEMPTS
from vesica_enclave.hardening.measures import Measure

NAMES = [tried.name for tried in ATTEMPTS]
# Prints [errno, signal] by attempt. The first argument says which steps are taken before.
PROGRAM = """
import json, sys
from vesica_attestation.needs import Needs
from vesica_enclave.hardening import Measure, at_start, to_seal
from vesica_enclave.hardening.attempts import ATTEMPTS, attempt, place
steps = [step for step in (*at_start(), *to_seal(Needs())) if step.measure in json.loads(sys.argv[1])]
found = {}
for tried in ATTEMPTS:
    with place() as where:
        outcome = attempt(tried, where, steps)
        found[tried.name] = [outcome.errno, outcome.killed_by]
print(json.dumps(found))
"""


def tried_with(*measures: Measure) -> dict[str, list[int]]:
    return outcomes(PROGRAM, json.dumps(measures))


@pytest.fixture(scope="module")
def unsealed():
    return tried_with()


@pytest.fixture(scope="module")
def sealed():
    return tried_with(*Measure)


@pytest.fixture(scope="module")
def landlocked():
    return tried_with(Measure.NO_NEW_PRIVILEGES, Measure.LANDLOCK)


@pytest.mark.parametrize("name", NAMES)
def test_a_sealed_process_cannot(name, sealed):
    number, killed_by = sealed[name]
    assert killed_by == signal.SIGSYS or number in {errno.EPERM, errno.EACCES, errno.ENOSYS}


@pytest.mark.parametrize("name", NAMES)
def test_a_process_that_is_not_sealed_can(name, unsealed):
    if name == "enter a new namespace" and unsealed[name][0] in {errno.EPERM, errno.ENOSPC}:
        pytest.skip("this machine lets nobody make user namespaces")
    if name == "use io_uring" and unsealed[name][0] in {errno.EPERM, errno.ENOSYS}:
        pytest.skip("this machine has io_uring switched off")
    assert unsealed[name] == [0, 0]


@pytest.mark.parametrize(
    "name", ["run a program", "be traced", "read memory by process_vm_readv", "enter a new namespace"]
)
def test_what_only_an_attacker_does_ends_the_process(name, sealed):
    assert sealed[name] == [0, signal.SIGSYS]


@pytest.mark.parametrize(
    "name",
    [
        "make a file",
        "make a file without a name",
        "make a file by openat2",
        "write to a file",
        "cut a file",
        "make a folder",
        "remove a file",
        "rename a file",
        "make a link",
        "make a symbolic link",
        "make a pipe with a name",
        "connect",
        "read a file",
        "list a folder",
        "read its environment",
        "read its own memory as a file",
        "write its own memory as a file",
        "run a program",
    ],
)
def test_landlock_alone_stops_it_too_where_it_concerns_files_and_ports(name, landlocked):
    assert landlocked[name][0] in {errno.EACCES, errno.EXDEV}
