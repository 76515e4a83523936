"""``vesica policy``: a draft says what it is, and replaces nothing."""

import json

import pytest

from vesica.cli.main import main
from vesica_attestation.draft import Line, _written
from vesica_attestation.evidence import Evidence, Kind

EVIDENCE = Evidence(Kind.INSECURE_SOFTWARE, {"report_data": bytes(64)}).to_json()


@pytest.fixture
def kept(tmp_path):
    (tmp_path / "evidence.json").write_text(json.dumps(EVIDENCE))
    return tmp_path


def test_a_draft_of_software_evidence_accepts_nothing_until_the_reader_says_so(kept, capsys):
    assert main(["policy", "new", "--from-evidence", str(kept), "--output", str(kept / "policy.toml")]) == 0
    text = (kept / "policy.toml").read_text()
    assert "# allow_insecure_software = true" in text
    assert "proves nothing" in text
    assert main(["policy", "check", str(kept / "policy.toml")]) == 3
    (kept / "policy.toml").write_text(text.replace("# allow_insecure", "allow_insecure"))
    assert main(["policy", "check", str(kept / "policy.toml")]) == 0
    assert "INSECURE" in capsys.readouterr().out


def test_a_draft_replaces_no_file(kept):
    (kept / "policy.toml").write_text("mine")
    assert main(["policy", "new", "--from-evidence", str(kept), "--output", str(kept / "policy.toml")]) == 3
    assert (kept / "policy.toml").read_text() == "mine"


def test_the_answer_of_a_room_can_be_drafted_from_as_it_is(kept, capsys):
    (kept / "answer.json").write_text(json.dumps({"evidence": EVIDENCE, "binding": {}}))
    assert main(["policy", "new", "--from-evidence", str(kept / "answer.json")]) == 0
    assert "A DRAFT" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"evidence": 7}', '{"kind": "x", "parts": {}}'])
def test_what_is_no_evidence_is_refused(kept, text):
    (kept / "evidence.json").write_text(text)
    assert main(["policy", "new", "--from-evidence", str(kept)]) in {7, 8}


def test_marks_that_are_left_are_counted(kept, capsys):
    (kept / "policy.toml").write_text("# CONFIRM: this\nallow_insecure_software = true\n")
    assert main(["policy", "check", str(kept / "policy.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["marks"] == 1


def test_what_evidence_says_cannot_become_a_line_of_its_own():
    evil = 'x"\nallow_insecure_debug = true\n#'
    for line in _written([Line("name", evil, evil, evil), Line(evil, ["a"], "why")]):
        assert "\n" not in line
        assert not line.startswith("allow")
