"""The journal: what a data set was fed to adds up, in every order, in every crash, in two processes at once."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import sqlite3
import stat
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vesica
from party.fake_room import DIGEST, POLICY, ROOM, TOKEN, Fake, Keys, Reply, fake, problem, replies
from vesica import refusals
from vesica.cli.exits import Exit
from vesica.cli.main import main
from vesica.errors import DuplicateRow, SealBroken
from vesica.journal import Feed, Journal, Keeping, State, committed, default_path
from vesica.limits import NANO
from vesica.receipt import check_receipt

FILE = b"id\n1\n2\n"
SHA = hashlib.sha256(FILE).digest()


def feed(room: str = "r1", party: str = "alice", nano: int = NANO) -> Feed:
    return Feed("overlap", "d" * 64, room, party, nano)


@pytest.fixture
def journal(tmp_path) -> Journal:
    return Journal(tmp_path / "deep" / "journal.sqlite3")


def total(journal: Journal) -> int:
    return committed(journal.entries())


def test_a_journal_is_readable_by_its_owner_alone_from_the_start(journal):
    old = os.umask(0)
    try:
        journal.begin(SHA, feed())
    finally:
        os.umask(old)
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700
    journal.path.chmod(0o644)
    journal.entries()
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600


def test_looking_makes_no_file(journal):
    assert (journal.entries(), journal.limit(), journal.path.exists()) == ((), None, False)


def test_the_default_place_is_that_of_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, where in [("/x", "/x"), ("", f"{tmp_path}/.local/state"), ("relative", f"{tmp_path}/.local/state")]:
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert str(default_path()) == f"{where}/vesica/journal.sqlite3"


def test_a_journal_tells_neither_the_files_digest_nor_anything_that_two_journals_share(journal, tmp_path):
    journal.begin(SHA, feed())
    raw = journal.path.read_bytes()
    assert SHA not in raw
    assert SHA.hex().encode() not in raw
    other = Journal(tmp_path / "other")
    other.begin(SHA, feed())
    assert other.entries()[0].data_set != journal.entries()[0].data_set


def test_an_entry_counts_unless_it_was_refused_and_one_room_counts_once_a_party(journal):
    first = journal.begin(SHA, feed("r1"))
    assert (first.earlier, first.committed_nano) == ((), NANO)
    again = journal.begin(SHA, feed("r1"))  # the line was cut: the same room again
    assert (again.earlier, again.committed_nano) == ((), NANO)
    journal.accepted(again.number, {"payload": "x"})
    second = journal.begin(SHA, feed("r2", nano=5))
    assert [entry.feed.room for entry in second.earlier] == ["r1", "r1"]
    assert second.committed_nano == NANO + 5
    journal.refused(second.number)
    assert total(journal) == NANO
    assert journal.begin(SHA, feed("r1", party="bob")).committed_nano == 2 * NANO
    assert journal.begin(hashlib.sha256(b"other").digest(), feed("r3")).earlier == ()
    assert [entry.receipt for entry in journal.entries()][:2] == [None, {"payload": "x"}]


def test_an_entry_ends_once(journal):
    number = journal.begin(SHA, feed()).number
    journal.refused(number)
    for end in (journal.refused, lambda n: journal.accepted(n, {})):
        with pytest.raises(ValueError, match="not being sent"):
            end(number)
    assert journal.entries()[0].state is State.REFUSED


def test_past_the_limit_nothing_is_written_and_a_limit_for_once_only_lowers_it(journal):
    journal.set_limit(2 * NANO)
    journal.begin(SHA, feed("r1"))
    with pytest.raises(refusals.DataSetLimitReached) as caught:
        journal.begin(SHA, feed("r2"), limit_nano=NANO)
    assert caught.value.members == {"committed": "1", "wanted": "1", "limit": "1"}
    with pytest.raises(refusals.DataSetLimitReached):
        journal.begin(SHA, feed("r2", nano=NANO + 1), limit_nano=50 * NANO)
    assert len(journal.entries()) == 1
    assert journal.begin(SHA, feed("r2"), limit_nano=50 * NANO).committed_nano == 2 * NANO
    with pytest.raises(refusals.DataSetLimitReached):
        journal.begin(SHA, feed("r3", nano=1))
    journal.set_limit(None)
    journal.begin(SHA, feed("r3", nano=1))


steps = st.lists(
    st.tuples(
        st.sampled_from(["f1", "f2"]),
        st.sampled_from(["r1", "r2", "r3"]),
        st.sampled_from(["alice", "bob"]),
        st.integers(1, 3 * NANO),
        st.sampled_from(["accepted", "refused", "crash"]),
        st.one_of(st.none(), st.integers(1, 6 * NANO)),
    ),
    max_size=12,
)


@given(steps=steps, own=st.one_of(st.none(), st.integers(1, 6 * NANO)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_counts_is_the_sum_over_rooms_and_never_passes_the_limit(steps, own, tmp_path_factory):
    journal = Journal(tmp_path_factory.mktemp("journal") / "j")
    journal.set_limit(own)
    model: dict[str, dict[tuple[str, str], list[int]]] = {"f1": {}, "f2": {}}
    for name, room, party, nano, end, once in steps:
        rooms = model[name]
        counts = {key: max(amounts) for key, amounts in rooms.items() if amounts}
        counts[room, party] = max(counts.get((room, party), 0), nano)
        limit = min((one for one in (own, once) if one is not None), default=None)
        sha = hashlib.sha256(name.encode()).digest()
        if limit is not None and sum(counts.values()) > limit:
            with pytest.raises(refusals.DataSetLimitReached):
                journal.begin(sha, feed(room, party, nano), once)
            continue
        begun = journal.begin(sha, feed(room, party, nano), once)
        assert begun.committed_nano == sum(counts.values())
        if end == "refused":
            journal.refused(begun.number)
            continue
        rooms.setdefault((room, party), []).append(nano)
        if end == "accepted":
            journal.accepted(begun.number, {})
    kept = journal.entries()
    for data_set in {entry.data_set for entry in kept}:
        here = committed(entry for entry in kept if entry.data_set == data_set)
        assert here in {sum(max(a) for a in rooms.values() if a) for rooms in model.values()}
        assert own is None or here <= own


def test_of_many_processes_at_once_no_more_get_in_than_the_limit_lets(tmp_path):
    path = tmp_path / "j"
    script = (
        "import sys; from vesica.journal import Feed, Journal; from vesica.refusals import DataSetLimitReached\n"
        "journal, got = Journal(sys.argv[1]), 0\n"
        "for i in range(20):\n"
        "    try: journal.begin(b'x' * 32, Feed('a', 'd', f'{sys.argv[2]}-{i}', 'alice', 10**8), 10**9); got += 1\n"
        "    except DataSetLimitReached: pass\n"
        "print(got)"
    )
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(path), str(i)], stdout=subprocess.PIPE, env=paths)
        for i in range(3)
    ]
    got = [int(process.communicate(timeout=120)[0]) for process in running]
    assert sum(got) == 10
    assert total(Journal(path)) == 10**9
    assert len({entry.data_set for entry in Journal(path).entries()}) == 1, "two keys were made"


def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path):
    other = tmp_path / "other.sqlite3"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    (tmp_path / "text").write_text("not a database, and longer than the header of one " * 20)
    (tmp_path / "link").symlink_to(tmp_path / "text")
    for name in ("other.sqlite3", "text", "link", "."):
        before = (tmp_path / name).read_bytes() if name != "." else b""
        with pytest.raises(refusals.JournalUnusable):
            Journal(tmp_path / name).begin(SHA, feed())
        assert name == "." or (tmp_path / name).read_bytes() == before


# With a room


def submit(url: str, source: object, keeping: Keeping) -> None:
    with vesica.Room(url, TOKEN, policy=POLICY) as room:
        room.submit(source, keeping=keeping)


def test_the_entry_is_written_before_the_first_byte_leaves_and_marked_after(journal, tmp_path):
    path = tmp_path / "ids.csv"
    path.write_bytes(FILE)
    states: list[list[State]] = []

    def answer(_: str) -> Reply:
        states.append([entry.state for entry in journal.entries()])
        good = replies()["post_submissions"]
        assert isinstance(good, Reply)
        return good

    with fake(replies(post_submissions=answer)) as room:
        posts: list[int] = []
        told = Keeping(journal, tell=lambda _: posts.append(sum(one.method == "POST" for one in room.seen)))
        submit(room.url, path, told)
    assert (posts, states) == ([0], [[State.SENDING]])
    (entry,) = journal.entries()
    assert (entry.state, entry.feed.agreement_name, entry.feed.agreement_digest) == (State.ACCEPTED, "fake", DIGEST)
    assert (entry.feed.party, entry.feed.epsilon_nano) == ("alice", NANO)
    assert entry.feed.room == ROOM.identity.receipt_public_key.hex()
    assert check_receipt(entry.receipt, ROOM.identity.receipt_public_key).body == {"party": "alice"}


@pytest.mark.parametrize(
    ("reply", "error", "state"),
    [
        (problem(422, "duplicate-row", "line 3", line=3, column="id"), DuplicateRow, State.REFUSED),
        (problem(422, "seal-broken", "no", line=None, column=None), vesica.VesicaError, State.REFUSED),
        (problem(500, "gremlins", "no"), refusals.RoomRefused, State.SENDING),
        (Reply(200, b"<html>"), refusals.RoomAnsweredNonsense, State.SENDING),
        (Reply(201, b"", hang_up=True), refusals.RoomUnreachable, State.SENDING),
    ],
    ids=["rejected", "seal-broken", "500", "nonsense", "cut-off"],
)
def test_only_a_refusal_that_the_room_gave_takes_an_entry_back(reply, error, state, journal, tmp_path):
    path = tmp_path / "ids.csv"
    path.write_bytes(FILE)
    with fake(replies(post_submissions=reply)) as room, pytest.raises(error):
        submit(room.url, path, Keeping(journal))
    assert [entry.state for entry in journal.entries()] == [state]
    assert total(journal) == (0 if state is State.REFUSED else NANO)


def test_past_the_limit_not_a_byte_of_the_file_leaves(journal, tmp_path):
    path = tmp_path / "ids.csv"
    path.write_bytes(FILE)
    with fake(replies()) as room, pytest.raises(refusals.DataSetLimitReached, match="nothing was submitted"):
        submit(room.url, path, Keeping(journal, limit_nano=NANO - 1))
    assert not any(one.method == "POST" for one in room.seen)
    assert journal.entries() == ()


@pytest.mark.parametrize("how", ["memory", "frame", "pipe"])
def test_what_can_be_read_only_once_is_judged_before_its_last_piece_leaves(how, journal):
    pd = pytest.importorskip("pandas")

    def source() -> object:
        if how == "frame":
            return pd.DataFrame({"id": ["1", "2"]})
        if how == "memory":
            return io.BytesIO(FILE)
        reading, writing = os.pipe()
        os.write(writing, FILE)
        os.close(writing)
        return opened.enter_context(os.fdopen(reading, "rb"))

    with fake(replies()) as room, contextlib.ExitStack() as opened:
        submit(room.url, source(), Keeping(journal))
        with vesica.Room(room.url, TOKEN, policy=POLICY) as visit:
            # To the journal it is another room, as if this one had been started again.
            visit._verified = _with_receipt_key(visit.verify(), Keys())
            with pytest.raises(refusals.DataSetLimitReached):
                visit.submit(source(), keeping=Keeping(journal, limit_nano=NANO))
    assert whole_submissions(room) == 1, "the second submission ended, as if it were whole"
    assert [entry.state for entry in journal.entries()] == [State.ACCEPTED]


def whole_submissions(room: Fake) -> int:
    """How many of the submissions that the fake got can be opened to their end."""
    opened = 0
    for one in room.seen:
        if one.path == "/submissions":
            with contextlib.suppress(SealBroken):
                ROOM.unseal(one.body)
                opened += 1
    return opened


def _with_receipt_key(verified: object, keys: Keys) -> object:
    identity = dataclasses.replace(verified.identity, receipt_public_key=keys.identity.receipt_public_key)
    return dataclasses.replace(verified, identity=identity)


def test_a_file_that_changes_after_it_was_hashed_is_not_submitted_whole(journal, tmp_path):
    path = tmp_path / "ids.csv"
    path.write_bytes(FILE)
    swapping = Keeping(journal, tell=lambda _: path.write_bytes(b"id\n1\n3\n"))
    with fake(replies()) as room, pytest.raises(refusals.FileUnreadable, match="changed"):
        submit(room.url, path, swapping)
    assert whole_submissions(room) == 0
    assert [entry.state for entry in journal.entries()] == [State.REFUSED]


# From a shell


@pytest.fixture
def shell(monkeypatch, tmp_path, capsys):
    """Runs a command with a policy and a state folder of its own. Gives exit code, stdout and stderr."""
    policy = tmp_path / "policy.toml"
    policy.write_bytes(POLICY)
    (tmp_path / "ids.csv").write_bytes(FILE)
    monkeypatch.setenv("VESICA_TOKEN", TOKEN)
    monkeypatch.setenv("VESICA_POLICY", str(policy))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def shell(*argv: str) -> tuple[int, str, str]:
        code = main(list(argv))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return shell


def test_submit_warns_at_the_second_room_and_refuses_past_the_limit(shell, tmp_path):
    second, third = Keys(), Keys()
    assert shell("journal", "limit", "2")[0] == Exit.OK
    with fake(replies()) as room:
        code, _, err = shell("submit", room.url, "ids.csv")
        assert (code, "fed before" in err) == (Exit.OK, False)
    with fake(replies(second), second) as room:
        code, _, err = shell("submit", room.url, "ids.csv")
        assert code == Exit.OK
        assert "this data set was fed before, to: fake." in err
        assert "add up to epsilon 2; the limit is 2" in err
    with fake(replies(third), third) as room:
        code, out, err = shell("submit", room.url, "ids.csv", "--json")
        assert (code, json.loads(out)["error"]["code"]) == (Exit.BUDGET, "data-set-limit-reached")
        assert "vesica journal" in err
        assert shell("submit", room.url, "ids.csv", "--data-set-limit", "50")[0] == Exit.BUDGET
        assert not any(one.method == "POST" for one in room.seen)
        assert shell("submit", room.url, "ids.csv", "--no-journal")[0] == Exit.OK
        assert shell("submit", room.url, "ids.csv", "--journal", str(tmp_path / "another"))[0] == Exit.OK
    document = json.loads(shell("journal", "--json")[1])
    assert document["limit"] == "2"
    assert [(one["committed"], [fed["state"] for fed in one["fed"]]) for one in document["data_sets"]] == [
        ("2", ["accepted", "accepted"])
    ]
    text = shell("journal")[1]
    assert text.count("accepted") == 2
    assert "your own limit: ε 2" in text


def test_a_limit_is_shown_set_and_taken_away(shell):
    assert shell("journal", "limit") == (Exit.OK, "no limit: a data set may be fed to any number of rooms\n", "")
    assert json.loads(shell("journal", "limit", "0.5", "--json")[1]) == {"limit": "0.5"}
    assert json.loads(shell("journal", "--json", "limit")[1]) == {"limit": "0.5"}
    assert shell("journal", "limit", "0")[0] == Exit.INPUT
    assert shell("journal", "limit", "1e20")[0] == Exit.INPUT
    assert json.loads(shell("journal", "limit", "--json")[1]) == {"limit": "0.5"}
    assert json.loads(shell("journal", "limit", "none", "--json")[1]) == {"limit": None}


def test_options_that_contradict_each_other_are_refused(shell):
    with fake(replies()) as room:
        for more in (["--journal", "x"], ["--data-set-limit", "1"]):
            assert shell("submit", room.url, "ids.csv", "--no-journal", *more)[0] == Exit.USAGE
        assert room.seen == []


def test_a_journal_that_cannot_be_used_stops_a_submission(shell, tmp_path):
    (tmp_path / "text").write_text("no journal, and longer than the header of a database " * 20)
    with fake(replies()) as room:
        code, _, err = shell("submit", room.url, "ids.csv", "--journal", "text")
        assert code == Exit.INPUT
        assert "--no-journal" in err
        assert not any(one.method == "POST" for one in room.seen)
