"""The demonstration: a real room in a process of its own on this machine, two parties, and every step as a line for a
shell.

A step's doing and its line come from one description, so that what is printed is what was done.
"""

import contextlib
import json
import queue
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from importlib import resources
from pathlib import Path
from typing import Final

from vesica.agreement import digest
from vesica.agreement_file import Draft, PartyDraft, write
from vesica.client import Room
from vesica.content import CSV_TYPE, from_stream, open_file
from vesica.errors import VesicaError
from vesica.exchange import Answer, Exchange
from vesica.journal import Journal, Keeping
from vesica.receipts_check import CheckedReceipts, check_receipts, read_folder
from vesica.refusals import printable
from vesica.tokens import new_token, token_sha256
from vesica.verified import VerifiedRoom, read_policy, verify_room

ROOM: Final = "demo-overlap"
FIRST: Final = "statistics-office"
SECOND: Final = "neighbour"
LIMITS: Final = {FIRST: "2", SECOND: "1"}
FILES: Final = {FIRST: "party_a.csv", SECOND: "party_b.csv"}
TRUE_INTERSECTION: Final = 16_818  # the pair is made up, so that this may be said
TRUE_UNION: Final = 46_576
POLICY: Final = """# Only for this demonstration: it takes a room's own word for where it runs.
# For real data name a kind of hardware and its launch digests instead: vesica policy new --help
allow_insecure_software = true
"""
START_SECONDS_MAX: Final = 120.0
_STOP_SECONDS_MAX: Final = 15.0
_BOUNDARY: Final = "vesica-demo-7f1c0a52d9"
_READY: Final = f'vesica: room "{ROOM}" is ready at '
_AGREEMENT: Final = "agreement.toml"
_POLICY: Final = "policy.toml"
_JOURNAL: Final = "journal.sqlite3"
_RECEIPTS: Final = "receipts.json"


class DemoFailed(VesicaError):
    """A step did not do what it should."""

    code = "demo-failed"


@dataclass(frozen=True)
class Request:
    """One request with plain curl, or what does the same. party: whose token goes along.

    File: a submission, as a form's field or as it is. body: JSON. keep: a file in the demo's folder for the answer.
    """

    method: str
    path: str
    party: str | None = None
    file: str | None = None
    form: bool = False
    body: Mapping[str, object] | None = None
    keep: str | None = None

    def line(self) -> str:
        """The line that does the same from a shell, in the demo's folder, with ROOM and PIN set.

        No token stands in it.
        """
        words = ['curl -sS -k --pinnedpubkey "$PIN"']
        if self.party is not None:
            words.append(f"-H @{self.party}.auth")
        if self.file is not None and self.form:
            words.append(f"-F csv_file=@{self.file}")
        elif self.file is not None:
            words.append(f"-H 'Content-Type: text/csv' --data-binary @{self.file}")
        if self.body is not None:
            words.append(
                f"-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(self.body, separators=(',', ':')))}"
            )
        elif self.method == "POST" and self.file is None:
            words.append("-X POST")
        if self.keep is not None:
            words.append(f"-o {self.keep}")
        return " ".join([*words, f"$ROOM{self.path}"])

    def send(self, room: "DemoRoom") -> Answer:
        """Does it, over TLS that is pinned to the verified key. Raises what the room refuses with."""
        exchange = Exchange(room.verified.address, room.tokens.get(self.party or ""), room.verified.context())
        try:
            if self.file is not None:
                return _send_file(exchange, self.path, room.folder / self.file, form=self.form)
            if self.method != "GET":
                return exchange.post(self.path, self.body, token=self.party is not None)
            answer = exchange.get(self.path, token=self.party is not None)
        finally:
            exchange.disconnect()
        if self.keep is not None:
            (room.folder / self.keep).write_text(json.dumps(answer.document), encoding="utf-8")
        return answer


@unique
class Command(StrEnum):
    """What is done with ``vesica`` itself, as it is typed in the demo's folder, with ROOM set."""

    VERIFY = f"vesica verify $ROOM --policy {_POLICY} --agreement {_AGREEMENT}"
    SUBMIT = (
        f"vesica submit $ROOM {FILES[FIRST]} --policy {_POLICY} --agreement {_AGREEMENT} "
        f"--token-file {FIRST}.token --journal {_JOURNAL}"
    )
    JOURNAL = f"vesica journal --journal {_JOURNAL}"
    RECEIPTS = f"vesica receipt verify {_RECEIPTS} --policy {_POLICY} --agreement {_AGREEMENT}"

    def line(self) -> str:
        """The line."""
        return self.value


@dataclass(frozen=True)
class Step:
    """One step. title: what happens. refused: the code of the refusal that it must meet, if it must."""

    name: str
    title: str
    does: Request | Command
    refused: str | None = None


@dataclass(frozen=True)
class DemoRoom:
    """A room that runs and was verified, and the folder with both parties' files.

    Lists, the agreement, a policy, each party's token, and a header with it for curl.
    """

    verified: VerifiedRoom
    folder: Path
    digest: str
    tokens: Mapping[str, str] = field(repr=False)

    def setup(self) -> str:
        """The line that comes before all others in a shell."""
        return (
            f"cd {shlex.quote(str(self.folder))}; ROOM={shlex.quote(self.verified.address.base)}; "
            f"PIN={shlex.quote(self.verified.pin)}"
        )

    def verify(self) -> VerifiedRoom:
        """Verifies the room, as ``Command.VERIFY`` does."""
        return verify_room(self.verified.address.base, read_policy(self.folder / _POLICY), agreement_digest=self.digest)

    def submit(self) -> Mapping[str, object]:
        """The first party's submission, sealed, as ``Command.SUBMIT`` does it: its party, rows and repeated rows."""
        with Room(
            self.verified.address.base,
            self.tokens[FIRST],
            policy=self.folder / _POLICY,
            agreement_digest=self.digest,
        ) as room:
            submission = room.submit(self.folder / FILES[FIRST], keeping=Keeping(self.journal()))
        return {
            "party": submission.party,
            "rows": submission.rows,
            "dropped": submission.dropped,
            "receipt": submission.receipt,
        }

    def journal(self) -> Journal:
        """The first party's journal, of this demonstration alone."""
        return Journal(self.folder / _JOURNAL)

    def check_receipts(self) -> CheckedReceipts:
        """Checks what was kept of the room's receipts, as ``Command.RECEIPTS`` does. No server is asked."""
        envelopes = read_folder([self.folder / _RECEIPTS])
        return check_receipts(envelopes, read_policy(self.folder / _POLICY), agreement_digest=self.digest)


def steps() -> tuple[Step, ...]:
    """What the demonstration does, in order."""
    overlap: dict[str, object] = {"statistic": "intersection_cardinality", "epsilon": "0.5"}
    union: dict[str, object] = {"statistic": "union_cardinality", "epsilon": "0.5"}
    more: dict[str, object] = {"statistic": "intersection_cardinality", "epsilon": "0.25"}
    return (
        Step("verify", "Before anything is sent, each party verifies the room on its own machine", Command.VERIFY),
        Step("submit", f"{FIRST} submits its list, sealed to the verified room", Command.SUBMIT),
        Step("journal", f"{FIRST} keeps a journal of what its lists were fed to", Command.JOURNAL),
        Step(
            "submit",
            f"{SECOND} has nothing but curl, and pins it to the verified key",
            Request("POST", "/submissions", SECOND, FILES[SECOND], form=True),
        ),
        Step("open", "All have submitted: the room opens", Request("GET", "/room")),
        Step(
            "plan", "What would the size of the overlap cost? (asking is free)", Request("POST", "/plan", body=overlap)
        ),
        Step("release", "How many ids are on both lists?", Request("POST", "/releases", FIRST, body=overlap)),
        Step("again", "The same question again is free", Request("POST", "/releases", SECOND, body=overlap)),
        Step("release", "How many ids are on at least one list?", Request("POST", "/releases", SECOND, body=union)),
        Step("budgets", "What is left?", Request("GET", "/budgets", FIRST)),
        Step(
            "refused",
            f"{FIRST} could pay for more, {SECOND} cannot: refused",
            Request("POST", "/releases", FIRST, body=more),
            refused="budget-exceeded",
        ),
        Step("close", "A party closes the room: data and keys are destroyed", Request("POST", "/close", FIRST)),
        Step("receipts", "What the room signed is kept", Request("GET", "/receipts", FIRST, keep=_RECEIPTS)),
        Step("check", "Years later, offline: does it all hold?", Command.RECEIPTS),
    )


@contextlib.contextmanager
def running_room() -> Iterator[DemoRoom]:
    """A room with a fresh agreement and fresh tokens, in a temporary folder, verified. It is always stopped, the folder
    removed.

    Raises DemoFailed when the room does not start.
    """
    with tempfile.TemporaryDirectory(prefix="vesica-demo-") as name:
        folder = Path(name)
        tokens = {party: new_token() for party in LIMITS}
        expected = _write_folder(folder, tokens)
        with _server(folder) as url:
            verified = verify_room(url, read_policy(folder / _POLICY), agreement_digest=expected)
            yield DemoRoom(verified, folder, expected, tokens)


def _write_folder(folder: Path, tokens: Mapping[str, str]) -> str:
    """Writes both parties' files, the policy and the agreement. Returns the agreement's digest."""
    from_package = resources.files("vesica") / "demo_data"
    for party, token in tokens.items():
        (folder / FILES[party]).write_bytes((from_package / FILES[party]).read_bytes())
        _write_private(folder / f"{party}.auth", f"Authorization: Bearer {token}\n")
        _write_private(folder / f"{party}.token", f"{token}\n")
    parties = [PartyDraft(party, LIMITS[party], token_sha256(tokens[party])) for party in LIMITS]
    text, agreement = write(Draft(ROOM, parties, columns=("id",), epsilon_default="0.5"))
    (folder / _AGREEMENT).write_text(text, encoding="utf-8")
    (folder / _POLICY).write_text(POLICY, encoding="utf-8")
    return digest(agreement)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="ascii")


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "vesica", "serve", str(folder / _AGREEMENT), "--port", "0"]
    # The data is made up. On a laptop that swaps, a room for real data would not start.
    command += ["--attester", "insecure-software", "--allow-unhardened"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 (this very program, with arguments made here)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
        )
    try:
        yield _address(process, folder)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _address(process: "subprocess.Popen[str]", folder: Path) -> str:
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        with contextlib.suppress(ValueError):  # closed while it was read, at the end
            for line in process.stdout or ():
                lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    try:
        line = lines.get(timeout=START_SECONDS_MAX)
    except queue.Empty:
        raise DemoFailed(f"the room was not ready within {START_SECONDS_MAX:.0f} seconds") from None
    if not line.startswith(_READY):
        log = (folder / "server.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        why = printable(log[-1].removeprefix("vesica: ")) if log else "it said nothing"
        raise DemoFailed(f"the room did not start: {why}")
    return line.removeprefix(_READY).strip()


def _send_file(exchange: Exchange, path: str, file: Path, *, form: bool) -> Answer:
    with open_file(file) as stream:
        content = from_stream(stream)
        if not form:
            return exchange.upload(path, content.chunks, CSV_TYPE, content.length)
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="csv_file"; filename="{file.name}"\r\n'
            "Content-Type: text/csv\r\n\r\n"
        ).encode()
        tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
        length = None if content.length is None else len(head) + content.length + len(tail)
        chunks = (chunk for part in ([head], content.chunks, [tail]) for chunk in part)
        return exchange.upload(path, chunks, f"multipart/form-data; boundary={_BOUNDARY}", length)
