"""A real server process for tests: ``with running_room(agreement_text({"alice": "1", "bob": "1"})) as room: ...``."""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vesica.tokens import token_sha256

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
_READY = re.compile(r'^vesica: room "[^"]*" is ready at (https?://\S+)$', re.MULTILINE)
# The composition root itself, so that these tests need no command line. Plain http: they look at raw bytes. Unhardened
# only where it must be, on a machine with swap for example: all measures that can be taken are.
_PROGRAM = (
    "import sys; from pathlib import Path; from vesica_enclave.serve import Settings, serve; "
    "sys.exit(serve(Settings(Path(sys.argv[1]), port=0, attester='insecure-software', insecure_plain_http=True, "
    "allow_unhardened=True, "
    "trusted_header=sys.argv[2] or None, log_level=sys.argv[3])))"
)


@dataclass(frozen=True)
class RunningRoom:
    """A room in a process of its own. ``url`` without a slash at its end; ``folder`` goes when the room stops."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def pid(self) -> int:
        """The process that serves."""
        return self.process.pid

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return (self.folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it has logged so far; all of it once ``stop`` has returned."""
        return (self.folder / "stderr").read_text(errors="replace")

    def stop(self) -> int:
        """Ends the process, by force if it does not want to, and returns its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


@contextlib.contextmanager
def running_room(
    agreement_toml_text: str, *, trusted_header: str | None = None, log_level: str = "debug"
) -> Iterator[RunningRoom]:
    """Starts a room on a free port of loopback and always stops it. Call ``stop()`` inside to read the whole log."""
    with tempfile.TemporaryDirectory(prefix="vesica-test-") as name:
        folder = Path(name)
        agreement = folder / "agreement.toml"
        agreement.write_text(agreement_toml_text)
        command = [sys.executable, "-c", _PROGRAM, str(agreement), trusted_header or "", log_level]
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        room = RunningRoom("", process, folder)
        try:
            yield RunningRoom(_wait_until_ready(room), process, folder)
        finally:
            room.stop()


def party_token(name: str) -> str:
    """The token of a party in ``agreement_text``: the same every time, so that any process can be any party."""
    return f"test-token-of-{name}"


def bearer(name: str) -> dict[str, str]:
    """The header that makes a request the party's."""
    return {"Authorization": f"Bearer {party_token(name)}"}


def agreement_text(
    parties: Mapping[str, str],
    *,
    name: str = "test-room",
    columns: list[str] | None = None,
    normalise: list[str] | Mapping[str, list[str]] | None = None,
    duplicates: str | None = None,
    statistics: tuple[str, ...] = ("intersection_cardinality", "union_cardinality"),
    epsilon_min: str | None = None,
    epsilon_default: str | None = None,
    closes_at: str | None = None,
) -> str:
    """An ``agreement.toml``. parties: limit by name. normalise: a list, or with ``columns`` one list a column."""
    lines = [f"name = {json.dumps(name)}"]
    lines += [f"closes_at = {closes_at}"] if closes_at else []
    lines.append("[keys]")
    lines += [f"columns = {json.dumps(columns)}"] if columns else []
    lines += [f"duplicates = {json.dumps(duplicates)}"] if duplicates else []
    if isinstance(normalise, Mapping):
        inner = ", ".join(f"{json.dumps(column)} = {json.dumps(list(words))}" for column, words in normalise.items())
        lines.append(f"normalise = {{ {inner} }}")
    elif normalise is not None:
        lines.append(f"normalise = {json.dumps(list(normalise))}")
    for party, epsilon in parties.items():
        lines += ["[[parties]]", f"name = {json.dumps(party)}", f'token_sha256 = "{token_sha256(party_token(party))}"']
        lines.append(f"epsilon = {json.dumps(epsilon)}")
    lines += ["[releases]", f"statistics = {json.dumps(list(statistics))}"]
    lines += [f"epsilon_min = {json.dumps(epsilon_min)}"] if epsilon_min else []
    lines += [f"epsilon_default = {json.dumps(epsilon_default)}"] if epsilon_default else []
    return "\n".join(lines) + "\n"


def wait_for_line(stdout: Path, process: "subprocess.Popen[bytes]", wanted: str) -> str:
    """The line of a process's output, which goes to a file, that has ``wanted`` in it."""
    until = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < until and process.poll() is None:
        whole = stdout.read_text(errors="replace").rpartition("\n")[0]
        if found := [line for line in whole.splitlines() if wanted in line]:
            return found[0]
        time.sleep(0.02)
    errors = (stdout.parent / "stderr").read_text(errors="replace")
    raise RuntimeError(f"it did not start; exit status {process.poll()}, stderr:\n{errors}")


def _wait_until_ready(room: RunningRoom) -> str:
    until = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < until and room.process.poll() is None:
        if found := _READY.search(room.stdout):
            return found[1]
        time.sleep(0.02)
    status = room.process.poll()
    raise RuntimeError(f"the room did not start; exit status {status}, stderr:\n{room.stderr}")
