"""The commands of a party against a real room, from the first token to the closed door."""

import json

import pandas as pd
import pytest

import vesica
from support.attested import POLICY, attested_room
from support.server import agreement_text, party_token
from vesica.cli.exits import Exit
from vesica.cli.main import main
from vesica.receipts_check import check_receipts
from vesica.verified import read_policy

ALICE = [f"a{i}" for i in range(50)] + [f"{i:03d}" for i in range(100)] + ["NA", "1e5"]
BOB = [f"b{i}" for i in range(30)] + [f"{i:03d}" for i in range(100)] + ["NA", "null"]


@pytest.fixture(scope="module")
def url():
    with attested_room(agreement_text({"alice": "60", "bob": "50"}, epsilon_default="50")) as room:
        yield room.url


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs a command as a party. Gives the exit code and the JSON document."""
    (tmp_path / "policy.toml").write_bytes(POLICY)
    monkeypatch.setenv("VESICA_POLICY", str(tmp_path / "policy.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(party: str, *argv: str) -> tuple[int, dict[str, object]]:
        monkeypatch.setenv("VESICA_TOKEN", party_token(party))
        code = main([*argv, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_a_visit_from_submission_to_close(url, run, tmp_path, capsys):
    # One test, for a room lives once: each step needs the one before.
    file = tmp_path / "alice.csv"
    file.write_text("\n".join(["id", *ALICE, "a0"]) + "\n")
    code, answer = run("alice", "submit", url, str(file))
    assert (code, answer["error"]["code"], answer["error"]["line"]) == (Exit.INPUT, "duplicate-row", len(ALICE) + 2)

    file.write_text("\n".join(["id", *ALICE]) + "\n")
    code, answer = run("alice", "submit", url, str(file))
    assert (code, answer["party"], answer["rows"]) == (Exit.OK, "alice", len(ALICE))
    assert run("alice", "submit", url, str(file))[0] == Exit.STATE
    code, answer = run("alice", "release", url)
    assert (code, answer["error"]["code"]) == (Exit.STATE, "room-not-open")
    code, answer = run("nobody", "budget", url)
    assert (code, answer["error"]["code"]) == (Exit.UNAUTHENTICATED, "unauthenticated")

    with vesica.Room(url, party_token("bob"), policy=POLICY) as room:
        assert room.submit(pd.DataFrame({"id": BOB})).rows == len(BOB)
        until_open(room)

    code, answer = run("alice", "plan", url, "--epsilon", "50")
    assert (code, answer["accuracy"][1]) == (Exit.OK, {"alpha": 0.05, "bound": 0})
    code, answer = run("alice", "plan", url, "--epsilon", "50", "--party", "alice")
    assert code == Exit.INPUT
    code, answer = run("alice", "release", url)
    assert (code, answer["value"], answer["interval"], answer["stored"]) == (Exit.OK, 101, [101, 101], False)
    code, again = run("bob", "release", url, "--epsilon", "50")
    assert (code, again["stored"], {**again, "stored": False}) == (Exit.OK, True, answer)
    code, answer = run("bob", "release", url, "--statistic", "union_cardinality", "--epsilon", "1")
    assert (code, answer["error"]["code"]) == (Exit.BUDGET, "budget-exceeded")
    assert answer["error"]["short"] == [{"name": "bob", "remaining": "0", "missing": "1"}]
    code, answer = run("bob", "budget", url)
    assert [party["remaining"] for party in answer["parties"]] == ["10", "0"]
    code, answer = run("alice", "releases", url)
    assert [release["value"] for release in answer["releases"]] == [101]
    assert run("alice", "releases", url, "--number", "1")[1]["value"] == 101
    assert run("alice", "releases", url, "--number", "7")[0] == Exit.INPUT

    for command in (["room"], ["plan", "--epsilon", "0.5"], ["release"], ["releases"], ["budget"]):
        assert main([command[0], url, *command[1:]]) == Exit.OK
        assert capsys.readouterr().out

    with vesica.Room(url, party_token("alice"), policy=POLICY) as room:
        frame = room.releases()
    assert (frame["value"][0], str(frame["epsilon"][0]), frame["low"][0]) == (101, "50", 101)

    code, answer = run("alice", "journal")
    states = [fed["state"] for data_set in answer["data_sets"] for fed in data_set["fed"]]
    assert (code, sorted(states)) == (Exit.OK, ["accepted", "refused"])

    with vesica.Room(url, party_token("bob"), policy=POLICY) as later:
        later.verify()
        code, answer = run("alice", "close", url, "--yes")
        assert (code, answer["state"]) == (Exit.OK, "closed")
        kinds = [statement.kind.value for statement in check_receipts(later.receipts(), read_policy(POLICY)).statements]
    assert kinds == ["opening", "submission", "submission", "release", "closing"]
    code, answer = run("alice", "release", url, "--statistic", "union_cardinality", "--epsilon", "1")
    assert code == Exit.STATE
    assert run("bob", "submit", url, str(file))[0] == Exit.STATE


def until_open(room: vesica.Room) -> None:
    import time

    until = time.monotonic() + 60
    while room.state().state != "open":
        assert time.monotonic() < until
        time.sleep(0.05)
