"""The command line on a party's machine: exit codes, JSON, and nothing that only a server has."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from party.fake_room import (
    AGREEMENT,
    DIGEST,
    POLICY,
    RELEASE,
    ROOM,
    TOKEN,
    Reply,
    asked,
    fake,
    fake_room,
    no_software,
    problem,
    replies,
)
from vesica.cli.exits import EXITS_HELP, Exit, exit_of
from vesica.cli.main import main, make_parser
from vesica.errors import VesicaError
from vesica.refusals import REGISTRY
from vesica_attestation.binding import Binding
from vesica_attestation.evidence import from_json
from vesica_attestation.software import WARNING, InsecureSoftwareAttester

NOTHING = "https://127.0.0.1:1"
COMMANDS = [
    ["demo"],
    ["token"],
    ["agreement"],
    ["agreement", "new"],
    ["agreement", "check"],
    ["serve"],
    ["doctor"],
    ["verify"],
    ["room"],
    ["submit"],
    ["plan"],
    ["release"],
    ["releases"],
    ["budget"],
    ["close"],
    ["journal"],
    ["journal", "limit"],
    ["receipts"],
    ["receipt", "verify"],
    ["policy", "new"],
    ["connect"],
]
# What prints one line until it is stopped, or a file that is not JSON; `agreement` is its two commands.
WITHOUT_JSON = (["agreement"], ["serve"], ["connect"], ["policy", "new"])
PLAN = {
    **{key: RELEASE[key] for key in ("statistic", "parties", "epsilon", "mechanism", "scale", "unit")},
    "cost": [{"name": "alice", "epsilon": "0.5"}, {"name": "bob", "epsilon": "0.5"}],
    "accuracy": [{"alpha": 0.05, "bound": 6}],
}
FLAGS = ["--party", f"alice:1:{'a' * 64}", "--party", f"bob:0.5:{'b' * 64}"]


@pytest.fixture(autouse=True)
def _alice(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alice")
    (folder / "policy.toml").write_bytes(POLICY)
    monkeypatch.setenv("VESICA_TOKEN", TOKEN)
    monkeypatch.setenv("VESICA_POLICY", str(folder / "policy.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def agreement(tmp_path):
    file = tmp_path / "agreement.toml"
    file.write_text(AGREEMENT)
    return file


def python(*code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, *code],
        capture_output=True,
        text=True,
        env=os.environ | paths | environment,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_of_every_command_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"examples:\n  vesica {' '.join(command)}" in text


def test_every_command_is_in_the_list_above():
    parser = make_parser()
    names = parser._subparsers._group_actions[0].choices  # type: ignore[union-attr]  # argparse has no public way
    assert {command[0] for command in COMMANDS} == set(names)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in WITHOUT_JSON], ids=" ".join)
def test_every_command_has_json(command, capsys):
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    assert "--json" in capsys.readouterr().out


def test_no_command_takes_a_token_as_an_argument(capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        assert "--token " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        ([], Exit.USAGE),
        (["dance"], Exit.USAGE),
        (["serve", "x", "--port", "70000"], Exit.USAGE),
        (["room", "nonsense"], Exit.USAGE),
        (["submit", "http://192.0.2.1", "x.csv"], Exit.USAGE),
        (["budget", "http://192.0.2.1"], Exit.USAGE),
        (["agreement", "check", "/is/not/there"], Exit.INPUT),
        (["agreement", "check", "/dev/null"], Exit.INPUT),
        (["agreement", "new", "--name", "x"], Exit.USAGE),
        (["agreement", "new", "--name", "x", "--party", "a:b"], Exit.USAGE),
        (["agreement", "new", "--name", "x", "--party", "a:1:z", "--party", "b:1:y", "--output", "-"], Exit.INPUT),
        (["plan", NOTHING, "--epsilon", "zero"], Exit.INPUT),
        (["room", NOTHING], Exit.UNREACHABLE),
        (["budget", NOTHING, "--token-file", "/is/not/there"], Exit.INPUT),
        (["budget", NOTHING, "--token-file", "/dev/null"], Exit.UNAUTHENTICATED),
        (["close", NOTHING], Exit.USAGE),
        (["release", NOTHING, "--epsilon", "0.1e"], Exit.INPUT),
        (["budget", "http://127.0.0.1:1"], Exit.USAGE),
        (["verify", "http://127.0.0.1:1"], Exit.USAGE),
        (["verify", NOTHING], Exit.UNREACHABLE),
        (["verify", NOTHING, "--policy", "/is/not/there"], Exit.INPUT),
        (["verify", NOTHING, "--policy", "/dev/null"], Exit.INPUT),
        (["verify", NOTHING, "--agreement-digest", "abc"], Exit.USAGE),
        (["submit", NOTHING, "x.csv", "--policy", "/dev/null"], Exit.INPUT),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_exit_codes_tell_the_cause(argv, code, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    try:
        got = main(argv)
    except SystemExit as ended:
        got = ended.code
    assert got == code
    captured = capsys.readouterr()
    assert captured.err.startswith("vesica: ")
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_every_refusal_of_a_room_has_an_exit_code_that_is_no_bug():
    for kind in REGISTRY.values():
        assert exit_of(kind("x")) in set(Exit) - {Exit.OK, Exit.BUG}


def test_without_a_token_a_command_that_needs_one_is_not_authenticated(monkeypatch, capsys):
    monkeypatch.delenv("VESICA_TOKEN")
    with fake_room(replies()) as (url, seen):
        assert main(["budget", url]) == Exit.UNAUTHENTICATED
        assert seen == []
    assert "VESICA_TOKEN" in capsys.readouterr().err


def test_a_token_file_is_read(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("VESICA_TOKEN")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    with fake_room(replies()) as (url, seen):
        assert main(["budget", url, "--token-file", str(file)]) == Exit.OK
        assert seen[-1].authorization == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (problem(409, "room-not-open", "not all have submitted"), Exit.STATE),
        (problem(403, "budget-exceeded", "bob has 0 left", short=[], largest_epsilon=None), Exit.BUDGET),
        (problem(422, "question-invalid", "no"), Exit.INPUT),
        (problem(401, "unauthenticated", "no"), Exit.UNAUTHENTICATED),
        (problem(500, "gremlins", "no"), Exit.UNREACHABLE),
        (Reply(200, b"<html>"), Exit.UNREACHABLE),
    ],
)
def test_what_a_room_refuses_with_decides_the_exit_code_and_json_says_why(reply, code, capsys):
    with fake_room(replies(post_releases=reply)) as (url, _):
        assert main(["release", url, "--epsilon", "0.5", "--json"]) == code
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit"] == code
    assert error["code"]


def test_control_characters_of_a_room_never_reach_the_terminal(capsys):
    reply = problem(409, "room-not-open", "\x1b[2J\x1b]0;owned\x07[bold]not markup[/bold]")
    with fake_room(replies(post_releases=reply)) as (url, _):
        assert main(["release", url, "--epsilon", "0.5"]) == Exit.STATE
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\x07" not in err
    assert "[bold]not markup[/bold]" in err


@pytest.mark.parametrize("command", ["room", "submit", "release", "releases", "budget", "close"])
def test_json_is_one_document_on_stdout(command, tmp_path, capsys):
    file = tmp_path / "ids.csv"
    file.write_bytes(b"id\n1\n2\n")
    more = {"submit": [str(file)], "release": ["--epsilon", "0.5"], "close": ["--yes"]}.get(command, [])
    with fake_room(replies()) as (url, _):
        assert main([command, url, *more, "--json"]) == Exit.OK
    captured = capsys.readouterr()
    assert isinstance(json.loads(captured.out), dict)
    assert captured.err == f"{WARNING}\n"


@pytest.mark.parametrize("command", ["room", "submit", "release", "releases", "budget", "close"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_text_is_printed_whatever_stdout_can_encode(command, encoding, tmp_path, monkeypatch):
    file = tmp_path / "ids.csv"
    file.write_bytes(b"id\n1\n2\n")
    more = {"submit": [str(file)], "release": ["--epsilon", "0.5"], "close": ["--yes"]}.get(command, [])
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with fake_room(replies()) as (url, _):
        assert main([command, url, *more]) == Exit.OK
    text = raw.getvalue().decode(encoding)
    assert text
    assert encoding == "utf-8" or text.isascii()


def test_a_release_is_shown_with_its_interval_and_a_picture(capsys):
    with fake_room(replies()) as (url, _):
        main(["release", url, "--epsilon", "0.5"])
    text = capsys.readouterr().out
    assert "100   95 % interval: 94 to 106 (± 6)" in text
    assert "├" in text


def test_a_negative_draw_is_shown_as_zero_and_says_so(capsys):
    body = ROOM.signed_release({**RELEASE, "value": -4})
    with fake_room(replies(post_releases=Reply(200, body))) as (url, _):
        main(["release", url, "--epsilon", "0.5"])
    text = capsys.readouterr().out
    assert "  0   95 % interval: 0 to 2" in text
    assert "the draw was -4; shown as 0" in text
    assert "cost nothing" in text


def test_agreement_check_prints_digest_and_what_each_budget_affords(agreement, capsys):
    assert main(["agreement", "check", str(agreement), "--json"]) == Exit.OK
    document = json.loads(capsys.readouterr().out)
    assert document["digest"] == DIGEST
    figures = {
        p["name"]: [(a["releases"], a["epsilon"], a["bound"]) for a in p["affords"]] for p in document["parties"]
    }
    # The published figures for discrete Laplace at 95 %: 0.1 is within 30, 0.5 within 6, 1 within 3.
    assert figures["alice"] == [(1, "1", 3), (2, "0.5", 6), (5, "0.2", 15), (10, "0.1", 30), (20, "0.05", 60)]
    assert figures["bob"] == [(1, "0.5", 6), (2, "0.25", 12), (5, "0.1", 30), (10, "0.05", 60), (20, "0.025", 120)]
    assert main(["agreement", "check", str(agreement)]) == Exit.OK
    text = capsys.readouterr().out
    assert DIGEST in text
    assert "± 120" in text


def test_agreement_check_offers_no_release_below_epsilon_min(agreement, capsys):
    agreement.write_text(AGREEMENT + 'epsilon_min = "0.1"\n')
    main(["agreement", "check", str(agreement), "--json"])
    bob = json.loads(capsys.readouterr().out)["parties"][1]
    assert [a["bound"] for a in bob["affords"]] == [6, 12, 30, None, None]


def test_agreement_new_writes_what_check_accepts_and_never_overwrites(tmp_path, capsys):
    file = tmp_path / "new.toml"
    argv = ["agreement", "new", "--name", "x", *FLAGS, "--column", 'a "b" ü', "--column", "c", "--normalise"]
    argv += [
        'a "b" ü=trim,casefold',
        "--duplicates",
        "drop",
        "--statistic",
        "union_cardinality",
        "--epsilon-min",
        "0.01",
    ]
    argv += ["--epsilon-default", "0.25", "--closes-at", "2027-01-31T17:00:00Z", "--output", str(file), "--json"]
    assert main(argv) == Exit.OK
    written = json.loads(capsys.readouterr().out)
    assert main(["agreement", "check", str(file), "--json"]) == Exit.OK
    checked = json.loads(capsys.readouterr().out)
    assert written["digest"] == checked["digest"]
    assert checked["agreement"]["keys"] == {
        "columns": [{"name": 'a "b" ü', "normalise": ["trim", "casefold"]}, {"name": "c", "normalise": []}],
        "duplicates": "drop",
    }
    assert checked["agreement"]["closes_at"] == "2027-01-31T17:00:00Z"
    before = file.read_bytes()
    assert main(argv) == Exit.INPUT
    assert file.read_bytes() == before
    assert sum(line.startswith("#") for line in before.decode().splitlines()) > 8


@pytest.mark.parametrize(
    "argv",
    [
        ["--name", 'x"\nepsilon_min = "9'],
        ["--name", "x", "--closes-at", "2027-01-31T17:00:00Z\n[extra]"],
        ["--name", "x", "--closes-at", "tomorrow"],
        ["--name", "x", "--epsilon-min", "2"],
        ["--name", "x", "--normalise", "magic"],
    ],
)
def test_agreement_new_writes_nothing_that_cannot_be_carried_out(argv, tmp_path):
    file = tmp_path / "new.toml"
    assert main(["agreement", "new", *argv, *FLAGS, "--output", str(file)]) == Exit.INPUT
    assert not file.exists()


def test_agreement_new_asks_on_a_terminal_until_answers_are_right(tmp_path, monkeypatch, capsys):
    answers = [
        "",
        "x",
        "alice",
        "0",
        "1.0",
        "zz",
        "a" * 64,
        "alice",
        "bob",
        "0.5",
        "b" * 64,
        "",
        "email",
        "magic",
        "trim",
        "9",
        "0.25",
    ]
    stdin = io.StringIO("\n".join(answers) + "\n")
    stdin.isatty = lambda: True  # type: ignore[method-assign]  # a terminal, for this test
    monkeypatch.setattr(sys, "stdin", stdin)
    file = tmp_path / "new.toml"
    assert main(["agreement", "new", "--output", str(file)]) == Exit.OK
    assert capsys.readouterr().err.count("that does not work") == 6
    main(["agreement", "check", str(file), "--json"])
    agreement = json.loads(capsys.readouterr().out)["agreement"]
    assert [party["name"] for party in agreement["parties"]] == ["alice", "bob"]
    assert agreement["keys"]["columns"] == [{"name": "email", "normalise": ["trim"]}]
    assert agreement["releases"]["epsilon_default"] == "0.25"


def test_a_token_goes_into_a_file_that_only_its_owner_can_read_and_not_to_stdout(tmp_path, capsys):
    file = tmp_path / "token"
    assert main(["token", "--output", str(file)]) == Exit.OK
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().strip() not in capsys.readouterr().out
    before = file.read_bytes()
    assert main(["token", "--output", str(file)]) == Exit.INPUT
    assert file.read_bytes() == before


def test_submit_with_another_agreement_than_the_rooms_sends_nothing(agreement, tmp_path):
    agreement.write_text(AGREEMENT.replace("0.5", "0.4"))
    with fake_room(replies()) as (url, seen):
        assert main(["submit", url, str(tmp_path / "x.csv"), "--agreement", str(agreement)]) == Exit.INPUT
        assert asked(seen) == ["/agreement"]


def test_a_bug_is_one_line_without_what_the_exception_says(monkeypatch, capsys):
    def broken(*_: object) -> None:
        raise ValueError("a cell: 5551234")

    monkeypatch.setattr("vesica.client.Room.state", broken)
    monkeypatch.delenv("VESICA_POLICY")
    assert main(["room", NOTHING]) == Exit.BUG
    err = capsys.readouterr().err
    assert "ValueError" in err
    assert "5551234" not in err


def test_ctrl_c_ends_without_a_traceback(monkeypatch, capsys):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vesica.client.Room.verify", interrupted)
    assert main(["budget", NOTHING]) == Exit.INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["token", "room URL", "releases URL"])
def test_a_reader_that_goes_away_is_no_error_message(command):
    with fake_room(replies()) as (url, _):
        argv = command.replace("URL", url).split()
        script = (
            "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1); "
            f"from vesica.cli.main import main; sys.exit(main({argv!r}))"
        )
        done = python("-W", "error", "-c", script)
    assert (done.returncode, done.stderr) == (Exit.BROKEN_PIPE, "")


def test_importing_vesica_and_help_load_no_http_client_no_pandas_and_no_server():
    script = "import sys, vesica.cli.main; vesica.cli.main.make_parser(); print(*sys.modules)"
    loaded = set(python("-c", script).stdout.split())
    assert not loaded & {"httpx", "rich", "pandas", "numpy", "opendp", "fastapi", "uvicorn", "pydantic"}


def test_a_whole_visit_loads_nothing_that_only_a_server_has():
    with fake_room(replies()) as (url, _):
        script = (
            "import sys; from vesica.cli.main import main\n"
            f"assert main(['room', {url!r}]) == 0 and main(['release', {url!r}, '--epsilon', '0.5']) == 0\n"
            "print('LOADED', *sys.modules)"
        )
        done = python("-c", script)
    loaded = {name.partition(".")[0] for name in done.stdout.partition("LOADED")[2].split()}
    assert "httpx" in loaded
    assert not loaded & {
        "pandas",
        "numpy",
        "opendp",
        "fastapi",
        "uvicorn",
        "pydantic",
        "vesica_routes",
        "vesica_enclave",
    }


def test_doctor_needs_nothing_that_only_a_server_has():
    script = (
        "import sys; from vesica.cli.main import main\n"
        "code = main(['doctor', '--json'])\n"
        "print('LOADED', code, *sys.modules)"
    )
    document, _, rest = python("-c", script).stdout.partition("LOADED")
    code, *loaded = rest.split()
    assert int(code) == (Exit.OK if json.loads(document)["hardened"] else Exit.HARDENING)
    assert not {name.partition(".")[0] for name in loaded} & {"numpy", "opendp", "fastapi", "uvicorn", "pydantic"}


def test_serve_without_the_servers_packages_says_what_to_install(agreement):
    script = (
        "import sys; sys.modules['uvicorn'] = None; from vesica.cli.main import main; "
        f"sys.exit(main(['serve', {str(agreement)!r}]))"
    )
    done = python("-c", script)
    assert done.returncode == Exit.INPUT
    assert "pip install 'vesica[server]'" in done.stderr


def test_the_demo_pair_is_shipped_with_its_source_and_licence():
    folder = Path(__file__).parents[2] / "src/vesica/demo_data"
    assert "CC0" in (folder / "README.md").read_text()
    assert {path.name for path in folder.iterdir()} == {"README.md", "party_a.csv", "party_b.csv"}


def test_a_kind_of_its_own_for_each_exit_code_is_documented():
    text = make_parser().format_help()
    for code in range(11):
        assert f"\n  {code:<2} " in text
    assert issubclass(VesicaError, Exception)


def test_the_documented_exit_codes_are_those_of_help():
    page = (Path(__file__).parents[2] / "docs/party.md").read_text()
    for line in EXITS_HELP.splitlines()[1:]:
        code, cause = line.split(maxsplit=1)
        assert f"| {code} | {cause} |" in page


@pytest.mark.parametrize("command", ["submit", "release", "releases", "budget", "close"])
def test_without_a_policy_nothing_secret_is_sent_and_the_hint_names_it(command, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("VESICA_POLICY")
    more = {"submit": [str(tmp_path / "x.csv")], "release": ["--epsilon", "0.5"], "close": ["--yes"]}.get(command, [])
    with fake(replies()) as room:
        assert main([command, room.url, *more]) == Exit.USAGE
        assert room.received == b""
    err = capsys.readouterr().err
    assert "no" in err
    assert "VESICA_POLICY" in err


@pytest.mark.parametrize("command", ["verify", "room", "submit", "plan", "release", "releases", "budget", "close"])
@pytest.mark.parametrize("how", [[], ["--json"]], ids=["text", "json"])
def test_software_evidence_is_called_insecure_by_every_command_that_met_it(command, how, tmp_path, capsys):
    (tmp_path / "x.csv").write_bytes(b"id\n1\n2\n")
    more = {"submit": [str(tmp_path / "x.csv")], "release": ["--epsilon", "0.5"], "close": ["--yes"]}.get(command, [])
    with fake(replies(post_plan=Reply(200, PLAN))) as room:
        assert main([command, room.url, *more, *how]) == Exit.OK
    captured = capsys.readouterr()
    assert WARNING in (captured.err if how else captured.out)


def test_the_insecure_line_is_red_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    with fake(replies()) as room:
        main(["budget", room.url])
        main(["budget", room.url, "--json"])
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert f"\x1b[1;37;41m{WARNING}" in text


@pytest.mark.parametrize("command", ["verify", "submit", "release", "budget"])
def test_refused_evidence_ends_with_its_own_exit_code_and_the_check(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("vesica.verified.parse_policy", lambda _: no_software())
    more = {"submit": [str(tmp_path / "x.csv")], "release": ["--epsilon", "0.5"]}.get(command, [])
    with fake(replies()) as room:
        assert main([command, room.url, *more, "--json"]) == Exit.ATTESTATION
        assert not any(one.method == "POST" or one.authorization for one in room.seen)
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    assert (error["code"], error["check"], error["exit"]) == ("attestation-refused", "policy", 8)
    assert captured.err.startswith(WARNING)


def test_verify_says_what_was_proved_and_keeps_it(agreement, tmp_path, capsys):
    folder = tmp_path / "kept"
    with fake(replies()) as room:
        assert main(["verify", room.url, "--agreement", str(agreement), "--output", str(folder), "--json"]) == Exit.OK
        document = json.loads(capsys.readouterr().out)
        assert main(["verify", room.url, "--agreement-digest", DIGEST.upper()]) == Exit.OK
        text = capsys.readouterr().out
        # An earlier proof is not replaced by a later one.
        assert main(["verify", room.url, "--output", str(folder)]) == Exit.INPUT
        assert main(["verify", room.url, "--agreement-digest", "c" * 64]) == Exit.INPUT
        assert not any(one.authorization for one in room.seen)
    assert (document["insecure"], document["agreement"]["as_expected"]) == (True, True)
    evidence, binding = (json.loads((folder / name).read_text()) for name in ("evidence.json", "binding.json"))
    assert binding == document["binding"]
    report_data = Binding(**{name: bytes.fromhex(value) for name, value in binding.items()}).report_data()
    assert from_json(evidence) == InsecureSoftwareAttester().attest(report_data)
    assert json.loads((folder / "result.json").read_text()) == document["result"]
    assert ROOM.identity.hpke_public_key.hex() in text.replace("\n", "").replace(" ", "") or "HPKE key" in text
    assert all(line in text for line in document["curl"])
    assert "as in your copy" in text


def test_verify_without_an_agreement_says_to_compare_it(capsys):
    with fake(replies()) as room:
        main(["verify", room.url])
        assert "compare it" in capsys.readouterr().out
        main(["verify", room.url, "--json"])
        assert json.loads(capsys.readouterr().out)["agreement"]["as_expected"] is None


def test_what_was_not_verified_says_so(monkeypatch, capsys):
    monkeypatch.delenv("VESICA_POLICY")
    with fake(replies()) as room:
        main(["room", room.url])
        assert "NOT VERIFIED" in capsys.readouterr().out
        main(["room", room.url, "--json"])
        assert json.loads(capsys.readouterr().out)["verified"] is False
