"""``vesica token``."""

import argparse
import os
from pathlib import Path

from vesica.cli.common import add_command, add_json, print_json
from vesica.cli.exits import Exit
from vesica.refusals import FileUnreadable

_TEXT = """
Makes a token: 256 random bits with which one party shows who it is. The token stays with the party;
its SHA-256 goes into the agreement. Nothing is stored: print it once, keep it well.

examples:
  vesica token
  vesica token --json
  vesica token --output my.token                the token into a file that only you can read
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = add_command(commands, "token", "make a token, and the hash of it that the agreement holds", _TEXT)
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the token there, and print only the hash")
    add_json(parser)
    parser.set_defaults(run=_token)


def _token(args: argparse.Namespace) -> int:
    from vesica.tokens import new_token, token_sha256

    token = new_token()
    if args.output is not None:
        _write(args.output, token)
        if args.json:
            print_json({"path": str(args.output), "token_sha256": token_sha256(token)})
        else:
            print(f"written: {args.output} (keep it; use it with --token-file)")
            print(f"token_sha256  {token_sha256(token)}")
        return Exit.OK
    if args.json:
        print_json({"token": token, "token_sha256": token_sha256(token)})
        return Exit.OK
    print(f"token         {token}")
    print(f"token_sha256  {token_sha256(token)}")
    print()
    print("Keep the token: whoever has it can submit and ask in your party's name. Put it into a file that only")
    print("you can read (--token-file), or into the variable VESICA_TOKEN. Send token_sha256 to whoever writes the")
    print("agreement.")
    return Exit.OK


def _write(path: Path, token: str) -> None:
    try:
        # Readable by its owner alone from the start, and never in place of a token that is there already.
        with open(path, "x", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(f"{token}\n")
    except OSError as error:
        raise FileUnreadable(f"cannot write {path}: {error.strerror}") from None
