"""What commands share: the address, the token, JSON, and a spinner while the room works."""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vesica.errors import Unauthenticated
from vesica.refusals import FileUnreadable
from vesica.terms import Statistic

if TYPE_CHECKING:
    from vesica.client import Room
    from vesica_attestation.policy import Policy
    from vesica_attestation.result import AttestationResult

RED: Final = "bold white on red"
TOKEN_VARIABLE: Final = "VESICA_TOKEN"  # noqa: S105 (the name of a variable)
POLICY_VARIABLE: Final = "VESICA_POLICY"
_TOKEN_FILE_BYTES_MAX: Final = 4_096


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str, text: str
) -> argparse.ArgumentParser:
    """A command. text: what it does, then examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=text.strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")


def add_url(parser: argparse.ArgumentParser) -> None:
    """The room's address, always the first argument."""
    parser.add_argument("url", metavar="URL", help="the room: https://HOST or https://HOST:PORT")


def add_policy(parser: argparse.ArgumentParser) -> None:
    """What is accepted as proof of where the room runs."""
    parser.add_argument(
        "--policy",
        metavar="FILE",
        type=Path,
        help=f"what the room must prove, a policy.toml; without it, the variable {POLICY_VARIABLE} names the file",
    )


def add_token(parser: argparse.ArgumentParser) -> None:
    """The token's place. There is no flag for the token itself.

    Other users of the machine see a command's arguments.
    """
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help=f"file that holds this party's token; without it, the variable {TOKEN_VARIABLE} does",
    )


def add_question(parser: argparse.ArgumentParser) -> None:
    """What is asked."""
    parser.add_argument(
        "--statistic",
        choices=[*map(str, Statistic)],
        default=str(Statistic.INTERSECTION_CARDINALITY),
        help="what to count (default: %(default)s)",
    )
    parser.add_argument(
        "--epsilon", metavar="E", help="what it may cost, an exact decimal such as 0.5 (default: the agreement's)"
    )
    parser.add_argument(
        "--party",
        metavar="NAME",
        action="append",
        dest="parties",
        help="only between these parties; repeat it, at least twice (default: all)",
    )


def token_of(args: argparse.Namespace) -> str | None:
    """The token from ``--token-file`` or the environment; None where neither is there.

    Raises FileUnreadable or Unauthenticated.
    """
    path: Path | None = args.token_file
    if path is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip() or None
    try:
        with path.open("rb") as file:
            text = file.read(_TOKEN_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}") from None
    try:
        token = text.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or len(text) > _TOKEN_FILE_BYTES_MAX or len(token.split()) != 1:
        raise Unauthenticated(f"{path} does not hold a token, and nothing else, on one line")
    return token


def policy_of(args: argparse.Namespace) -> "Policy | None":
    """The policy from ``--policy`` or the environment; None where neither is there.

    Raises FileUnreadable or PolicyUnusable.
    """
    path: Path | None = args.policy
    if path is None:
        named = os.environ.get(POLICY_VARIABLE, "")
        if not named:
            return None
        path = Path(named)
    from vesica.verified import read_policy

    return read_policy(path)


@contextlib.contextmanager
def open_room(args: argparse.Namespace, *, token: bool = True, agreement: Path | None = None) -> "Iterator[Room]":
    """The room at the address of the command line, verified where there is a policy.

    token: whether the command needs one, and so a policy. What verification met that a reader must know is said first.
    """
    from vesica.client import Room

    secret = token_of(args) if "token_file" in args else None
    if token and secret is None:
        raise Unauthenticated("this needs your party's token, and there is none")
    digest = None if agreement is None else digest_of_file(agreement)
    with Room(args.url, secret, policy=policy_of(args), agreement_digest=digest) as room:
        if token or room.has_policy:
            say_what_worries(room.verify().result, as_json=args.json)
        yield room


def say_what_worries(result: "AttestationResult", *, as_json: bool) -> None:
    """Says in words, in red, what the policy allowed that its reader must know: that no hardware stands behind a room,
    that it has no confidential hardware, that it runs in debug mode. With JSON on stdout, on stderr.
    """
    if result.warning is not None:
        say_in_red(result.warning, on_stderr=as_json)


def say_in_red(text: str, *, on_stderr: bool) -> None:
    """One line that nobody should overlook."""
    from rich.console import Console
    from rich.text import Text

    if on_stderr:
        Console(stderr=True, markup=False).print(Text(text, style=RED), soft_wrap=True)
        return
    from vesica.cli.screen import Screen

    Screen().line(text, RED)


def say_if_unverified(room: "Room") -> None:
    """Says that an answer is worth no more than the network it came over."""
    if not room.has_policy:
        from vesica.cli.screen import Screen

        Screen().line(
            "NOT VERIFIED: whoever is between you and the room could have made this up; --policy FILE verifies it",
            "yellow",
        )


def digest_of_file(path: Path) -> str:
    """The digest of an agreement's file."""
    from vesica.agreement import digest, parse_agreement

    return digest(parse_agreement(read_agreement_file(path)))


def read_agreement_file(path: Path) -> bytes:
    """The bytes of an agreement's file, no more than an agreement may have, and one.

    Raises FileUnreadable.
    """
    from vesica.limits import AGREEMENT_BYTES_MAX

    try:
        with path.open("rb") as file:
            return file.read(AGREEMENT_BYTES_MAX + 1)
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}") from None


def print_json(document: object) -> None:
    """One JSON document on stdout: ASCII only, so that no terminal acts on what it holds."""
    print(json.dumps(document, default=_plain, indent=2))


def plain(value: object) -> dict[str, object]:
    """A frozen dataclass as JSON-ready values."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise TypeError(type(value).__name__)
    return dataclasses.asdict(value)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    return plain(value)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on stderr while something is awaited; nothing where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True, markup=False).status(what):
        yield
