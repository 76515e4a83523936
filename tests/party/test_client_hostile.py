"""A party's client against a room that means harm, or is none."""

import json
import socket

import pytest

import vesica
from party.fake_room import DIGEST, DOCUMENT, POLICY, RELEASE, ROOM, TOKEN, Reply, fake_room, problem, replies
from vesica import errors, refusals
from vesica.exchange import ANSWER_BYTES_MAX, parse_address

NONSENSE = [
    pytest.param(Reply(200, b"<html>it works</html>"), id="html"),
    pytest.param(Reply(200, b""), id="empty"),
    pytest.param(Reply(200, b"[]"), id="list"),
    pytest.param(Reply(200, b"null"), id="null"),
    pytest.param(Reply(200, b"\xff\xfe{}"), id="not-utf-8"),
    pytest.param(Reply(200, b"[" * 200_000), id="deep"),
    pytest.param(Reply(200, b'{"state": NaN}'), id="nan"),
    pytest.param(Reply(200, b'{"state": ' + b"9" * 5_000 + b"}"), id="digits"),
    pytest.param(Reply(200, {}), id="no-fields"),
    pytest.param(Reply(200, {"state": "ajar", "parties": []}), id="unknown-state"),
    pytest.param(Reply(200, {"state": "open", "parties": [1]}), id="party-a-number"),
    pytest.param(Reply(200, {"state": "open", "parties": [{"name": "\x1b[2J", "submitted": True}]}), id="escape"),
    pytest.param(Reply(200, {"state": "open", "parties": [{"name": "x", "submitted": "yes"}]}), id="truth-a-word"),
    pytest.param(Reply(200, b'{"state": "open", "parties": []}' + b" " * ANSWER_BYTES_MAX), id="huge"),
    pytest.param(Reply(200, {"state": "open", "parties": []}, {"Content-Encoding": "gzip"}), id="compressed"),
    pytest.param(Reply(204, b""), id="no-content"),
    pytest.param(Reply(500, b"oops"), id="500"),
    pytest.param(Reply(502, b"<html>", {"Content-Type": "text/html"}), id="proxy"),
    pytest.param(Reply(422, b"{}", {"Content-Type": "application/problem+json"}), id="problem-without-code"),
]


@pytest.mark.parametrize("reply", NONSENSE)
def test_an_answer_that_no_room_gives_is_nonsense_and_no_crash(reply):
    with (
        fake_room(replies(get_room=reply)) as (url, _),
        vesica.Room(url) as room,
        pytest.raises(refusals.RoomAnsweredNonsense),
    ):
        room.state()


@pytest.mark.parametrize(
    "changed",
    [
        {"value": "16"},
        {"value": 1.5},
        {"value": True},
        {"value": 10**30},
        {"number": -1},
        {"epsilon": 0.5},
        {"epsilon": "-1"},
        {"epsilon": "1e400"},
        {"scale": 0},
        {"scale": 1e400},
        {"accuracy": {"alpha": 0.05, "bound": -1}},
        {"accuracy": {"alpha": 2, "bound": 1}},
        {"parties": []},
        {"parties": ["\u202egnp"]},
        {"unit": "x" * 10_000},
        {"agreement_digest": "a" * 64},
        {"statistic": "mean"},
        {"statistic": "union_cardinality"},
        {"epsilon": "0.25"},
        {"parties": ["alice", "carol"]},
    ],
    ids=str,
)
def test_a_release_of_wrong_shape_or_to_another_question_is_nonsense(changed):
    body = json.dumps(ROOM.signed_release(RELEASE | changed)).replace("Infinity", "1e400").encode()
    with (
        fake_room(replies(post_releases=Reply(201, body))) as (url, _),
        vesica.Room(url, TOKEN, policy=POLICY) as room,
        pytest.raises(refusals.RoomAnsweredNonsense),
    ):
        room.release("intersection_cardinality", epsilon="0.5", parties=["bob", "alice"])


@pytest.mark.parametrize(
    "shown",
    [
        {"digest": "0" * 64, "agreement": DOCUMENT},
        {"digest": DIGEST, "agreement": DOCUMENT | {"name": "other"}},
        {"digest": DIGEST, "agreement": {"name": "\ud800"}},
        {"digest": DIGEST, "agreement": []},
        {"agreement": DOCUMENT},
    ],
    ids=["wrong-digest", "changed-name", "surrogate", "list", "no-digest"],
)
def test_an_agreement_that_does_not_have_its_digest_is_refused_and_nothing_sent(shown, tmp_path):
    file = tmp_path / "ids.csv"
    file.write_bytes(b"id\n1\n2\n")
    with (
        fake_room(replies(get_agreement=Reply(200, shown))) as (url, seen),
        vesica.Room(url, TOKEN, policy=POLICY) as room,
    ):
        with pytest.raises(refusals.RoomAnsweredNonsense):
            room.submit(file)
        assert not any(request.method == "POST" or request.authorization for request in seen)


def test_a_room_with_another_agreement_than_the_expected_one_gets_nothing(tmp_path):
    with fake_room(replies()) as (url, seen), vesica.Room(url, TOKEN, policy=POLICY, agreement_digest="c" * 64) as room:
        with pytest.raises(refusals.AgreementMismatch):
            room.submit(tmp_path / "never-opened.csv")
        with pytest.raises(refusals.AgreementMismatch):
            room.release("intersection_cardinality", epsilon="0.5")
        assert not any(request.method == "POST" or request.authorization for request in seen)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_so_the_token_stays(status):
    with fake_room(replies()) as (elsewhere, stolen):
        to = Reply(status, b"", {"Location": f"{elsewhere}/budgets"})
        with (
            fake_room(replies(get_budgets=to)) as (url, _),
            vesica.Room(url, TOKEN, policy=POLICY) as room,
            pytest.raises(refusals.RoomAnsweredNonsense, match="redirect"),
        ):
            room.budgets()
        assert stolen == []


def test_every_code_of_vesica_errors_is_raised_as_its_class():
    for code, kind in refusals.REGISTRY.items():
        with (
            fake_room(replies(get_budgets=problem(409, code, "because"))) as (url, _),
            vesica.Room(url, TOKEN, policy=POLICY) as room,
        ):
            with pytest.raises(kind) as caught:
                room.budgets()
            assert type(caught.value) is kind
            assert caught.value.detail == "because"


def test_the_registry_holds_every_code_once():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.VesicaError)]
    never_from_a_room = {errors.VesicaError, errors.AgreementInvalid, errors.NotHardened}
    codes = [kind.code for kind in kinds if kind not in never_from_a_room]
    assert sorted(codes) == sorted(refusals.REGISTRY)


@pytest.mark.parametrize("code", ["moon-phase", "address-refused", "agreement-invalid", "not-hardened", "error"])
def test_an_unknown_code_is_a_refusal_of_its_own(code):
    with (
        fake_room(replies(get_budgets=problem(418, code, "because"))) as (url, _),
        vesica.Room(url, TOKEN, policy=POLICY) as room,
    ):
        with pytest.raises(refusals.RoomRefused) as caught:
            room.budgets()
        assert caught.value.members == {"room_code": code, "status": 418}


def test_members_that_are_no_keywords_of_an_error_do_no_harm():
    reply = problem(403, "budget-exceeded", "no", short=[{"name": "b\x07"}], self=1, detail_="x", line={"a": [[[[1]]]]})
    with fake_room(replies(get_budgets=reply)) as (url, _), vesica.Room(url, TOKEN, policy=POLICY) as room:
        with pytest.raises(errors.BudgetExceeded) as caught:
            room.budgets()
        assert caught.value.members["short"] == [{"name": "b\\x07"}]


def test_control_characters_in_a_refusal_are_escaped_and_it_is_cut():
    detail = "\x1b]0;owned\x07 \u202e\ud800" + "x" * 100_000
    reply = problem(422, "question-invalid", detail)
    with (
        fake_room(replies(get_budgets=reply)) as (url, _),
        vesica.Room(url, TOKEN, policy=POLICY) as room,
        pytest.raises(errors.QuestionInvalid) as caught,
    ):
        room.budgets()
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 2_100


def test_an_answer_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr("vesica.exchange.ANSWER_SECONDS_MAX", 0.3)
    slow = Reply(200, b"x" * 1_000, drip_seconds=0.05)
    with (
        fake_room(replies(get_room=slow)) as (url, _),
        vesica.Room(url) as room,
        pytest.raises(refusals.RoomUnreachable, match="did not end"),
    ):
        room.state()


def test_an_answer_that_never_begins_is_given_up(monkeypatch):
    monkeypatch.setattr("vesica.exchange.ANSWER_SECONDS_MAX", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with vesica.Room(address) as room, pytest.raises(refusals.RoomUnreachable, match="in time"):
            room.state()


def test_nothing_listening_is_unreachable():
    with fake_room({}) as (url, _):
        pass
    with vesica.Room(url) as room, pytest.raises(refusals.RoomUnreachable):
        room.state()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "room",
        "127.0.0.1:8443",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1@evil.example.org",
        "http://user:secret@127.0.0.1",
        "http://127.0.0.1\\@evil.example.org",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
        "http://127.0.0.1/?a",
        "http://127.0.0.1/#a",
        "http://127.0.0.1/%2e%2e/",
        "http://127.0.0.1/../x y",
        "http://[::1",
        "http://a\nb",
    ],
)
def test_an_address_that_two_parsers_could_read_differently_is_refused(url):
    with pytest.raises(refusals.AddressRefused):
        parse_address(url)


PLAIN = ["http://192.0.2.1:8443", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"]


@pytest.mark.parametrize("url", PLAIN)
@pytest.mark.parametrize("policy", [None, POLICY])
def test_submit_over_plain_http_is_refused_even_on_this_machine_before_the_file_is_opened(url, policy, tmp_path):
    with (
        vesica.Room(url, TOKEN, policy=policy) as room,
        pytest.raises(refusals.AddressRefused, match="the file is never sent over plain http"),
    ):
        room.submit(tmp_path / "is-not-there.csv")


@pytest.mark.parametrize("url", PLAIN)
@pytest.mark.parametrize("policy", [None, POLICY])
def test_a_token_is_not_sent_over_plain_http_even_on_this_machine(url, policy):
    with vesica.Room(url, TOKEN, policy=policy) as room, pytest.raises(refusals.AddressRefused, match="token"):
        room.budgets()


def test_a_proxy_of_the_environment_does_not_see_a_loopback_room(monkeypatch):
    with fake_room(replies(), plain=True) as (url, _), fake_room({}, plain=True) as (proxy, seen):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("no_proxy", "")
        with vesica.Room(url, TOKEN) as room:
            assert room.state().state == "collecting"
        assert seen == []


@pytest.mark.parametrize("token", ["", "two words", "line\r\nX-Evil: 1", "é", "x" * 10_000])
def test_a_token_that_does_not_fit_a_header_is_refused_without_being_quoted(token):
    with pytest.raises(errors.Unauthenticated) as caught:
        vesica.Room("http://127.0.0.1:1", token)
    assert not token or token not in str(caught.value)
