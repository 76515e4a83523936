"""``vesica``: the commands, and what happens when one cannot do what it was asked."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from vesica.cli import (
    agreement_commands,
    connect_command,
    demo_command,
    doctor_command,
    journal_command,
    policy_commands,
    receipt_commands,
    room_commands,
    serve_command,
    token_command,
    verify_command,
)
from vesica.cli.exits import EXITS_HELP, Exit, exit_of, hint_of
from vesica.errors import SubmissionRejected, VesicaError
from vesica.refusals import AttestationRefused, printable

_TEXT = """
Two or more parties learn how much their lists overlap, and nobody shows a list. Parties write an
agreement; a room carries it out: each party submits one file, and the room answers questions with
differential privacy, at a cost that every party limits for itself.

  see it work:   vesica demo
  prepare:       vesica token;  vesica agreement new;  vesica agreement check agreement.toml
  run a room:    vesica doctor;  vesica serve agreement.toml
  check it:      vesica verify URL --policy policy.toml
  take part:     vesica submit URL FILE;  vesica plan URL --epsilon 0.5;  vesica release URL --epsilon 0.5
  look back:     vesica journal

URL is always a command's first argument. A party's token comes from the variable VESICA_TOKEN or from
--token-file, its policy (what a room must prove before it gets anything) from the file that VESICA_POLICY
names or from --policy. Every command explains itself, with examples: vesica COMMAND --help
"""


class _Parser(argparse.ArgumentParser):
    """Argparse, with errors in the same form as all others."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"vesica: {printable(message)}\nhint: {self.prog} --help\n")
        raise SystemExit(Exit.USAGE)


class _Version(argparse.Action):
    """``--version``, looked up only when asked: it costs 30 ms."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import vesica

        print(f"vesica {vesica.__version__}")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser: argparse.ArgumentParser = _Parser(
        prog="vesica",
        description=_TEXT.strip(),
        epilog=EXITS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    demo_command.add(commands)
    token_command.add(commands)
    agreement_commands.add(commands)
    serve_command.add(commands)
    doctor_command.add(commands)
    verify_command.add(commands)
    room_commands.add(commands)
    journal_command.add(commands)
    receipt_commands.add(commands)
    policy_commands.add(commands)
    connect_command.add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit code."""
    args = make_parser().parse_args(argv)
    _escape_what_cannot_be_printed()
    try:
        code = int(args.run(args))
        sys.stdout.flush()
    except VesicaError as error:
        return _refused(error, as_json=getattr(args, "json", False))
    except KeyboardInterrupt:
        sys.stderr.write("vesica: interrupted\n")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # Whoever read stdout has gone. Python would complain about it once more while it exits.
        with contextlib.suppress(OSError):  # a room that has sealed itself opens nothing
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except Exception as error:
        if "VESICA_TRACEBACK" in os.environ:
            raise
        # Only the kind: a message may quote what was in a file.
        sys.stderr.write(
            f"vesica: a bug in vesica ({type(error).__name__}); please report it\n"
            "hint: VESICA_TRACEBACK=1 shows where it happened; look through that before you share it\n"
        )
        return Exit.BUG
    return code


def _escape_what_cannot_be_printed() -> None:
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a test's stand-in has none
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _refused(error: VesicaError, *, as_json: bool) -> int:
    code, hint = exit_of(error), hint_of(error)
    if isinstance(error, AttestationRefused) and error.members.get("kind") == "insecure-software":
        from vesica.cli.common import say_in_red
        from vesica_attestation.software import WARNING

        say_in_red(WARNING, on_stderr=True)
    detail = printable(error.detail)
    sys.stderr.write(f"vesica: {detail}{_place(error)}\n")
    if hint is not None:
        sys.stderr.write(f"hint: {hint}\n")
    if as_json:
        document = {**error.members, "code": error.code, "detail": detail, "hint": hint, "exit": int(code)}
        print(json.dumps({"error": document}, default=str, indent=2), flush=True)
    return code


def _place(error: VesicaError) -> str:
    if not isinstance(error, SubmissionRejected):
        return ""
    line = "" if error.line is None or f"line {error.line}" in error.detail else f" (line {error.line})"
    named = error.column is None or error.column in error.detail
    return line if named else f"{line} (column {printable(error.column or '', 128)})"
