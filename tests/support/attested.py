"""Rooms with TLS and (software) evidence, as ``vesica serve`` runs them, for tests of what a party's side checks."""

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.server import agreement_text, party_token
from vesica.agreement import parse_agreement
from vesica.client import Room
from vesica.receipt import Envelope
from vesica.room import LiveRoom
from vesica_attestation.policy import Policy, parse_policy
from vesica_attestation.software import InsecureSoftwareAttester
from vesica_enclave.identity import RoomKeys
from vesica_enclave.serve import _opening

POLICY = b"allow_insecure_software = true\n"
START_SECONDS_MAX = 60.0
_READY = re.compile(r"ready at (https://\S+)")


@dataclass(frozen=True)
class Attested:
    """A room in a process of its own. folder: has agreement.toml and policy.toml; it goes when the room stops."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def party(self, name: str, url: str | None = None) -> Room:
        """The room as a party sees it. url: by another way than its own."""
        return Room(url or self.url, party_token(name), policy=POLICY)


def policy() -> Policy:
    """The one that accepts software evidence."""
    return parse_policy(POLICY)


@contextlib.contextmanager
def attested_room(text: str = "", *, port: int = 0) -> Iterator[Attested]:
    """Starts a room on loopback and always stops it. text: of its agreement."""
    text = text or agreement_text({"alice": "1", "bob": "1"})
    with tempfile.TemporaryDirectory(prefix="vesica-test-") as name:
        folder = Path(name)
        (folder / "agreement.toml").write_text(text)
        (folder / "policy.toml").write_bytes(POLICY)
        command = [sys.executable, "-m", "vesica", "serve", str(folder / "agreement.toml"), "--port", str(port)]
        command.append("--allow-unhardened")  # where it must be: on a machine with swap
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen([*command, "--attester", "insecure-software"], stdout=out, stderr=err)
        try:
            yield Attested(_ready(folder, process), folder, process)
        finally:
            process.kill()
            process.wait()


def _ready(folder: Path, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < until and process.poll() is None:
        if found := _READY.search((folder / "stdout").read_text()):
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(f"the room did not start:\n{(folder / 'stderr').read_text()}")


def live_room(text: str = "", *, keys: RoomKeys | None = None) -> LiveRoom:
    """A room without HTTP, with real receipts."""
    agreement = parse_agreement((text or agreement_text({"alice": "1", "bob": "1"})).encode())
    keys = keys or RoomKeys()
    digest = agreement_digest(text)
    return LiveRoom(agreement, _opening(agreement, keys, keys.identity(digest), InsecureSoftwareAttester()), keys.hpke)


def agreement_digest(text: str = "") -> str:
    """The digest of an agreement."""
    from vesica.agreement import digest

    return digest(parse_agreement((text or agreement_text({"alice": "1", "bob": "1"})).encode()))


def finished_receipts(text: str = "", *, rows: tuple[int, int] = (5, 5), close: bool = True) -> list[Envelope]:
    """The receipts of a room that two parties used: opening, two submissions, two releases, closing."""
    from support.rooms import question

    room = live_room(text)
    for party, count in zip(room.agreement.party_names(), rows, strict=True):
        intake = room.claim(party)
        intake.feed("\n".join(["id", *(f"row-{i}" for i in range(count))]).encode())
        room.accept(party, intake.finish())
    room.link()
    room.open()
    for epsilon in ("0.3", "0.1"):
        release, _ = room.release(question(room.agreement, epsilon))
        room.release_receipt(release)
    if close:
        room.close("alice")
    return list(room.receipts.all())
