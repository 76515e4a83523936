"""``vesica agreement new`` and ``vesica agreement check``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vesica.cli.common import add_command, add_json, print_json, read_agreement_file
from vesica.cli.exits import Exit
from vesica.refusals import FileUnreadable
from vesica.terms import Duplicates, Normaliser, Statistic

if TYPE_CHECKING:
    from vesica.agreement import Agreement
    from vesica.agreement_file import Draft, PartyDraft

_AGREEMENT = """
An agreement is a text file that says who takes part, what makes two rows the same, what may be released,
and how much privacy each party spends at most. All parties sign up to its digest.

examples:
  vesica agreement new                                  asks, on a terminal
  vesica agreement check agreement.toml
"""
_NEW = """
Writes an agreement with comments, and checks it first. On a terminal and without options it asks. It
never overwrites a file.

Each party makes its own token (vesica token) and sends only the hash. EPSILON is the party's limit on
everything ever released here about its records.

examples:
  vesica agreement new
  vesica agreement new --name overlap-2026 \\
      --party alice:1.0:TOKEN_SHA256 --party bob:0.5:TOKEN_SHA256
  vesica agreement new --name overlap-2026 --column email --normalise email=trim,casefold \\
      --party alice:1.0:TOKEN_SHA256 --party bob:0.5:TOKEN_SHA256 \\
      --epsilon-default 0.25 --closes-at 2027-01-31T17:00:00Z --output overlap.toml
"""
_CHECK = """
Reads an agreement, prints its digest (compare it with the other parties, and with what `vesica room URL`
shows), and what each party's limit affords: how many releases, each within how many rows of the truth.

examples:
  vesica agreement check agreement.toml
  vesica agreement check agreement.toml --json
"""
_PARTY_FIELDS = 3


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands."""
    parent = add_command(commands, "agreement", "write or check an agreement", _AGREEMENT)
    below = parent.add_subparsers(dest="agreement_command", metavar="COMMAND", required=True)
    _add_new(add_command(below, "new", "write an agreement", _NEW))
    check = add_command(below, "check", "check an agreement and see what its budgets afford", _CHECK)
    check.add_argument("file", metavar="FILE", type=Path, help="the agreement's file")
    add_json(check)
    check.set_defaults(run=_check)


def _add_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="what the room is called")
    parser.add_argument(
        "--party", metavar="NAME:EPSILON:TOKEN_SHA256", action="append", dest="parties", help="a party; repeat it"
    )
    parser.add_argument(
        "--column", metavar="NAME", action="append", help="a key column; repeat it (default: the file's only one)"
    )
    parser.add_argument(
        "--normalise",
        metavar="[COLUMN=]WORDS",
        action="append",
        help=f"what is done to values first, in order, with commas between: {', '.join(Normaliser)}; repeat it",
    )
    parser.add_argument(
        "--duplicates", choices=[*map(str, Duplicates)], help="a file with two rows of one key: (default: refuse)"
    )
    parser.add_argument(
        "--statistic", choices=[*map(str, Statistic)], action="append", help="may be released; repeat it (default: all)"
    )
    parser.add_argument("--epsilon-min", metavar="E", help="no release below this")
    parser.add_argument("--epsilon-default", metavar="E", help="what a release costs when nobody says")
    parser.add_argument("--closes-at", metavar="TIME", help="when the room closes by itself: 2027-01-31T17:00:00Z")
    parser.add_argument(
        "--output", metavar="FILE", default="agreement.toml", help="file to write; - for stdout (default: %(default)s)"
    )
    add_json(parser)
    parser.set_defaults(run=_new, parser=parser)


def _new(args: argparse.Namespace) -> int:
    from vesica.agreement import digest
    from vesica.agreement_file import write

    if args.output != "-" and Path(args.output).exists():  # before anybody answers questions in vain
        raise FileUnreadable(f"{args.output} is there already, and is not overwritten")
    text, agreement = write(_draft(args))
    if args.output == "-":
        if args.json:
            print_json({"digest": digest(agreement), "text": text})
        else:
            sys.stdout.write(text)
        return Exit.OK
    try:
        with Path(args.output).open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise FileUnreadable(f"cannot write {args.output}: {error.strerror}") from None
    if args.json:
        print_json({"path": args.output, "digest": digest(agreement)})
    else:
        print(f"written: {args.output}")
        print(f"digest {digest(agreement)}")
        print(f"Next: send it to all parties; each checks it: vesica agreement check {args.output}")
    return Exit.OK


def _draft(args: argparse.Namespace) -> "Draft":
    from vesica.agreement_file import Draft

    chosen = ("name", "parties", "column", "normalise", "duplicates", "statistic", "epsilon_min", "epsilon_default")
    if not any(getattr(args, field) for field in chosen) and sys.stdin.isatty():
        from vesica.cli.ask import ask_draft

        return ask_draft()
    if not args.name or not args.parties:
        args.parser.error("an agreement needs --name, and --party at least twice")
    return Draft(
        name=args.name,
        parties=[_party(args, text) for text in args.parties],
        columns=args.column or (),
        normalise=_normalise(args),
        duplicates=args.duplicates or Duplicates.REFUSE,
        statistics=args.statistic or tuple(Statistic),
        epsilon_min=args.epsilon_min,
        epsilon_default=args.epsilon_default,
        closes_at=args.closes_at,
    )


def _party(args: argparse.Namespace, text: str) -> "PartyDraft":
    from vesica.agreement_file import PartyDraft

    fields = text.split(":")
    if len(fields) != _PARTY_FIELDS:
        args.parser.error("--party is NAME:EPSILON:TOKEN_SHA256, such as alice:1.0:2c26b46b68ff…")
    return PartyDraft(*fields)


def _normalise(args: argparse.Namespace) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for text in args.normalise or ():
        column, equals, words = text.rpartition("=")
        if bool(equals) != bool(args.column):
            args.parser.error("--normalise is COLUMN=WORDS with --column, and WORDS without")
        if column in chosen:
            args.parser.error("--normalise was given twice for one column; put commas between the words")
        chosen[column] = [word.strip() for word in words.split(",")]
    return chosen


def _check(args: argparse.Namespace) -> int:
    from vesica.agreement import parse_agreement

    agreement = parse_agreement(read_agreement_file(args.file))
    if args.json:
        print_json(_document(agreement))
        return Exit.OK
    from vesica.cli.render import show_agreement
    from vesica.cli.screen import Screen

    show_agreement(Screen(), agreement)
    return Exit.OK


def _document(agreement: "Agreement") -> dict[str, object]:
    from vesica.accuracy import ALPHA
    from vesica.agreement import as_document, digest
    from vesica.cli.affords import affords
    from vesica.epsilon import format_epsilon

    return {
        "name": agreement.name,
        "digest": digest(agreement),
        "alpha": ALPHA,
        "parties": [
            {
                "name": party.name,
                "limit": format_epsilon(party.epsilon_nano),
                "affords": [
                    {
                        "releases": share.releases,
                        "epsilon": None if share.epsilon_nano is None else format_epsilon(share.epsilon_nano),
                        "bound": share.bound,
                    }
                    for share in affords(agreement, party)
                ],
            }
            for party in agreement.parties
        ],
        "agreement": as_document(agreement),
    }
