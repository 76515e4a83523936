"""The demonstration: a real room in a process of its own on this machine, two parties, and every step as a
curl line.

A step's request and its curl line come from one description, so that what is printed is what was done.
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
from importlib import resources
from pathlib import Path
from typing import Final

from vesica.agreement import digest
from vesica.agreement_file import Draft, PartyDraft, write
from vesica.content import CSV_TYPE, from_stream, open_file
from vesica.errors import VesicaError
from vesica.exchange import Answer, Exchange, parse_address
from vesica.refusals import printable
from vesica.tokens import new_token, token_sha256

ROOM: Final = "demo-overlap"
FIRST: Final = "statistics-office"
SECOND: Final = "neighbour"
LIMITS: Final = {FIRST: "2", SECOND: "1"}
FILES: Final = {FIRST: "party_a.csv", SECOND: "party_b.csv"}
TRUE_INTERSECTION: Final = 16_818  # the pair is made up, so that this may be said
TRUE_UNION: Final = 46_576
START_SECONDS_MAX: Final = 120.0
_STOP_SECONDS_MAX: Final = 15.0
_BOUNDARY: Final = "vesica-demo-7f1c0a52d9"
_READY: Final = f'vesica: room "{ROOM}" is ready at '


class DemoFailed(VesicaError):
    """A step did not do what it should."""

    code = "demo-failed"


@dataclass(frozen=True)
class Request:
    """One request. party: whose token goes along.

    File: a submission, as a form's field or as it is. body: JSON.
    """

    method: str
    path: str
    party: str | None = None
    file: str | None = None
    form: bool = False
    body: Mapping[str, object] | None = None

    def curl(self) -> str:
        """The line that does the same from a shell, in the demo's folder, with ROOM set.

        No token stands in it.
        """
        words = ["curl -sS"]
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
        return " ".join([*words, f"$ROOM{self.path}"])

    def send(self, room: "DemoRoom") -> Answer:
        """Does it. Raises what the room refuses with."""
        exchange = Exchange(parse_address(room.url), room.tokens.get(self.party or ""))
        try:
            if self.file is not None:
                return _send_file(exchange, self.path, room.folder / self.file, form=self.form)
            if self.method == "GET":
                return exchange.get(self.path, token=self.party is not None)
            return exchange.post(self.path, self.body, token=self.party is not None)
        finally:
            exchange.disconnect()


@dataclass(frozen=True)
class Step:
    """One step. title: what happens. refused: the code of the refusal that it must meet, if it must."""

    name: str
    title: str
    request: Request
    refused: str | None = None


@dataclass(frozen=True)
class DemoRoom:
    """A room that runs, and the folder with both parties' files.

    List.csv, and a header with the token for curl.
    """

    url: str
    folder: Path
    digest: str
    tokens: Mapping[str, str] = field(repr=False)


def steps() -> tuple[Step, ...]:
    """What the demonstration does, in order."""
    overlap: dict[str, object] = {"statistic": "intersection_cardinality", "epsilon": "0.5"}
    union: dict[str, object] = {"statistic": "union_cardinality", "epsilon": "0.5"}
    more: dict[str, object] = {"statistic": "intersection_cardinality", "epsilon": "0.25"}
    return (
        Step("agreement", "Both parties check the agreement before they send anything", Request("GET", "/agreement")),
        Step("submit", f"{FIRST} submits its list", Request("POST", "/submissions", FIRST, FILES[FIRST], form=True)),
        Step("submit", f"{SECOND} submits its list", Request("POST", "/submissions", SECOND, FILES[SECOND])),
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
    )


@contextlib.contextmanager
def running_room() -> Iterator[DemoRoom]:
    """A room with a fresh agreement and fresh tokens, in a temporary folder. It is always stopped, the folder
    removed.

    Raises DemoFailed when the room does not start.
    """
    with tempfile.TemporaryDirectory(prefix="vesica-demo-") as name:
        folder = Path(name)
        tokens = {party: new_token() for party in LIMITS}
        digest = _write_folder(folder, tokens)
        with _server(folder) as url:
            yield DemoRoom(url, folder, digest, tokens)


def _write_folder(folder: Path, tokens: Mapping[str, str]) -> str:
    """Writes both parties' files and the agreement. Returns the agreement's digest."""
    from_package = resources.files("vesica") / "demo_data"
    for party, token in tokens.items():
        (folder / FILES[party]).write_bytes((from_package / FILES[party]).read_bytes())
        header = folder / f"{party}.auth"
        header.touch(mode=0o600)
        header.write_text(f"Authorization: Bearer {token}\n", encoding="ascii")
    parties = [PartyDraft(party, LIMITS[party], token_sha256(tokens[party])) for party in LIMITS]
    text, agreement = write(Draft(ROOM, parties, columns=("id",), epsilon_default="0.5"))
    (folder / "agreement.toml").write_text(text, encoding="utf-8")
    return digest(agreement)


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "vesica", "serve", str(folder / "agreement.toml"), "--port", "0"]
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
        why = printable(log[0].removeprefix("vesica: ")) if log else "it said nothing"
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
