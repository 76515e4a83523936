"""``vesica doctor``: what this machine lets a room protect. The looking is done on the room's side, loaded by name."""

import argparse
import importlib
import os
from typing import TYPE_CHECKING, Any

from vesica.cli.common import add_command, add_json, print_json
from vesica.cli.exits import Exit

if TYPE_CHECKING:
    from vesica.cli.screen import Screen

_TEXT = """
Says what a room on this machine would be protected from. It takes every measure in processes that it
starts for that, tries what the measures must stop, and prints what held, what each protects from, and
how that was seen. With --pid it looks at a room that runs, where less can be seen.

The exit code is 0 if all measures hold, and 10 if one does not: then "vesica serve" would not start
here. What it says of the machine is for whoever builds the machine's image; a room starts without it.

examples:
  vesica doctor
  vesica doctor --json
  vesica doctor --pid "$(pgrep -f 'vesica serve')"
"""
_WORDS = {True: "yes", False: "NO", None: "unseen"}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = add_command(commands, "doctor", "what this machine lets a room protect", _TEXT)
    parser.add_argument("--pid", metavar="N", type=int, help="look at this process; without it, try in new ones")
    add_json(parser)
    parser.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    machine = importlib.import_module("vesica_enclave.hardening.machine")
    if args.pid is None:
        findings = importlib.import_module("vesica_enclave.hardening.doctor").examine()
        uid = os.getuid()
    else:
        findings, uid = machine.examine_process(args.pid), machine.uid_of(args.pid)
    facts = machine.facts(uid)
    # What cannot be seen of a running room is not counted against it; of one that is tried here, nothing is unseen.
    hardened = all(finding.holds is not False for finding in findings)
    if args.json:
        documents = [[_document(finding) for finding in group] for group in (findings, facts)]
        print_json({"hardened": hardened, "measures": documents[0], "machine": documents[1]})
    else:
        _show(findings, facts, hardened, args.pid)
    return Exit.OK if hardened else Exit.HARDENING


def _show(findings: Any, facts: Any, hardened: bool, pid: int | None) -> None:  # noqa: ANN401 (the room's side)
    from vesica.cli.screen import Screen

    screen = Screen()
    whose = "of a room on this machine, tried" if pid is None else f"of process {pid}, as seen from outside"
    _table(screen, f"Measures {whose}", findings)
    _table(screen, "The machine, as its image should make it", facts)
    if not hardened:
        screen.line('A measure does not hold. "vesica serve" refuses to start like this.', "bold red")
    elif pid is None:
        screen.line("All measures hold.", "green")
    else:
        text = "No measure is seen to be missing. Of what is unseen the room's log tells: sealed, or not-hardened."
        screen.line(text, "green")


def _table(screen: "Screen", title: str, findings: Any) -> None:  # noqa: ANN401 (the same)
    screen.line(title, "bold")
    rows = [(found.name, _WORDS[found.holds], found.protects_from, found.seen) for found in findings]
    screen.table(("measure", "holds", "protects from", "seen"), rows, left=4)


def _document(finding: Any) -> dict[str, object]:  # noqa: ANN401 (the same)
    return {
        "name": str(finding.name),
        "holds": finding.holds,
        "protects_from": finding.protects_from,
        "seen": finding.seen,
    }
