"""Appraisal policies: ``policy new`` drafts one from reference values or evidence, ``policy check`` reads one."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vesica.cli.common import add_command, add_json, print_json
from vesica.cli.exits import Exit
from vesica.refusals import (
    AttestationRefused,
    Contradiction,
    FileUnreadable,
    ReferenceValuesUnusable,
    RoomAnsweredNonsense,
)
from vesica_attestation.evidence import Kind

if TYPE_CHECKING:
    from vesica_attestation.evidence import Evidence
    from vesica_attestation.policy import Policy
    from vesica_attestation.reference_values import ReferenceValues

_FILE_BYTES_MAX: Final = 2**20
_KINDS: Final = tuple(str(kind) for kind in Kind if kind is not Kind.INSECURE_SOFTWARE)
_KEPT: Final = "evidence.json"  # the name that `vesica verify --output` gives to what GET /attestation answered
_NEW: Final = """
Writes a policy.toml from reference values, from evidence, or from both.

From reference values: what a build of the sources must show, computed from its files (make
reference-values). Build it yourself, or compare the file with those of the other parties. What no file
determines is marked FILL IN, and the policy is refused until you have written it.

From evidence: the answer of GET /attestation in a file, a folder kept by `vesica verify --output`, or
the address of a room. The draft names what was shown, right or wrong. Every value that you must confirm
elsewhere is marked CONFIRM, with the place: a build that you reproduced, the vendor's notes, your own
account. Nothing in a draft is claimed to be right.

From both: values from the files, all else from the evidence.

examples:
  vesica policy new --reference-values reference-values.json --kind nitro --output policy.toml
  vesica policy new --from-evidence https://room.example.org --output policy.toml
  vesica policy new --reference-values reference-values.json --from-evidence kept/ --output policy.toml
"""
_CHECK: Final = """
Reads a policy as the verifier does, and says what it accepts. Marks of a draft that are still in it are
counted: a draft is not a policy.

examples:
  vesica policy check policy.toml
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the commands."""
    parser = add_command(commands, "policy", "what you accept as evidence", "Writes and reads appraisal policies.")
    inner = parser.add_subparsers(dest="policy_command", metavar="COMMAND", required=True)
    parser = add_command(inner, "new", "write a policy from reference values or evidence", _NEW)
    parser.add_argument("--reference-values", metavar="FILE", type=Path, help="a reference-values.json")
    parser.add_argument("--kind", choices=_KINDS, help="of evidence to accept (default: that of the evidence)")
    parser.add_argument("--from-evidence", metavar="FILE|URL", help="a file, a folder, or a room")
    parser.add_argument("--output", metavar="FILE", type=Path, help="a new file (default: standard output)")
    parser.set_defaults(run=_new)
    parser = add_command(inner, "check", "what a policy accepts", _CHECK)
    parser.add_argument("file", metavar="FILE", type=Path, help="a policy.toml")
    add_json(parser)
    parser.set_defaults(run=_check)


def _new(args: argparse.Namespace) -> int:
    from vesica_attestation.errors import Refused

    try:
        text = _drafted(args)
    except Refused as refused:
        raise AttestationRefused(refused.kind, refused.check, refused.detail) from None
    if args.output is None:
        print(text, end="")
        return Exit.OK
    try:
        with args.output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise FileUnreadable(f"cannot write {args.output}: {error.strerror}; a draft replaces no file") from None
    print(f"a draft is in {args.output}: confirm {text.count('# CONFIRM:')} values before you use it")
    return Exit.OK


def _drafted(args: argparse.Namespace) -> str:
    from vesica_attestation.draft import draft_policy
    from vesica_attestation.draft_reference import draft_from_reference_values
    from vesica_attestation.reference_values import ReferenceValuesInvalid

    now = datetime.now(UTC)
    evidence = None if args.from_evidence is None else _evidence(args.from_evidence)
    if args.reference_values is None:
        if evidence is None:
            raise Contradiction(
                "nothing to draft from: give --reference-values FILE, --from-evidence FILE|URL, or both"
            )
        if args.kind is not None:
            raise Contradiction("--kind is for --reference-values: evidence is of one kind, and says which")
        return draft_policy(evidence, now)
    if args.kind is None and evidence is None:
        raise Contradiction(f"--reference-values needs --kind, one of {', '.join(_KINDS)}")
    kind = Kind(args.kind) if args.kind is not None or evidence is None else evidence.kind
    try:
        values = _reference_values(args.reference_values)
        return draft_from_reference_values(values, kind, None if evidence is None else (evidence, now))
    except ReferenceValuesInvalid as invalid:
        raise ReferenceValuesUnusable(f"{args.reference_values}: {invalid}") from None


def _reference_values(path: Path) -> "ReferenceValues":
    from vesica_attestation.reference_values import REFERENCE_VALUES_BYTES_MAX, parse

    try:
        with path.open("rb") as stream:
            text = stream.read(REFERENCE_VALUES_BYTES_MAX + 1)
    except OSError as error:
        raise FileUnreadable(f"cannot read {path}: {error.strerror}") from None
    return parse(text)


def _evidence(source: str) -> "Evidence":
    from vesica_attestation.evidence import from_json

    document = _asked(source) if source.startswith(("https://", "http://")) else _read(Path(source))
    return from_json(document.get("evidence", document))


def _asked(url: str) -> dict[str, object]:
    """What a room shows to anybody. Nothing is trusted: it becomes a draft."""
    import secrets

    from vesica.exchange import Exchange, parse_address

    exchange = Exchange(parse_address(url), None)
    try:
        return dict(exchange.get(f"/attestation?nonce={secrets.token_bytes(32).hex()}").document)
    finally:
        exchange.disconnect()


def _read(path: Path) -> dict[str, object]:
    file = path / _KEPT if path.is_dir() else path
    try:
        with file.open("rb") as stream:
            document = json.loads(stream.read(_FILE_BYTES_MAX + 1))
    except OSError as error:
        raise FileUnreadable(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise RoomAnsweredNonsense(f"{file} is not evidence: an answer of GET /attestation is expected")
    return document


def _check(args: argparse.Namespace) -> int:
    from vesica.verified import read_policy

    policy = read_policy(args.file)
    marks = args.file.read_text(encoding="utf-8").count("# CONFIRM:")
    kinds = _kinds(policy)
    if args.json:
        print_json(
            {
                "accepts": kinds,
                "digest": policy.digest,
                "insecure": policy.allow_insecure_software,
                "trusts_hypervisor": policy.tpm is not None,
                "marks": marks,
            }
        )
        return Exit.OK
    from vesica.cli.screen import Screen

    screen = Screen()
    screen.line(f"this policy can be used; it accepts evidence of: {', '.join(kinds)}", "bold")
    if policy.allow_insecure_software:
        screen.line("INSECURE: it accepts software evidence, which anybody can make; it proves nothing", "bold red")
    if policy.tpm is not None:
        screen.line(
            "NOT CONFIDENTIAL: it accepts measured boot alone (tpm), where whoever operates the host reads the room's "
            "memory and can forge its evidence",
            "bold red",
        )
    if marks:
        screen.line(f"a DRAFT: {marks} values in it are still marked CONFIRM", "bold yellow")
    screen.line(f"digest {policy.digest}")
    return Exit.OK


def _kinds(policy: "Policy") -> list[str]:
    named = {
        "sev-snp": policy.sev_snp,
        "tdx": policy.tdx,
        "nitro": policy.nitro,
        "confidential-space": policy.confidential_space,
        "azure": policy.azure,
        "tpm": policy.tpm,
        "insecure-software": policy.allow_insecure_software or None,
    }
    return [kind for kind, terms in named.items() if terms is not None]
