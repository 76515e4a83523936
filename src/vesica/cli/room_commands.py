"""What a party does with a room.

``room``, ``submit``, ``plan``, ``release``, ``releases``, ``budget``, ``close``.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesica.cli.common import (
    add_command,
    add_json,
    add_policy,
    add_question,
    add_token,
    add_url,
    open_room,
    plain,
    print_json,
    say_if_unverified,
    working,
)
from vesica.cli.exits import Exit
from vesica.cli.journal_command import add_journal, open_journal, parse_limit
from vesica.epsilon import parse_epsilon
from vesica.refusals import Contradiction, printable

if TYPE_CHECKING:
    from vesica.answers import Release
    from vesica.content import Progress
    from vesica.journal import Begun, Keeping

_ROOM = """
Shows whether a room is collecting, open or closed, who has submitted, and the digest of the agreement
that it carries out. Anybody may ask; no token is needed. Without a policy the room is not verified, and
whoever is in between could have made the answer up.

examples:
  vesica room https://127.0.0.1:8443
  vesica room https://127.0.0.1:8443 --json              with the whole agreement
"""
_SUBMIT = """
Sends your party's one submission, a CSV file, piece by piece as it is read. First the room is verified:
it must prove what your policy demands, or it gets nothing. Then it is asked whether it would take the
file, and only then is that opened. It travels sealed to the verified room's key, inside TLS pinned to
it. What a room rejects it does not keep: mend the file and try again. What it accepts is final.

With --agreement, a room that carries out another agreement than the one in your file gets nothing.

Your journal keeps what each data set was fed to, and how much epsilon that commits in all; it warns
when a file was fed to a room before, and refuses past the limit that you set (vesica journal limit). A
file is read twice, first for its digest; what comes through a pipe is judged before its last piece
leaves, without which the room cannot use the others.

examples:
  vesica submit https://127.0.0.1:8443 customers.csv --policy policy.toml --token-file my.token
  vesica submit https://127.0.0.1:8443 customers.csv --policy policy.toml --agreement agreement.toml
  vesica submit https://127.0.0.1:8443 customers.csv --policy policy.toml --data-set-limit 2
  zcat customers.csv.gz | vesica submit https://127.0.0.1:8443 - --policy policy.toml
"""
_PLAN = """
Shows what a release would cost each party and how far from the truth it might be. Free: it touches no
data. With a token and a policy it also shows what is left, and for how many such releases that is
enough. Without a policy the room is not verified.

examples:
  vesica plan https://127.0.0.1:8443 --epsilon 0.5
  vesica plan https://127.0.0.1:8443 --epsilon 0.5 --statistic union_cardinality
  vesica plan https://127.0.0.1:8443 --epsilon 0.5 --party alice --party bob
"""
_RELEASE = """
Asks the room for one differentially private count. It costs every party concerned its epsilon, for good;
if one of them cannot pay, nothing is spent and nothing drawn. The same question again gives the stored
answer, free.

examples:
  vesica release https://127.0.0.1:8443 --epsilon 0.5 --policy policy.toml
  vesica release https://127.0.0.1:8443 --epsilon 0.5 --statistic union_cardinality
  vesica release https://127.0.0.1:8443 --epsilon 0.25 --party alice --party bob --json
"""
_RELEASES = """
Lists what the room has released; asking costs nothing.

examples:
  vesica releases https://127.0.0.1:8443 --policy policy.toml
  vesica releases https://127.0.0.1:8443 --number 1      one of them, with its picture
  vesica releases https://127.0.0.1:8443 --json
"""
_BUDGET = """
Shows what each party allows in all, what releases have cost it, and what is left. Budgets are never
refilled.

examples:
  vesica budget https://127.0.0.1:8443 --policy policy.toml --token-file my.token
  vesica budget https://127.0.0.1:8443 --json
"""
_CLOSE = """
Closes the room for all parties: it destroys all data and keys, and answers no more questions. This
cannot be undone; it asks first, or takes --yes.

examples:
  vesica close https://127.0.0.1:8443 --policy policy.toml --yes
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands."""
    parser = add_command(commands, "room", "the state of a room", _ROOM)
    _finish(parser, _room, token=False)
    parser = add_command(commands, "submit", "send your party's file, once", _SUBMIT)
    add_url(parser)
    parser.add_argument("file", metavar="FILE", help="a CSV file; - for standard input")
    parser.add_argument("--agreement", metavar="FILE", type=Path, help="your copy of the agreement")
    add_journal(parser)
    parser.add_argument("--no-journal", action="store_true", help="write nothing down, and hold no limit")
    parser.add_argument(
        "--data-set-limit",
        metavar="EPSILON",
        help="refuse when the file would be committed to more than this; never lifts the journal's own limit",
    )
    _finish(parser, _submit, url=False)
    parser = add_command(commands, "plan", "what a release would cost, and how accurate it would be", _PLAN)
    add_question(parser)
    _finish(parser, _plan)
    parser = add_command(commands, "release", "ask for one differentially private count", _RELEASE)
    add_question(parser)
    _finish(parser, _release)
    parser = add_command(commands, "releases", "what was released before", _RELEASES)
    parser.add_argument("--number", metavar="N", type=int, help="only this one")
    _finish(parser, _releases)
    parser = add_command(commands, "budget", "what each party has left", _BUDGET)
    _finish(parser, _budget)
    parser = add_command(commands, "close", "close the room and destroy its data", _CLOSE)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    _finish(parser, _close)


def _finish(parser: argparse.ArgumentParser, run: object, *, url: bool = True, token: bool = True) -> None:
    if url:
        add_url(parser)
    if token:
        add_token(parser)
    add_policy(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def _room(args: argparse.Namespace) -> int:
    with open_room(args, token=False) as room:
        state, agreement = room.state(), room.agreement()
    if args.json:
        more = {"digest": agreement.digest, "agreement": dict(agreement.document), "verified": room.has_policy}
        print_json(plain(state) | more)
        return Exit.OK
    from vesica.cli.render import show_room
    from vesica.cli.screen import Screen

    show_room(Screen(), state, agreement)
    say_if_unverified(room)
    return Exit.OK


def _submit(args: argparse.Namespace) -> int:
    keeping = _keeping(args)
    with open_room(args, agreement=args.agreement) as room, _upload_bar() as progress:
        source = sys.stdin.buffer if args.file == "-" else Path(args.file)
        submission = room.submit(source, progress=progress, keeping=keeping)
        agreement = room.agreement()
    if args.json:
        print_json(plain(submission) | {"agreement_digest": agreement.digest})
        return Exit.OK
    from vesica.cli.render import show_submission
    from vesica.cli.screen import Screen

    show_submission(Screen(), submission, agreement)
    return Exit.OK


def _keeping(args: argparse.Namespace) -> "Keeping | None":
    from vesica.journal import Keeping

    if args.no_journal:
        if args.journal is not None or args.data_set_limit is not None:
            raise Contradiction("--no-journal goes with neither --journal nor --data-set-limit")
        return None
    limit = None if args.data_set_limit is None else parse_limit(args.data_set_limit)
    return Keeping(open_journal(args), limit, _tell)


def _tell(begun: "Begun") -> None:
    """Warns that a data set was fed before, on stderr, while the upload goes on."""
    if not begun.earlier:
        return
    from vesica.epsilon import format_epsilon

    rooms = ", ".join(sorted({entry.feed.agreement_name for entry in begun.earlier}))
    limit = "" if begun.limit_nano is None else f"; the limit is {format_epsilon(begun.limit_nano)}"
    sys.stderr.write(
        f"vesica: WARNING: this data set was fed before, to: {printable(rooms)}. With this room its limits add up to "
        f"epsilon {format_epsilon(begun.committed_nano)}{limit}\n"
    )


def _plan(args: argparse.Namespace) -> int:
    _require_epsilon(args)
    with open_room(args, token=False) as room:
        plan = room.plan(args.statistic, args.epsilon, args.parties)
        budgets = room.budgets() if room.has_token and room.has_policy and not args.json else ()
    if args.json:
        print_json(plain(plan) | {"verified": room.has_policy})
        return Exit.OK
    from vesica.cli.render import show_plan
    from vesica.cli.screen import Screen

    show_plan(Screen(), plan, budgets)
    say_if_unverified(room)
    return Exit.OK


def _require_epsilon(args: argparse.Namespace) -> None:
    """A question that cannot be meant is refused before anybody is asked."""
    if args.epsilon is not None:
        parse_epsilon(args.epsilon)


def _release(args: argparse.Namespace) -> int:
    _require_epsilon(args)
    with open_room(args) as room, working("the room works"):
        release = room.release(args.statistic, args.epsilon, args.parties)
    return _show_one(args, release)


def _releases(args: argparse.Namespace) -> int:
    with open_room(args) as room:
        if args.number is not None:
            return _show_one(args, room.release_number(args.number))
        releases = room.released()
    if args.json:
        print_json({"releases": [_release_document(release) for release in releases]})
        return Exit.OK
    from vesica.cli.render import show_releases
    from vesica.cli.screen import Screen

    show_releases(Screen(), releases)
    return Exit.OK


def _show_one(args: argparse.Namespace, release: "Release") -> int:
    if args.json:
        print_json(_release_document(release))
        return Exit.OK
    from vesica.cli.render import show_release
    from vesica.cli.screen import Screen

    show_release(Screen(), release)
    return Exit.OK


def _release_document(release: "Release") -> dict[str, object]:
    return plain(release) | {"shown": release.shown, "interval": [release.low, release.high]}


def _budget(args: argparse.Namespace) -> int:
    with open_room(args) as room:
        budgets = room.budgets()
    if args.json:
        print_json({"parties": [plain(budget) for budget in budgets]})
        return Exit.OK
    from vesica.cli.render import show_budgets
    from vesica.cli.screen import Screen

    show_budgets(Screen(), budgets)
    return Exit.OK


def _close(args: argparse.Namespace) -> int:
    if not args.yes and not sys.stdin.isatty():
        sys.stderr.write("vesica: closing destroys the room's data for all parties; say --yes\n")
        return Exit.USAGE
    with open_room(args) as room:
        if not args.yes:
            sys.stderr.write(f'close room "{room.agreement().name}" and destroy its data, for all parties? [y/N] ')
            sys.stderr.flush()
            if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
                sys.stderr.write("vesica: not closed\n")
                return Exit.USAGE
        receipt = room.close()
    if args.json:
        print_json({"state": "closed", "receipt": receipt})
    else:
        print("closed: the room's data and keys are destroyed")
    return Exit.OK


@contextlib.contextmanager
def _upload_bar() -> "Iterator[Progress | None]":
    """A progress bar on stderr, and what to tell it; None where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress as bars
    from rich.console import Console

    columns: tuple[Any, ...] = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True, markup=False), transient=True) as bar:
        task = bar.add_task("asking the room, reading the file", total=None)

        def tell(sent: int, total: int | None) -> None:
            bar.update(task, description="uploading", completed=sent, total=total)
            if sent == total:
                bar.add_task("the room works", total=None)  # a task of its own: nobody knows for how long

        yield tell
