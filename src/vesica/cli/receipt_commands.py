"""What a room stated: ``receipts`` fetches it, ``receipt verify`` checks it, offline."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesica.cli.common import (
    add_command,
    add_json,
    add_policy,
    add_token,
    add_url,
    digest_of_file,
    policy_of,
    print_json,
    token_of,
)
from vesica.cli.exits import Exit
from vesica.errors import ReceiptInvalid, Unauthenticated
from vesica.refusals import FileUnreadable, PolicyMissing, printable

if TYPE_CHECKING:
    from datetime import datetime

    from vesica.receipt import Envelope, Statement
    from vesica.receipts_check import CheckedReceipts
    from vesica_attestation.policy import Policy

_RECEIPTS = """
Fetches every receipt that a room has signed so far into a folder, one file each, and checks them as
`vesica receipt verify` does. Files that are there already are never replaced by others.

Fetch them last after the room has closed, and before whoever runs it stops it: then they are complete.

examples:
  vesica receipts https://room.example.org --output receipts --policy policy.toml
"""
_VERIFY = """
Checks the receipts of one room, offline, without asking anybody: that the evidence in the first is what
your policy accepts, that the key which it vouches for signed all of them, that none is missing in the
middle, and that what they state is what the agreement allows: noise wide enough for its epsilon, every
party charged, nobody past its limit.

The evidence is judged at the time that the first receipt names, unless --at names another. That time is
the room's own clock, which whoever ran the machine could set: if you know when the room ran, say it.

exit code 0: they hold; 8: the evidence is refused; 9: a receipt is invalid, and which

examples:
  vesica receipt verify receipts --policy policy.toml --agreement agreement.toml
  vesica receipt verify receipts/*.json --policy policy.toml --at 2027-01-31T17:00:00Z --json
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands."""
    parser = add_command(commands, "receipts", "fetch what a room has signed", _RECEIPTS)
    add_url(parser)
    parser.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="where to keep them")
    _add_terms(parser)
    add_token(parser)
    add_json(parser)
    parser.set_defaults(run=_receipts)
    receipt = add_command(commands, "receipt", "check receipts, offline", "Checks receipts, offline.")
    inner = receipt.add_subparsers(dest="receipt_command", metavar="COMMAND", required=True)
    parser = add_command(inner, "verify", "check receipts, offline", _VERIFY)
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="files, or folders of *.json")
    _add_terms(parser)
    parser.add_argument("--at", metavar="TIME", type=_at, help="when to judge the evidence, as 2027-01-31T17:00:00Z")
    add_json(parser)
    parser.set_defaults(run=_verify)


def _add_terms(parser: argparse.ArgumentParser) -> None:
    add_policy(parser)
    parser.add_argument("--agreement", metavar="FILE", type=Path, help="your copy of the agreement")


def _at(text: str) -> "datetime":
    from vesica.receipts_check import parse_time

    return parse_time(text)


def _policy(args: argparse.Namespace) -> "Policy":
    policy = policy_of(args)
    if policy is None:
        raise PolicyMissing("receipts are worth what their evidence is, and there is no policy to judge that by")
    return policy


def _receipts(args: argparse.Namespace) -> int:
    from vesica.client import Room
    from vesica.receipts_check import check_receipts

    token = token_of(args)
    if token is None:
        raise Unauthenticated("this needs your party's token, and there is none")
    policy = _policy(args)
    digest = None if args.agreement is None else digest_of_file(args.agreement)
    with Room(args.url, token, policy=policy, agreement_digest=digest) as room:
        envelopes = room.receipts()
        room_key = room.verify().identity.receipt_public_key
    checked = check_receipts(envelopes, policy, agreement_digest=digest)
    if checked.binding.receipt_public_key != room_key:
        raise ReceiptInvalid("receipt 0 is of another room than the one that was just verified")
    _keep(args.output, checked.statements, envelopes)
    return _show(args, checked, digest)


def _keep(folder: Path, statements: "tuple[Statement, ...]", envelopes: "tuple[Envelope, ...]") -> None:
    """Writes one file a receipt, in the order of their numbers; refuses to replace a file by another one."""
    from vesica.agreement import canonical_bytes
    from vesica.receipt import read_payload, read_statement

    kinds = {statement.number: statement.kind for statement in statements}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for envelope in envelopes:
            number = read_statement(read_payload(envelope)).number
            path, text = folder / f"{number:06d}-{kinds[number]}.json", canonical_bytes(envelope)
            if path.exists() and path.read_bytes() == text:
                continue
            with path.open("xb") as file:
                file.write(text)
    except FileExistsError:
        raise FileUnreadable(f"{folder} holds other receipts already; name a new folder") from None
    except OSError as error:
        raise FileUnreadable(f"cannot write to {folder}: {error.strerror}") from None


def _verify(args: argparse.Namespace) -> int:
    from vesica.receipts_check import check_receipts, read_folder

    digest = None if args.agreement is None else digest_of_file(args.agreement)
    policy = _policy(args)
    checked = check_receipts(read_folder(args.paths), policy, at=args.at, agreement_digest=digest)
    return _show(args, checked, digest)


def _show(args: argparse.Namespace, checked: "CheckedReceipts", digest: str | None) -> int:
    if args.json:
        print_json(_document(checked))
        return Exit.OK
    from vesica.cli.screen import Screen

    screen = Screen()
    if checked.result.warning is not None:
        screen.line(checked.result.warning, "bold red")
    screen.line(f'{len(checked.statements)} receipts of room "{checked.agreement.name}" hold', "bold")
    screen.line("receipt  of          room's clock          states", "dim")
    for one in checked.statements:
        screen.line(f"{one.number:>7}  {one.kind:<10}  {one.issued_at}  {printable(_said(one), 400)}")
    screen.line(f"noise recomputed with {checked.recomputed_with}")
    clock = "the time that receipt 0 names, which is the room's own clock" if checked.room_clock else "your time"
    screen.line(f"evidence: {checked.result.kind}, judged at {checked.result.verified_at:%Y-%m-%dT%H:%M:%SZ}, {clock}")
    screen.line(f"agreement {checked.agreement.digest}{', yours' if digest else ': is that the one you signed up to?'}")
    if not checked.complete:
        screen.line("NOT COMPLETE: no receipt of closing is here, so that later ones may be missing", "bold yellow")
    return Exit.OK


def _said(statement: "Statement") -> str:
    from vesica.receipt import Kind

    body: dict[str, Any] = dict(statement.body)
    match statement.kind:
        case Kind.OPENING:
            return "the agreement, the room's keys, and evidence of both"
        case Kind.SUBMISSION:
            return f"{body['party']} submitted"
        case Kind.RELEASE:
            bound = body["accuracy"]["bound"]
            parties = ", ".join(body["parties"])
            return f"{body['statistic']} of {parties}: {body['value']} (± {bound}), ε {body['epsilon']} from each"
        case Kind.CLOSING:
            return f"closed by {body['by']}; destroyed: {', '.join(body['destroyed'])}"


def _document(checked: "CheckedReceipts") -> dict[str, object]:
    return {
        "agreement_digest": checked.agreement.digest,
        "complete": checked.complete,
        "evidence": checked.result.as_ear(),
        "judged_at_room_clock": checked.room_clock,
        "recomputed_with": checked.recomputed_with,
        "receipts": [
            {"number": one.number, "kind": str(one.kind), "issued_at": one.issued_at, "body": _body(one)}
            for one in checked.statements
        ],
    }


def _body(statement: "Statement") -> dict[str, object]:
    """Without the agreement and the evidence, which are in the file itself."""
    return {} if statement.number == 0 else dict(statement.body)
