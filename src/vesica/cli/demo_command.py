"""``vesica demo``."""

import argparse
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, assert_never

from vesica.cli.common import RED, add_command, add_json, print_json, say_in_red
from vesica.cli.exits import Exit

if TYPE_CHECKING:
    from vesica.answers import Release
    from vesica.cli.screen import Screen
    from vesica.demo import Command, DemoRoom, Request, Step
    from vesica.exchange import Answer

_TEXT = """
Shows a whole room on this machine, in a few seconds: two made-up organisations with a list each, one
agreement, a real server process that is verified first, and every step as the line that does the same in
a shell, up to an offline check of what the room signed. Everything is in a temporary folder that is
removed at the end. Needs the server's packages: pip install 'vesica[server]'

This machine proves nothing about itself, so that the room runs with INSECURE software evidence and the
demonstration's policy allows that. Do not copy that part.

examples:
  vesica demo
  vesica demo --pause           starts the room, prints the lines, and waits while you paste them
  vesica demo --json
"""
_WARNING = (
    "INSECURE, FOR DEMONSTRATION ONLY: no hardware stands behind this room's evidence. It is software that vouches for "
    "itself, which the demonstration's policy allows with allow_insecure_software = true. For real data it must not. "
    "The lists shown here are made up."
)
_OPEN_SECONDS_MAX = 60.0
_OPEN_STEP_SECONDS = 0.1
_RECEIPTS = ["opening", "submission", "submission", "release", "release", "closing"]
_CERTAIN = 1e-9  # a demo that is right may say it is wrong once in a billion runs


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = add_command(commands, "demo", "two parties, one room, on this machine", _TEXT)
    parser.add_argument("--pause", action="store_true", help="do nothing but start the room, for you to try the lines")
    add_json(parser)
    parser.set_defaults(run=_demo)


def _demo(args: argparse.Namespace) -> int:
    from vesica.cli.screen import Screen
    from vesica.demo import running_room

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    screen = Screen()
    if args.json:
        say_in_red(_WARNING, on_stderr=True)
    else:
        _head(screen)
    with running_room() as room:
        if args.pause:
            return _pause(screen, room)
        done = _run(None if args.json else screen, room)
    if args.json:
        print_json({"ok": True, "insecure": True, "encryption": True, "steps": done})
    else:
        screen.line("The room is stopped, its folder removed. To paste the lines yourself: vesica demo --pause", "bold")
    return Exit.OK


def _stop(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)  # through every `finally`: the server is stopped, the folder removed


def _head(screen: "Screen") -> None:
    from vesica.demo import FIRST, LIMITS, SECOND

    screen.paragraph(_WARNING, RED)
    screen.line()
    screen.paragraph(
        f"{FIRST} and {SECOND} each have a list of ids. They want to know how many are on both, and neither may see "
        f"the other's. They agreed on limits: everything released about {FIRST}'s rows costs at most ε {LIMITS[FIRST]} "
        f"in all, about {SECOND}'s at most ε {LIMITS[SECOND]}."
    )
    screen.line()


def _pause(screen: "Screen", room: "DemoRoom") -> int:
    from vesica.demo import steps

    screen.line("The room runs. Paste this into another terminal, then any line below, in order:", "bold")
    screen.line(room.setup(), "green")
    screen.line()
    for number, step in enumerate(steps(), 1):
        screen.line(f"# {number}. {step.title}", "dim")
        screen.line(step.does.line(), "green")
    screen.line()
    screen.line("Enter or Ctrl-C stops the room and removes the folder.", "bold")
    sys.stdout.flush()
    try:
        sys.stdin.readline()
    except KeyboardInterrupt:
        screen.line()
    return Exit.OK


def _run(screen: "Screen | None", room: "DemoRoom") -> list[dict[str, object]]:
    """Every step, checked. Raises DemoFailed at the first that does not do what it should."""
    from vesica.demo import steps

    if screen is not None:
        screen.line(f"$ {room.setup()}", "green")
        screen.line()
    done: list[dict[str, object]] = []
    first: dict[str, object] | None = None
    for number, step in enumerate(steps(), 1):
        answer, status = _perform(step, room)
        _check(step, answer, status, room, first)
        if step.name == "release" and first is None:
            first = dict(answer)
        done.append({"title": step.title, "line": step.does.line(), "status": status, "answer": answer})
        if screen is not None:
            screen.line(f"{number}. {step.title}", "bold")
            screen.line(f"$ {step.does.line()}", "green")
            _show(screen, step, answer, room)
            screen.line()
    return done


def _perform(step: "Step", room: "DemoRoom") -> tuple[dict[str, object], str]:
    from vesica.demo import Command, DemoFailed
    from vesica.errors import VesicaError

    try:
        if isinstance(step.does, Command):
            return _command(step.does, room), "ok"
        answer = _until_open(step.does, room) if step.name == "open" else step.does.send(room)
    except VesicaError as error:
        if error.code != step.refused:
            raise DemoFailed(f"{step.title}: {error.detail}") from None
        return {"code": error.code, "detail": error.detail, **error.members}, "refused"
    if step.refused is not None:
        raise DemoFailed(f"{step.title}: the room did not refuse")
    return dict(answer.document), "created" if answer.created else "ok"


def _command(command: "Command", room: "DemoRoom") -> dict[str, object]:
    """Does what a command does, and gives what there is to show of it."""
    from vesica.cli.verify_command import document
    from vesica.demo import Command
    from vesica.epsilon import format_epsilon
    from vesica.journal import committed

    match command:
        case Command.VERIFY:
            return document(room.verify(), expected=True)
        case Command.SUBMIT:
            return dict(room.submit())
        case Command.JOURNAL:
            entries = room.journal().entries()
            return {"states": [entry.state for entry in entries], "committed": format_epsilon(committed(entries))}
        case Command.RECEIPTS:
            checked = room.check_receipts()
            kinds = [statement.kind.value for statement in checked.statements]
            return {"receipts": kinds, "complete": checked.complete, "insecure": checked.result.insecure}
        case _:
            assert_never(command)


def _until_open(request: "Request", room: "DemoRoom") -> "Answer":
    deadline = time.monotonic() + _OPEN_SECONDS_MAX
    while True:
        answer = request.send(room)
        if answer.document.get("state") != "collecting" or time.monotonic() > deadline:
            return answer
        time.sleep(_OPEN_STEP_SECONDS)


def _check(
    step: "Step", answer: dict[str, object], status: str, room: "DemoRoom", first: dict[str, object] | None
) -> None:
    """What a step must have done, beyond not being refused."""
    from vesica.accuracy import bound
    from vesica.answers import read_budgets, read_plan, read_release, read_room, read_submission
    from vesica.demo import FILES, TRUE_INTERSECTION, TRUE_UNION, DemoFailed

    right = True
    match step.name:
        case "submit":
            wanted = {"party_a.csv": 34_797, "party_b.csv": 28_597}
            submission = read_submission(answer)
            right = submission.rows == wanted[FILES[submission.party]] and submission.dropped == 0
        case "open":
            right = read_room(answer).state == "open"
        case "plan":
            right = {str(cost.epsilon) for cost in read_plan(answer).cost} == {"0.5"}
        case "release":
            release = read_release(answer)
            truth = TRUE_UNION if release.statistic == "union_cardinality" else TRUE_INTERSECTION
            right = abs(release.value - truth) <= bound(500_000_000, _CERTAIN)
        case "again":
            right = answer == first and status == "ok"
        case "budgets":
            right = {b.name: str(b.remaining) for b in read_budgets(answer)} == {
                "statistics-office": "1",
                "neighbour": "0",
            }
        case "close":
            right = answer.get("state") == "closed"
        case _:
            right = _right_without_a_room(step.name, answer, room)
    if not right:
        raise DemoFailed(f"{step.title}: the room answered, but not what it should")


def _right_without_a_room(name: str, answer: dict[str, object], room: "DemoRoom") -> bool:
    """What is checked on the party's side."""
    match name:
        case "verify":
            return answer["pinned_public_key"] == room.verified.pin
        case "journal":
            return answer == {"states": ["accepted"], "committed": "2"}
        case "check":
            return answer["complete"] is True and answer["receipts"] == _RECEIPTS
        case _:
            return True


def _show(screen: "Screen", step: "Step", answer: dict[str, object], room: "DemoRoom") -> None:
    from vesica.answers import read_budgets, read_plan, read_release, read_submission
    from vesica.cli.render import show_budgets

    match step.name:
        case "submit":
            submission = read_submission(answer)
            screen.line(f"accepted: {submission.rows:,} rows; the room keeps keyed hashes, in memory only")
        case "open":
            screen.line("open; nobody can submit any more, nor replace what was submitted")
        case "plan":
            plan = read_plan(answer)
            bounds = ", ".join(f"{1 - a.alpha:.0%}: ± {a.bound:,}" for a in plan.accuracy)
            screen.line(f"ε {plan.epsilon} from each party; the noise would be within ({bounds}) rows")
        case "release":
            _show_release(screen, read_release(answer))
        case "again":
            screen.line("the stored answer, unchanged; no budget was touched")
        case "budgets":
            show_budgets(screen, read_budgets(answer))
        case "refused":
            screen.line(f"refused: {answer['detail']}", "yellow")
        case "close":
            screen.line("closed; from now on the room answers nothing about its data")
        case _:
            _show_what_is_proved(screen, step.name, answer, room)


def _show_what_is_proved(screen: "Screen", name: str, answer: dict[str, object], room: "DemoRoom") -> None:
    match name:
        case "verify":
            screen.line(
                "INSECURE: its evidence is software's own word, and was taken only because the policy says so", RED
            )
            screen.line(f"its keys and agreement are those that the evidence names; its TLS key is {room.verified.pin}")
        case "journal":
            screen.line(f"one room; what it may release about this list costs at most ε {answer['committed']}")
        case "receipts":
            screen.line("kept: opening, submissions, releases and closing, each naming the one before")
        case _:
            screen.line("INSECURE: the evidence in the first receipt is software's own word", RED)
            screen.line("all signatures, the chain, the noise of each release and the budgets hold", "green")


def _show_release(screen: "Screen", release: "Release") -> None:
    from vesica.cli.render import show_release
    from vesica.demo import TRUE_INTERSECTION, TRUE_UNION

    if release.statistic == "union_cardinality":  # one picture is enough
        screen.line(
            f"{release.shown:,}   95 % interval: {release.low:,} to {release.high:,} (± {release.accuracy.bound:,})"
        )
        truth = TRUE_UNION
    else:
        show_release(screen, release)
        truth = TRUE_INTERSECTION
    screen.line(f"(The true count is {truth:,}. It can be told here because both lists are made up.)", "dim")
