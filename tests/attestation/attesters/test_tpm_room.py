"""From a room on a measured-boot machine to a party's verdict: a real process, a real TPM in software."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import swtpm
from support import tpm_evidence as make
from support.attested import _ready
from support.server import agreement_text, party_token
from vesica.client import Room
from vesica.refusals import AttestationRefused
from vesica_attestation import tpm
from vesica_attestation._tpm.device import opened
from vesica_enclave.tpm_enrol.__main__ import main as enrol

pytestmark = pytest.mark.skipif(bool(swtpm.why_not()), reason=f"{swtpm.why_not()}: apt-get install swtpm")
AZURE = f"""
[azure.pcrs]
4 = ["{make.replay(make.EVENTS)[4].hex()}"]
[azure.sev_snp]
launch_digests = ["{"11" * 48}"]
vmpl = [0]
minimum_tcb.milan = {{ bootloader = 0, tee = 0, snp = 0, microcode = 0 }}
"""
WORDS = "NOT CONFIDENTIAL HARDWARE"


@dataclass(frozen=True)
class MeasuredRoom:
    """A room whose evidence is of a vTPM. policy: of a party that accepts it."""

    url: str
    folder: Path
    policy: str

    def run(self, *arguments: str, policy: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command of a party's, on the address of the room."""
        path = self.folder / "policy.toml"
        path.write_text(self.policy if policy is None else policy)
        command = [sys.executable, "-m", "vesica", *arguments, "--policy", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Iterator[MeasuredRoom]:
    folder = tmp_path_factory.mktemp("room")
    state = folder / "state"
    state.mkdir()
    with (folder / "printed").open("w") as printed, contextlib.redirect_stdout(printed):
        assert enrol(["--tpm", str(state), "--ca-dir", str(folder / "ca")]) == 0
    with swtpm.serving(state) as place:
        with opened(place) as exchange:
            for pcr, digest in make.EVENTS:
                swtpm.extend(exchange, pcr, digest)
        with _served(folder, place) as url:
            yield MeasuredRoom(url, folder, _policy((folder / "printed").read_text()))


@contextlib.contextmanager
def _served(folder: Path, place: Path) -> Iterator[str]:
    (folder / "agreement.toml").write_text(agreement_text({"alice": "1", "bob": "1"}))
    command = [sys.executable, "-m", "vesica", "serve", str(folder / "agreement.toml"), "--port", "0"]
    command += ["--attester", "tpm", "--tpm-device", str(place)]
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
    try:
        yield _ready(folder, process)
    finally:
        process.kill()
        process.wait()


def _policy(printed: str) -> str:
    pcrs = make.replay(make.EVENTS)
    pinned = "".join(f'{index} = ["{pcrs[index].hex()}"]\n' for index in (4, 11, 12, 13))
    return f"[tpm]\nallow_trusted_hypervisor = true\n{printed}\n[tpm.pcrs]\n{pinned}"


def test_verify_says_in_words_what_this_is_not_and_shows_what_booted(room):
    done = room.run("verify", room.url)
    assert done.returncode == 0, done.stderr
    assert WORDS in done.stdout
    assert "booted as your policy demands, on a host whose operator your policy trusts" in " ".join(done.stdout.split())
    assert "runs where and as your policy demands" not in done.stdout
    assert "proved by tpm" in done.stdout


def test_verify_in_json_has_a_field_for_it_and_the_result_is_a_warning(room):
    done = room.run("verify", room.url, "--json")
    document = json.loads(done.stdout)
    assert (document["verified"], document["insecure"], document["confidential"]) == (True, False, False)
    result = document["result"]["submods"]["tpm"]
    assert result["ear.status"] == "warning"
    assert result["vesica.claims"]["warning"] == tpm.WARNING
    assert WORDS in done.stderr


def test_the_room_itself_says_it_when_it_starts(room):
    assert WORDS in (room.folder / "stderr").read_text()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("allow_trusted_hypervisor = true", ""), 3),
        (("allow_trusted_hypervisor = true", "allow_trusted_hypervisor = false"), 3),
        ((make.replay(make.EVENTS)[4].hex(), "11" * 32), 8),
        ((make.replay(make.EVENTS)[11].hex(), "11" * 32), 8),
        (('ca_certificate_digests = ["', 'ca_certificate_digests = ["00'), 3),
    ],
)
def test_a_policy_that_does_not_accept_it_ends_with_the_code_for_that(room, change, code):
    done = room.run("verify", room.url, policy=room.policy.replace(*change))
    assert done.returncode == code, done.stderr
    assert "verified" not in done.stdout


@pytest.mark.parametrize(
    "policy",
    [
        "allow_insecure_software = true\n",
        f'[nitro]\nlaunch_digests = ["{"11" * 48}"]\nmax_age_seconds = 300\n',
        AZURE,
    ],
)
def test_no_policy_for_another_kind_accepts_it(room, policy):
    done = room.run("verify", room.url, policy=policy)
    assert (done.returncode, "does not name this kind" in done.stderr) == (8, True), done.stderr


def test_another_machines_key_is_refused_by_a_policy_that_pins_this_one(room):
    other = room.policy.replace('attestation_keys = ["000b', 'attestation_keys = ["000b0000')
    name = next(line for line in other.splitlines() if line.startswith("attestation_keys"))
    policy = other.replace(name, name[:-6] + '"]')
    with pytest.raises(AttestationRefused, match="attestation key"), Room(room.url, policy=policy.encode()) as client:
        client.verify()


def test_two_parties_submit_ask_and_check_receipts_and_are_told_each_time(room, tmp_path):
    for party in ("alice", "bob"):
        token, rows = tmp_path / f"{party}.token", tmp_path / f"{party}.csv"
        token.write_text(party_token(party))
        token.chmod(0o600)
        rows.write_text("id\nx\ny\n")
        done = room.run("submit", room.url, str(rows), "--token-file", str(token), "--no-journal")
        assert done.returncode == 0, done.stderr
        assert WORDS in done.stdout + done.stderr
    with Room(room.url, party_token("alice"), policy=room.policy.encode()) as client:
        until = time.monotonic() + 30
        while client.state().state != "open" and time.monotonic() < until:
            time.sleep(0.1)
        assert client.release("intersection_cardinality", "0.5").number == 1
    kept = tmp_path / "receipts"
    token = str(tmp_path / "alice.token")
    done = room.run("receipts", room.url, "--output", str(kept), "--token-file", token)
    assert done.returncode == 0, done.stderr
    done = room.run("receipt", "verify", str(kept))
    assert done.returncode == 0, done.stderr
    assert WORDS in done.stdout
    assert "evidence: tpm" in done.stdout


def test_a_draft_of_what_the_room_shows_is_refused_until_its_reader_says_what_it_accepts(room):
    command = [sys.executable, "-m", "vesica", "policy", "new", "--from-evidence", room.url]
    draft = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "CONFIRM" in draft
    refused = room.run("verify", room.url, policy=draft)
    assert "allow_trusted_hypervisor" in refused.stderr
    assert refused.returncode != 0
    accepted = draft.replace("# allow_trusted_hypervisor", "allow_trusted_hypervisor")
    assert room.run("verify", room.url, policy=accepted).returncode == 0


def test_policy_check_says_it_too(room):
    path = room.folder / "checked.toml"
    path.write_text(room.policy)
    command = [sys.executable, "-m", "vesica", "policy", "check", str(path)]
    assert "NOT CONFIDENTIAL" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert (shown["accepts"], shown["trusts_hypervisor"]) == (["tpm"], True)
