"""``vesica verify``: what a room proves about itself, before anything is sent to it."""

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from vesica.cli.common import (
    add_command,
    add_json,
    add_policy,
    add_url,
    digest_of_file,
    policy_of,
    print_json,
    say_what_worries,
    working,
)
from vesica.cli.exits import Exit
from vesica.refusals import FileUnreadable, PolicyMissing

if TYPE_CHECKING:
    from vesica.verified import VerifiedRoom
    from vesica_attestation.result import Claim

_TEXT = """
Asks a room for evidence over a fresh nonce and appraises it here, on your machine, by your policy: what
code runs, on what hardware, under which agreement, and that the keys which the room speaks and reads
with live there. Nothing of yours is sent. It prints what was proved, which of it your policy pinned, and
until when that holds; what is refused ends with exit code 8 and the name of the check.

For whoever has nothing but curl it prints lines that talk to the verified key and to no other: curl then
fails (exit 90) where somebody else answers. They need a file with one line,
"Authorization: Bearer TOKEN", called my.auth there. (curl does not seal what it sends, as vesica submit
does: it is as safe as TLS with the verified key.)

--output keeps evidence, binding, result and agreement as files, for whoever asks later.

examples:
  vesica verify https://127.0.0.1:8443 --policy policy.toml
  vesica verify https://127.0.0.1:8443 --policy policy.toml --agreement agreement.toml
  vesica verify https://127.0.0.1:8443 --policy policy.toml --json
  vesica verify https://127.0.0.1:8443 --policy policy.toml --output kept/
"""
_QUESTION = {"statistic": "intersection_cardinality", "epsilon": "0.5"}
_DIGEST_DIGITS = 64


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = add_command(commands, "verify", "what a room proves, before you send anything", _TEXT)
    add_url(parser)
    add_policy(parser)
    expected = parser.add_mutually_exclusive_group()
    expected.add_argument("--agreement", metavar="FILE", type=Path, help="your copy of the agreement")
    expected.add_argument(
        "--agreement-digest", metavar="HEX", type=_digest, help="its digest, as vesica agreement check prints it"
    )
    parser.add_argument("--output", metavar="FOLDER", type=Path, help="keep evidence, binding and result there")
    add_json(parser)
    parser.set_defaults(run=_verify)


def curl_lines(verified: "VerifiedRoom") -> tuple[str, str]:
    """A submission and a release with curl alone, pinned to the verified key."""
    start = f"curl -sS -k --pinnedpubkey {shlex.quote(verified.pin)} -H @my.auth"
    question = shlex.quote(json.dumps(_QUESTION, separators=(",", ":")))
    return (
        f"{start} -F csv_file=@customers.csv {shlex.quote(verified.address.base + '/submissions')}",
        f"{start} -H 'Content-Type: application/json' -d {question} {shlex.quote(verified.address.base + '/releases')}",
    )


def _digest(text: str) -> str:
    digest = text.lower()
    if len(digest) != _DIGEST_DIGITS or set(digest) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a digest is 64 hex digits")
    return digest


def _verify(args: argparse.Namespace) -> int:
    from vesica.verified import verify_room

    policy = policy_of(args)
    if policy is None:
        raise PolicyMissing("a room is verified by your policy, and there is none")
    expected = digest_of_file(args.agreement) if args.agreement is not None else args.agreement_digest
    with working("the room proves itself"):
        verified = verify_room(args.url, policy, agreement_digest=expected)
    say_what_worries(verified.result, as_json=args.json)
    if args.output is not None:
        _keep(verified, args.output)
    if args.json:
        print_json(document(verified, expected=expected is not None))
    else:
        show(verified, expected=expected is not None)
        if args.output is not None:
            print(f"kept in {args.output}: {', '.join(sorted(_files(verified)))}")
    return Exit.OK


def document(verified: "VerifiedRoom", *, expected: bool) -> dict[str, object]:
    """JSON-ready. expected: whether the agreement is known to be the one that the reader signed up to."""
    return {
        "verified": True,
        "insecure": verified.result.insecure,
        "confidential": verified.result.confidential,
        "address": verified.address.base,
        "agreement": {
            "name": verified.agreement.name,
            "digest": verified.agreement.digest,
            "as_expected": True if expected else None,
        },
        "certificate_until": verified.certificate_until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "pinned_public_key": verified.pin,
        "binding": verified.binding.to_json(),
        "result": verified.result.as_ear(),
        "curl": list(curl_lines(verified)),
    }


def show(verified: "VerifiedRoom", *, expected: bool) -> None:
    """For a person. expected: as in ``document``."""
    from vesica.cli.screen import Screen

    screen = Screen()
    result = verified.result
    if result.insecure:
        screen.line(f'room "{verified.agreement.name}" is at the other end of this channel, by its own word', "bold")
    elif not result.confidential:
        screen.line(
            f'verified: room "{verified.agreement.name}" booted as your policy demands, on a host whose operator your '
            "policy trusts with the data",
            "bold yellow",
        )
    else:
        screen.line(f'verified: room "{verified.agreement.name}" runs where and as your policy demands', "bold green")
    screen.line()
    rows = [
        [name, text(claim), "pinned" if name in result.proved.pinned else ""]
        for name, claim in sorted(result.proved.claims.items())
    ]
    screen.table([f"proved by {result.kind}", "value", "by your policy"], rows, left=3)
    compared = "as in your copy" if expected else "compare it: vesica agreement check FILE"
    keys = [
        ["agreement", verified.agreement.digest, compared],
        ["nonce", verified.binding.nonce.hex(), "fresh, made here"],
        ["TLS key", verified.pin, "of this channel"],
        ["HPKE key", verified.binding.hpke_public_key.hex(), "files are sealed to it"],
        ["receipt key", verified.binding.receipt_public_key.hex(), "signs receipts"],
    ]
    screen.table(["bound to", "value", ""], keys, left=3)
    when, until = (
        moment.strftime("%Y-%m-%d %H:%M:%S UTC") for moment in (result.verified_at, verified.certificate_until)
    )
    screen.paragraph(
        f"Verified at {when}. It holds for as long as the room's process lives: the keys die with it, and one that "
        f"was started again has others and must be verified again. Its certificate ends at {until}."
    )
    screen.line()
    screen.line("With curl alone, pinned to the verified key:", "bold")
    for line in curl_lines(verified):
        screen.line(line, "green")


def text(claim: "Claim") -> str:
    """A claim for a person, safe on a terminal: some of it was chosen by whoever made the evidence."""
    from vesica.refusals import printable

    return printable(", ".join(claim) if isinstance(claim, list) else str(claim))


def _files(verified: "VerifiedRoom") -> dict[str, object]:
    return {
        "agreement.json": dict(verified.agreement.document),
        "binding.json": verified.binding.to_json(),
        "evidence.json": verified.evidence.to_json(),
        "result.json": verified.result.as_ear(),
    }


def _keep(verified: "VerifiedRoom", folder: Path) -> None:
    """Writes what was appraised. What is there already is kept: it may be the only proof of an earlier day."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _files(verified).items():
            with (folder / name).open("x", encoding="utf-8") as file:
                json.dump(content, file, indent=2)
                file.write("\n")
    except OSError as error:
        raise FileUnreadable(f"cannot write {error.filename or folder}: {error.strerror}") from None
