"""What goes into the images, and the record of the last green run."""

import json
import subprocess
from pathlib import Path

import pytest

from vesica_images import content
from vesica_images.content import Record, RecordInvalid

REPOSITORY = Path(__file__).parents[2]
A, B = "a" * 64, "b" * 64


@pytest.fixture
def tree(tmp_path):
    for name in ("Dockerfile", "src/one.py", "src/deep/two.py", "enclave/oci/README.md", "docs/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def of(tree):
    return content.digest(tree, content.files(tree, ("Dockerfile", "src", "enclave")))


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename", "swap"])
def test_whatever_changes_in_what_goes_in_changes_the_digest(tree, change):
    before = of(tree)
    one, two = tree / "src/one.py", tree / "src/deep/two.py"
    match change:
        case "edit":
            one.write_text("another")
        case "add":
            (tree / "src/three.py").write_text("")
        case "remove":
            one.unlink()
        case "rename":
            one.rename(tree / "src/uno.py")
        case "swap":
            first, second = one.read_text(), two.read_text()
            one.write_text(second)
            two.write_text(first)
    assert of(tree) != before


def test_what_goes_nowhere_does_not_change_the_digest(tree):
    before = of(tree)
    (tree / "docs/x.txt").write_text("another")
    (tree / "enclave/oci/README.md").write_text("another")
    (tree / content.RECORD).write_text("{}")
    (tree / "src/one.pyc").write_bytes(b"")
    (tree / "src/one.py").chmod(0o600)
    assert of(tree) == before


def test_in_a_repository_only_tracked_files_count(tree):
    git = ["git", "-C", str(tree)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    before = of(tree)
    (tree / "src/left_behind.py").write_text("")
    assert "src/left_behind.py" not in content.files(tree, ("src",))
    assert of(tree) == before
    subprocess.run([*git, "add", "src/left_behind.py"], check=True)
    assert of(tree) != before


def test_the_dockerfile_copies_nothing_that_its_builder_is_not_given():
    given = set(content.files(REPOSITORY, content.CONTEXT))
    copied = [
        word
        for line in (REPOSITORY / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
        if word != "wheels*"  # downloaded, not tracked
    ]
    assert copied
    for word in copied:
        assert word in given or any(name.startswith(f"{word}/") for name in given), word


def test_the_same_content_is_not_run_again_and_another_is():
    record = Record(A, {"oci_manifest": "sha256:1"})
    assert content.state(record, A)[0] is True
    assert content.state(record, B)[0] is False
    assert content.state(None, A)[0] is False


def test_the_same_content_with_another_result_is_told():
    record = Record(A, {"oci_manifest": "sha256:1", "roothash": "2"})
    assert content.differences(record, A, {"oci_manifest": "sha256:1", "roothash": "2"}) == ()
    (told,) = content.differences(record, A, {"oci_manifest": "sha256:9", "roothash": "2"})
    assert told == "oci_manifest: sha256:1 was recorded, sha256:9 came out now"
    assert content.differences(record, B, {"oci_manifest": "sha256:9", "roothash": "2"}) == ()
    assert content.differences(None, A, {"oci_manifest": "sha256:9"}) == ()


def test_a_record_reads_as_it_was_written(tmp_path):
    path = tmp_path / "record.json"
    assert content.read_record(path) is None
    record = Record(A, {"oci_manifest": "sha256:1"})
    content.write_record(path, record)
    assert content.read_record(path) == record


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"content": A}),
        json.dumps({"content": A, "results": {}}),
        json.dumps({"content": A[:-1], "results": {"x": "y"}}),
        json.dumps({"content": A, "results": {"x": 1}}),
    ],
)
def test_a_record_that_says_nothing_is_refused(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RecordInvalid):
        content.read_record(path)
