"""The lock of Debian packages: what it does not name exactly does not get into an image."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vesica_images.debs import LockInvalid, LockMismatch, Package, check, fetch, lock_of, main, parse_lock, write_lock

REPOSITORY = Path(__file__).parents[2]
ARCHIVE = b"an archive"
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
HELLO = Package("hello", "1.0-1", "amd64", SHA256)
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is there on Debian only")


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """An apt-get that downloads what it is told to, and no network."""

    def stub(content):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "payload").write_bytes(content)
        script = folder / "apt-get"
        script.write_text(f'#!/bin/sh\ncase "$*" in *download*) cp {folder}/payload ./hello.deb;; esac\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return stub


def test_an_archive_with_other_bytes_is_refused(tmp_path):
    archive = tmp_path / "x.deb"
    archive.write_bytes(ARCHIVE)
    check(archive, HELLO)
    archive.write_bytes(ARCHIVE + b"!")
    with pytest.raises(LockMismatch, match=r"hello:amd64=1\.0-1: the lock says"):
        check(archive, HELLO)


def test_an_archive_that_drifted_is_refused_and_not_kept(tmp_path, apt):
    apt(b"the same version, built anew")
    with pytest.raises(LockMismatch, match="make image-lock"):
        fetch([HELLO], tmp_path / "repository", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.deb"))
    assert not (tmp_path / "repository").exists()


def test_a_poisoned_cache_is_not_believed(tmp_path, apt):
    apt(b"nothing of use either")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{SHA256}.deb").write_bytes(b"put there by somebody")
    with pytest.raises(LockMismatch):
        fetch([HELLO], tmp_path / "repository", tmp_path / "cache")


@needs_dpkg
def test_the_repository_has_the_locked_packages_and_no_others(tmp_path, apt):
    archive = built(tmp_path)
    apt(archive.read_bytes())
    locked = lock_of(archive.parent)
    fetch(locked, tmp_path / "repository", tmp_path / "cache")
    index = (tmp_path / "repository" / "Packages").read_text()
    assert "Package: hello\nVersion: 1.0-1\nArchitecture: all\n" in index
    assert f"SHA256: {locked[0].sha256}\n" in index
    assert sorted(path.name for path in (tmp_path / "repository").iterdir()) == sorted(
        ["Packages", f"{locked[0].sha256}.deb"]
    )


@needs_dpkg
def test_an_archive_under_another_name_than_the_locks_is_refused(tmp_path, apt):
    archive = built(tmp_path)
    apt(archive.read_bytes())
    (honest,) = lock_of(archive.parent)
    with pytest.raises(LockMismatch, match="says that it is hello"):
        fetch(
            [Package("libc6", honest.version, honest.architecture, honest.sha256)],
            tmp_path / "repository",
            tmp_path / "cache",
        )


def built(folder):
    """A real archive."""
    tree = folder / "tree" / "DEBIAN"
    tree.mkdir(parents=True)
    (tree / "control").write_text(
        "Package: hello\nVersion: 1.0-1\nArchitecture: all\nMaintainer: Nobody <a@b>\nDescription: a test\n"
    )
    (folder / "built").mkdir()
    archive = folder / "built" / "hello.deb"
    command = ["dpkg-deb", "--root-owner-group", "--build", tree.parent, archive]
    subprocess.run(command, check=True, capture_output=True)
    return archive


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but a comment\n",
        "hello 1.0 amd64\n",
        f"hello 1.0 amd64 {SHA256} more\n",
        f"hello 1.0 amd64 {SHA256[:-1]}\n",
        f"hello 1.0 amd64 {SHA256.upper()}\n",
        f"hello 1.0 riscv64 {SHA256}\n",
        f"../hello 1.0 amd64 {SHA256}\n",
        f"--option 1.0 amd64 {SHA256}\n",
        f"hello 1.0 amd64 {SHA256}\nhello 2.0 amd64 {SHA256}\n",
    ],
)
def test_a_lock_that_does_not_say_exactly_what_is_refused(text):
    with pytest.raises(LockInvalid):
        parse_lock(text)


def test_a_lock_reads_as_it_was_written_whatever_the_order():
    packages = (Package("bb", "2:1.0~rc1-1+deb12u1", "all", SHA256), HELLO)
    assert parse_lock(write_lock(packages)) == tuple(sorted(packages))
    assert write_lock(packages) == write_lock(reversed(packages))


def test_the_committed_lock_is_one_and_has_no_package_manager_or_compiler():
    names = {package.name for package in parse_lock((REPOSITORY / "enclave/oci/debian.lock").read_text())}
    assert {"python3", "libc6"} <= names
    assert not names & {"apt", "gcc", "gcc-12", "binutils", "make", "python3-pip", "curl", "wget", "gdb"}


def test_the_command_says_which_lock_does_not_hold(tmp_path, capsys):
    lock = tmp_path / "debian.lock"
    lock.write_text("nonsense\n")
    assert main(["fetch", str(lock), str(tmp_path / "repository"), "--cache", str(tmp_path / "cache")]) == 1
    assert capsys.readouterr().err.startswith(f"{lock}: line 1: ")
