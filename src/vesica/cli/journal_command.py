"""``vesica journal`` and ``vesica journal limit``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vesica.cli.common import add_command, add_json, print_json
from vesica.cli.exits import Exit
from vesica.epsilon import format_epsilon, parse_epsilon
from vesica.errors import EpsilonInvalid

if TYPE_CHECKING:
    from vesica.journal import Entry, Journal

_TEXT = """
Shows what your data sets were fed to, and how much epsilon that commits in all: in each room, your
party's limit on everything released there about your records. vesica submit writes it down before the
room can have the file. "sending" is an upload whose end was never learnt; it counts.

A data set is known by a keyed digest of its file: the list tells nobody what was in it. A file that
differs in one byte is another data set, and only you know that it is about the same people.

examples:
  vesica journal
  vesica journal --json
  vesica journal limit 2            no data set is committed to more than this
"""
_LIMIT = """
Sets how much epsilon any one data set may be committed to, over all rooms; vesica submit refuses what
would go past it. Without EPSILON it shows the limit; "none" takes it away.

examples:
  vesica journal limit 2
  vesica journal limit none
  vesica journal limit
"""
_DIGITS = 12  # of a data set's digest that are shown


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands."""
    parser = add_command(commands, "journal", "what your data sets were fed to", _TEXT)
    add_journal(parser)
    add_json(parser)
    parser.set_defaults(run=_list)
    below = parser.add_subparsers(dest="journal_command", metavar="COMMAND")
    limit = add_command(below, "limit", "your own limit for each data set", _LIMIT)
    limit.add_argument("epsilon", metavar="EPSILON", nargs="?", help='an exact decimal such as 2, or "none"')
    # No defaults here: argparse would let them overwrite what was said before the word `limit`.
    add_journal(limit, default=argparse.SUPPRESS)
    limit.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document instead of text"
    )
    limit.set_defaults(run=_limit)


def add_journal(parser: argparse.ArgumentParser, *, default: object = None) -> None:
    """Where the journal is."""
    parser.add_argument(
        "--journal",
        metavar="FILE",
        type=Path,
        default=default,
        help="the journal's file (default: $XDG_STATE_HOME/vesica/journal.sqlite3, or below ~/.local/state)",
    )


def open_journal(args: argparse.Namespace) -> "Journal":
    """The journal of the command line."""
    from vesica.journal import Journal

    return Journal(args.journal)


def parse_limit(text: str) -> int:
    """A limit for a data set, in nano-epsilon.

    Raises EpsilonInvalid.
    """
    from vesica.journal import LIMIT_NANO_MAX

    nano = parse_epsilon(text)
    if nano > LIMIT_NANO_MAX:
        raise EpsilonInvalid(f"a limit above {format_epsilon(LIMIT_NANO_MAX)} is none; leave it out")
    return nano


def _list(args: argparse.Namespace) -> int:
    journal = open_journal(args)
    entries, limit = journal.entries(), journal.limit()
    if args.json:
        print_json(
            {
                "path": str(journal.path),
                "limit": None if limit is None else format_epsilon(limit),
                "data_sets": [_document(data_set, entries) for data_set in _data_sets(entries)],
            }
        )
        return Exit.OK
    _show(entries, limit)
    return Exit.OK


def _limit(args: argparse.Namespace) -> int:
    journal = open_journal(args)
    if args.epsilon is not None:
        journal.set_limit(None if args.epsilon == "none" else parse_limit(args.epsilon))
    limit = journal.limit()
    if args.json:
        print_json({"limit": None if limit is None else format_epsilon(limit)})
    elif limit is None:
        print("no limit: a data set may be fed to any number of rooms")
    else:
        print(f"no data set is committed to more than epsilon {format_epsilon(limit)}")
    return Exit.OK


def _data_sets(entries: Sequence["Entry"]) -> list[str]:
    return list(dict.fromkeys(entry.data_set for entry in entries))


def _document(data_set: str, entries: Sequence["Entry"]) -> dict[str, object]:
    from vesica.journal import committed

    here = [entry for entry in entries if entry.data_set == data_set]
    return {
        "data_set": data_set,
        "committed": format_epsilon(committed(here)),
        "fed": [
            {
                "number": entry.number,
                "agreement": entry.feed.agreement_name,
                "agreement_digest": entry.feed.agreement_digest,
                "room": entry.feed.room,
                "party": entry.feed.party,
                "epsilon": format_epsilon(entry.feed.epsilon_nano),
                "state": entry.state.value,
                "begun_at": entry.begun_at,
                "receipt": entry.receipt,
            }
            for entry in here
        ],
    }


def _show(entries: Sequence["Entry"], limit: int | None) -> None:
    from vesica.cli.screen import Screen
    from vesica.journal import committed

    screen = Screen()
    if not entries:
        screen.line("nothing was fed to any room yet")
    rows: list[list[str]] = []
    for data_set in _data_sets(entries):
        here = [entry for entry in entries if entry.data_set == data_set]
        for i, entry in enumerate(here):
            feed = entry.feed
            name = data_set[:_DIGITS] if i == 0 else ""
            rows.append(
                [name, feed.agreement_name, feed.party, entry.state, entry.begun_at, format_epsilon(feed.epsilon_nano)]
            )
        rows.append(["", "in all", "", "", "", format_epsilon(committed(here))])
    if rows:
        screen.table(["data set", "room", "party", "state", "when", "ε"], rows, left=5)
    screen.line("no limit of your own" if limit is None else f"your own limit: ε {format_epsilon(limit)}", "dim")
