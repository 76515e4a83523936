"""Two parties on the machine of the check: they verify with the client, and do the rest with curl."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vesica_images.check.site import CheckFailed

NAMES: Final = ("alice", "bob")
ROWS: Final = 1000
OVERLAP: Final = 400
# At epsilon 1 a draw of the discrete Laplace is further off than this once in 10^26.
_FAR: Final = 60
_OPEN_SECONDS_MAX: Final = 60
_WRONG_KEY: Final = 90  # curl's exit status for --pinnedpubkey
_WRONG_PIN: Final = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
# Runs a program where the room can be reached, and says what it printed; `expected` are its exit statuses.
Run = Callable[..., str]


@dataclass(frozen=True)
class Parties:
    """folder: their tokens, files and policy. agreement: what they signed up to. vesica: the client."""

    folder: Path
    agreement: Path
    vesica: tuple[str, ...]

    @property
    def policy(self) -> Path:
        return self.folder / "policy.toml"


def made(folder: Path, vesica: tuple[str, ...], run: Run) -> Parties:
    """Makes tokens, files, an agreement and a policy, as parties do. run: anywhere."""
    folder.mkdir(parents=True)
    roster: list[str] = []
    for number, name in enumerate(NAMES):
        told = json.loads(run(*vesica, "token", "--json"))
        (folder / f"{name}.auth").write_text(f"Authorization: Bearer {told['token']}\n")
        (folder / f"{name}.token").write_text(told["token"])
        roster += ["--party", f"{name}:2:{told['token_sha256']}"]
        start = number * (ROWS - OVERLAP)
        lines = "".join(f"person{row}@example.org\n" for row in range(start, start + ROWS))
        (folder / f"{name}.csv").write_text(f"email\n{lines}")
    agreement = folder / "agreement.toml"
    run(*vesica, "agreement", "new", "--name", "check", *roster, "--column", "email", "--output", agreement)
    agreement.chmod(0o644)  # the room is another user, and there is nothing secret in it
    parties = Parties(folder, agreement, vesica)
    # There is no trusted hardware here, and the policy says so.
    parties.policy.write_text("allow_insecure_software = true\n")
    return parties


def take_a_room_through(parties: Parties, url: str, run: Run) -> str:
    """From verifying to receipts. Raises CheckFailed. run: in the room's network namespace."""
    at = _Room(parties, url, run)
    folder = parties.folder
    at.curl("alice", "-F", f"csv_file=@{folder / 'alice.csv'}", path="submissions", status=201)
    at.curl("alice", "-F", f"csv_file=@{folder / 'alice.csv'}", path="submissions", status=409)
    at.curl(
        "bob", "-H", "Content-Type: text/csv", "--data-binary", f"@{folder / 'bob.csv'}", path="submissions", status=201
    )
    at.wait_until_open()
    question = '{"statistic":"intersection_cardinality","epsilon":"1"}'
    release = at.curl("bob", "-H", "Content-Type: application/json", "-d", question, path="releases", status=201)
    if abs(release["value"] - OVERLAP) > _FAR:
        raise CheckFailed(f"the release says {release['value']}, with {OVERLAP} rows on both lists")
    at.client("receipts", url, "--output", folder / "receipts")
    at.curl("alice", "-X", "POST", path="close", status=200)
    offline = at.client("receipt", "verify", folder / "receipts", "--agreement", parties.agreement, "--json")
    if not json.loads(offline):
        raise CheckFailed("the receipts prove nothing")
    return f"{ROWS} and {ROWS} rows, {OVERLAP} on both; released: {release['value']}; receipts hold offline"


class _Room:
    """A room whose key was verified, and that is talked to with curl."""

    def __init__(self, parties: Parties, url: str, run: Run) -> None:
        self._parties, self._url, self._run = parties, url, run
        verified = json.loads(self.client("verify", url, "--agreement", parties.agreement, "--json"))
        if verified["verified"] is not True or verified["insecure"] is not True:
            raise CheckFailed(f"verify says {verified}")
        self._pin = verified["pinned_public_key"]
        # curl must not talk to another key: else the pin would say nothing.
        run("curl", "-sk", "--pinnedpubkey", _WRONG_PIN, f"{url}/healthz", expected=(_WRONG_KEY,))

    def client(self, *words: str | Path) -> str:
        """The command line of a party."""
        folder = self._parties.folder
        environment = {
            "HOME": str(folder),
            "VESICA_POLICY": str(folder / "policy.toml"),
            "VESICA_TOKEN": (folder / "alice.token").read_text(),
        }
        return self._run(*self._parties.vesica, *words, environment=environment)

    def curl(self, party: str, *words: str, path: str, status: int) -> dict[str, Any]:
        """A request of a party, as `vesica verify` tells people to make it. Raises CheckFailed for another status."""
        header = f"@{self._parties.folder / party}.auth"
        told = self._run("curl", "-sSk", "--pinnedpubkey", self._pin, "-H", header, "-w", "\n%{http_code}", *words,
                         f"{self._url}/{path}")  # fmt: skip
        body, _, code = told.rpartition("\n")
        if code != str(status):
            raise CheckFailed(f"{path} of {party}: {code} in place of {status}: {body}")
        document: dict[str, Any] = json.loads(body)
        return document

    def wait_until_open(self) -> None:
        """The room opens a while after the last submission."""
        end = time.monotonic() + _OPEN_SECONDS_MAX
        while self.curl("alice", path="room", status=200)["state"] != "open":
            if time.monotonic() > end:
                raise CheckFailed(f"the room is not open {_OPEN_SECONDS_MAX} s after the last submission")
            time.sleep(0.25)
