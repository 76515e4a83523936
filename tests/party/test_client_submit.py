"""What a party's client sends, and when it does not even look at the file."""

import io
import os
import sys

import pytest

import vesica
from party.fake_room import POLICY, RELEASE, ROOM, TOKEN, Reply, asked, fake_room, problem, replies
from vesica import content, errors, refusals
from vesica.sealed import MEDIA_TYPE


def room_where(state: str, *, alice: bool) -> Reply:
    return Reply(200, {"state": state, "parties": [{"name": "alice", "submitted": alice}]})


def test_the_bytes_of_a_file_arrive_as_they_are_with_their_length(tmp_path):
    file = tmp_path / "ids.csv"
    file.write_bytes(b"\xef\xbb\xbfid\r\n" + b"x\r\n" * 200_000)
    told: list[tuple[int, int | None]] = []
    with fake_room(replies()) as (url, seen), vesica.Room(url, TOKEN, policy=POLICY) as room:
        assert room.submit(file, progress=lambda sent, total: told.append((sent, total))).rows == 2
    assert asked(seen) == ["/agreement", "/room", "/submissions"]
    assert (seen[-1].content_type, seen[-1].length) == (MEDIA_TYPE, len(seen[-1].body))
    assert b"x\r\nx" not in seen[-1].body
    assert ROOM.unseal(seen[-1].body) == file.read_bytes()
    assert seen[-1].authorization == f"Bearer {TOKEN}"
    assert told[-1] == (600_007, 600_007)
    assert len(told) == 3


def test_an_open_stream_is_sent_from_where_it_stands(tmp_path):
    file = tmp_path / "ids.csv"
    file.write_bytes(b"skipped\nid\n1\n")
    with fake_room(replies()) as (url, seen), vesica.Room(url, TOKEN, policy=POLICY) as room, file.open("rb") as stream:
        stream.readline()
        room.submit(stream)
    assert ROOM.unseal(seen[-1].body) == b"id\n1\n"


def test_bytes_in_memory_and_a_pipe_are_sent_to_their_end():
    with fake_room(replies()) as (url, seen), vesica.Room(url, TOKEN, policy=POLICY) as room:
        room.submit(io.BytesIO(b"id\n1\n"))
        assert ROOM.unseal(seen[-1].body) == b"id\n1\n"
        reading, writing = os.pipe()
        os.write(writing, b"id\n2\n")
        os.close(writing)
        with os.fdopen(reading, "rb") as stream:
            room.submit(stream)
        assert ROOM.unseal(seen[-1].body) == b"id\n2\n"


@pytest.mark.parametrize("size", [1_000, 999_999, 1_000_001])
def test_a_file_that_changes_while_it_is_read_is_refused_before_its_last_bytes_leave(size, tmp_path):
    file = tmp_path / "ids.csv"
    file.write_bytes(b"x" * 1_000_000)
    sent: list[bytes] = []
    with file.open("rb") as stream:
        what = content.from_stream(stream)
        os.truncate(file, size)
        with pytest.raises(refusals.FileUnreadable, match="the file changed"):
            sent.extend(what.chunks)
    assert sum(map(len, sent)) < what.length


@pytest.mark.parametrize(
    ("state", "alice", "kind"),
    [
        ("collecting", True, errors.AlreadySubmitted),
        ("open", True, errors.AlreadySubmitted),
        ("closed", False, errors.RoomClosed),
    ],
)
def test_a_room_in_the_wrong_state_is_refused_before_the_file_is_opened(state, alice, kind, tmp_path):
    with (
        fake_room(replies(get_room=room_where(state, alice=alice))) as (url, seen),
        vesica.Room(url, TOKEN, policy=POLICY) as room,
    ):
        with pytest.raises(kind):
            room.submit(tmp_path / "is-not-there.csv")
        assert all(request.method == "GET" for request in seen)


def test_a_token_that_is_not_on_the_roster_is_refused_before_the_file_is_opened(tmp_path):
    with fake_room(replies()) as (url, seen), vesica.Room(url, "another-token", policy=POLICY) as room:
        with pytest.raises(errors.Unauthenticated):
            room.submit(tmp_path / "is-not-there.csv")
        assert not any(request.authorization for request in seen)


def test_a_file_that_cannot_be_read_or_is_empty_is_refused(tmp_path):
    (tmp_path / "empty.csv").touch()
    with fake_room(replies()) as (url, _), vesica.Room(url, TOKEN, policy=POLICY) as room:
        with pytest.raises(refusals.FileUnreadable):
            room.submit(tmp_path / "is-not-there.csv")
        with pytest.raises(refusals.FileUnreadable):
            room.submit(tmp_path)
        with pytest.raises(errors.EmptyFile):
            room.submit(tmp_path / "empty.csv")


def test_a_rejection_carries_line_and_column(tmp_path):
    file = tmp_path / "ids.csv"
    file.write_bytes(b"id\n1\n")
    reply = problem(422, "duplicate-row", "line 7: a key that was there before", line=7, column="id")
    with fake_room(replies(post_submissions=reply)) as (url, _), vesica.Room(url, TOKEN, policy=POLICY) as room:
        with pytest.raises(errors.DuplicateRow) as caught:
            room.submit(file)
        assert (caught.value.line, caught.value.column) == (7, "id")


def test_without_pandas_releases_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with fake_room(replies()) as (url, _), vesica.Room(url, TOKEN, policy=POLICY) as room:
        with pytest.raises(refusals.PandasMissing, match=r"vesica\[pandas\]"):
            room.releases()
        assert room.released()[0].value == 100


@pytest.mark.parametrize("epsilon", [0.5, "0", "-1", "nan", "0.0000000001", True, ""])
def test_an_epsilon_that_is_not_exact_is_refused_before_anything_is_asked(epsilon):
    with fake_room(replies()) as (url, seen), vesica.Room(url, TOKEN, policy=POLICY) as room:
        with pytest.raises(errors.EpsilonInvalid):
            room.plan("intersection_cardinality", epsilon=epsilon)
        assert seen == []


def test_a_stored_answer_is_marked_and_a_negative_draw_is_shown_as_zero():
    body = ROOM.signed_release({**RELEASE, "value": -4})
    with fake_room(replies(post_releases=Reply(200, body))) as (url, _), vesica.Room(url, TOKEN, policy=POLICY) as room:
        release = room.release("intersection_cardinality", epsilon="0.5")
    assert (release.stored, release.value, release.shown, release.low, release.high) == (True, -4, 0, 0, 2)


def test_leaving_a_room_does_not_close_it():
    with fake_room(replies()) as (url, seen):
        with vesica.Room(url, TOKEN, policy=POLICY) as room:
            room.state()
        assert "/close" not in {request.path for request in seen}
