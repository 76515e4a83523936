"""``vesica receipts`` and ``vesica receipt verify``, as a reader runs them."""

import json
import subprocess
import sys

import pytest

from support.attested import POLICY, attested_room, finished_receipts
from support.server import agreement_text, party_token
from vesica.agreement import canonical_bytes

TEXT = agreement_text({"alice": "1", "bob": "1"})
# Every way to a socket ends the process with a status that no command has.
OFFLINE = """
import os, socket, sys
def refuse(*_, **__): os._exit(77)
class Refused(socket.socket):
    def __init__(self, *_, **__): refuse()
socket.socket = Refused
socket.create_connection = socket.getaddrinfo = refuse
sys.addaudithook(lambda event, _: refuse() if event.startswith("socket.") and event != "socket.gethostname" else None)
from vesica.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def receipts():
    return finished_receipts(TEXT)


@pytest.fixture
def kept(receipts, tmp_path):
    (tmp_path / "policy.toml").write_bytes(b"allow_insecure_software = true\n")
    (tmp_path / "agreement.toml").write_text(TEXT)
    folder = tmp_path / "receipts"
    folder.mkdir()
    for i, envelope in enumerate(receipts):
        (folder / f"{i:06d}.json").write_bytes(canonical_bytes(envelope))
    return tmp_path


def verify(kept, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", OFFLINE, "receipt", "verify", "receipts", "--policy", "policy.toml", *words]
    return subprocess.run(command, cwd=kept, capture_output=True, text=True, check=False)


def test_a_folder_is_checked_without_a_socket(kept):
    done = verify(kept, "--agreement", "agreement.toml")
    assert done.returncode == 0, done.stderr
    assert "6 receipts" in done.stdout
    assert "INSECURE: software evidence" in done.stdout
    assert "closed by alice" in done.stdout
    assert "intersection_cardinality of alice, bob" in done.stdout
    assert "the room's own clock" in done.stdout
    assert "OpenDP" in done.stdout
    assert "NOT COMPLETE" not in done.stdout


def test_that_test_would_see_a_socket():
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, "room", "http://127.0.0.1:9"], capture_output=True, check=False
    )
    assert done.returncode == 77


def test_json_has_all_of_it(kept):
    document = json.loads(verify(kept, "--json", "--at", "2031-01-02T03:04:05Z").stdout)
    assert document["complete"] is True
    assert document["judged_at_room_clock"] is False
    assert [one["kind"] for one in document["receipts"]][-1] == "closing"
    assert document["evidence"]["submods"]["insecure-software"]["ear.status"] == "contraindicated"


def test_a_tail_that_was_cut_off_is_said(kept):
    (kept / "receipts" / "000005.json").unlink()
    done = verify(kept)
    assert done.returncode == 0
    assert "NOT COMPLETE" in done.stdout
    assert json.loads(verify(kept, "--json").stdout)["complete"] is False


def test_an_invalid_receipt_is_exit_9_and_named(kept):
    (kept / "receipts" / "000003.json").unlink()
    done = verify(kept)
    assert done.returncode == 9
    assert "receipt 3 is missing" in done.stderr


def test_refused_evidence_is_exit_8(kept):
    policy = kept / "policy.toml"
    policy.write_text(f'[nitro]\nlaunch_digests = ["{"ab" * 48}"]\nmax_age_seconds = 300\n')
    done = verify(kept)
    assert done.returncode == 8
    assert "receipt 0: its evidence is refused" in done.stderr


def test_another_agreement_is_exit_9(kept):
    (kept / "agreement.toml").write_text(TEXT.replace("test-room", "other-room"))
    done = verify(kept, "--agreement", "agreement.toml")
    assert done.returncode == 9
    assert "another agreement" in done.stderr


def test_a_time_that_is_none_is_a_wrong_command_line(kept):
    assert verify(kept, "--at", "yesterday").returncode == 2


@pytest.fixture
def fetching(tmp_path, monkeypatch):
    monkeypatch.setenv("VESICA_TOKEN", party_token("alice"))

    def fetch(room, folder: str) -> subprocess.CompletedProcess[str]:
        words = ["receipts", room.url, "--policy", str(room.folder / "policy.toml"), "--output", str(tmp_path / folder)]
        command = [sys.executable, "-m", "vesica", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return fetch


def test_receipts_are_fetched_and_kept_and_never_replaced(fetching, tmp_path):
    (tmp_path / "policy.toml").write_bytes(POLICY)
    (tmp_path / "list.csv").write_text("id\n1\n")
    with attested_room(TEXT) as room:
        first = fetching(room, "receipts")
        assert first.returncode == 0, first.stderr
        assert "NOT COMPLETE" in first.stdout
        with room.party("alice") as alice:
            alice.submit(tmp_path / "list.csv")
        assert fetching(room, "receipts").returncode == 0
    names = sorted(path.name for path in (tmp_path / "receipts").iterdir())
    assert names == ["000000-opening.json", "000001-submission.json"]
    assert verify(tmp_path).returncode == 0
    with attested_room(TEXT) as other:
        done = fetching(other, "receipts")
    assert done.returncode == 3
    assert "holds other receipts already" in done.stderr


def test_the_room_object_gets_them_after_the_room_was_closed(tmp_path):
    (tmp_path / "policy.toml").write_bytes(POLICY)
    with attested_room(TEXT) as room, room.party("alice") as alice:
        closing = alice.close()
        envelopes = alice.receipts()
    assert envelopes[-1] == closing
    (tmp_path / "receipts").write_text(json.dumps(envelopes))
    assert "NOT COMPLETE" not in verify(tmp_path).stdout


def test_the_command_fetches_them_after_the_room_was_closed(fetching):
    with attested_room(TEXT) as room:
        with room.party("alice") as alice:
            alice.close()
        assert fetching(room, "receipts").returncode == 0
