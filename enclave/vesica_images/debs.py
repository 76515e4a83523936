"""The Debian packages that go into an image: a lock of exact archives, and a local repository of nothing else.

An archive of packages drifts: what is there today is replaced tomorrow. So the lock names every package, its version
and the SHA-256 of its archive; whatever differs is refused before a byte of it runs.

    python3 -m vesica_images.debs fetch debian.lock REPOSITORY --cache DIRECTORY
    python3 -m vesica_images.debs lock debian.lock --from DIRECTORY_OF_DEBS
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HEADER: Final = """\
# The Debian packages of an image: name, version, architecture, SHA-256 of the archive. Written by `make image-lock`.
"""
# Names a sources.list to use in place of this machine's.
SOURCES: Final = "VESICA_APT_SOURCES"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION: Final = re.compile(r"[0-9][A-Za-z0-9.+:~-]*")
_ARCHITECTURE: Final = re.compile(r"all|amd64")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = 4


class LockInvalid(Exception):
    """A lock file that cannot be read, or that names no package."""


class LockMismatch(Exception):
    """An archive that is not the one that the lock names, or that cannot be had any more."""


@dataclass(frozen=True, order=True)
class Package:
    """One archive: exactly these bytes."""

    name: str
    version: str
    architecture: str
    sha256: str

    @property
    def label(self) -> str:
        """As apt takes it: ``name:architecture=version``."""
        architecture = "" if self.architecture == "all" else f":{self.architecture}"
        return f"{self.name}{architecture}={self.version}"


def parse_lock(text: str) -> tuple[Package, ...]:
    """The packages that a lock names, in order. Raises LockInvalid; a lock without packages is refused, too."""
    packages: dict[str, Package] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split()
        if len(fields) != _FIELDS or not all(
            pattern.fullmatch(field)
            for pattern, field in zip((_NAME, _VERSION, _ARCHITECTURE, _SHA256), fields, strict=True)
        ):
            raise LockInvalid(f"line {number}: a line is name, version, architecture (all or amd64), SHA-256")
        package = Package(*fields)
        if package.name in packages:
            raise LockInvalid(f"line {number}: {package.name} is named twice")
        packages[package.name] = package
    if not packages:
        raise LockInvalid("it names no package")
    return tuple(sorted(packages.values()))


def write_lock(packages: Iterable[Package]) -> str:
    """The text of a lock, the same for the same packages."""
    return HEADER + "".join(f"{p.name} {p.version} {p.architecture} {p.sha256}\n" for p in sorted(packages))


def check(archive: Path, package: Package) -> None:
    """Raises LockMismatch unless the archive is, byte for byte, the one that the lock names."""
    got = _digest(archive)
    if got != package.sha256:
        raise LockMismatch(
            f"{package.label}: the lock says SHA-256 {package.sha256}, the archive has {got}; if the change is meant, "
            "refresh the lock (make image-lock) and say so"
        )


def fetch(packages: Sequence[Package], repository: Path, cache: Path) -> None:
    """Fills a directory with exactly these packages and an index of them, from the cache or from this machine's apt.

    Raises LockMismatch. The cache is named by SHA-256 and checked each time: it saves time and never changes a result.
    """
    cache.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if not _cached(cache, package)]
    if missing:
        _download(missing, cache)
    if repository.exists():
        shutil.rmtree(repository)
    repository.mkdir(parents=True)
    for package in packages:
        target = repository / f"{package.sha256}.deb"
        shutil.copyfile(cache / target.name, target)
        check(target, package)
    (repository / "Packages").write_text("\n".join(_stanza(repository, package) for package in packages))


def lock_of(directory: Path) -> tuple[Package, ...]:
    """The lock of the archives in a directory. Raises LockInvalid where there are none."""
    packages = []
    for archive in sorted(directory.glob("*.deb")):
        shown = _run("dpkg-deb", "--show", "--showformat=${Package} ${Version} ${Architecture}", str(archive))
        packages.append(f"{shown} {_digest(archive)}")
    return parse_lock("\n".join(packages))


def _cached(cache: Path, package: Package) -> bool:
    archive = cache / f"{package.sha256}.deb"
    return archive.exists() and _digest(archive) == package.sha256


def _download(packages: Sequence[Package], cache: Path) -> None:
    """Downloads what this machine's sources still have under these very versions. apt's own lists stay as they are."""
    with tempfile.TemporaryDirectory(dir=cache) as name:
        directory = Path(name)
        (directory / "lists/partial").mkdir(parents=True)
        (directory / "got").mkdir()
        apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", f"Dir::State::lists={directory / 'lists'}"]
        if sources := os.environ.get(SOURCES):
            apt += ["-o", f"Dir::Etc::SourceList={Path(sources).resolve()}", "-o", "Dir::Etc::SourceParts=/dev/null"]
        subprocess.run([*apt, "update"], check=False)  # noqa: S603
        subprocess.run([*apt, "download", *(p.label for p in packages)], cwd=directory / "got", check=False)  # noqa: S603
        by_digest = {_digest(archive): archive for archive in (directory / "got").glob("*.deb")}
        for package in packages:
            if package.sha256 in by_digest:
                by_digest[package.sha256].replace(cache / f"{package.sha256}.deb")
        lost = [package.label for package in packages if package.sha256 not in by_digest]
        if lost:
            raise LockMismatch(
                f"apt does not have these very archives: {', '.join(lost)}. Are its sources those of Debian bookworm? "
                f"(If this machine runs something else: {SOURCES}=FILE.) If the archive has moved on: make image-lock"
            )


def _stanza(repository: Path, package: Package) -> str:
    archive = repository / f"{package.sha256}.deb"
    control = _run("dpkg-deb", "--field", str(archive))
    told = _run("dpkg-deb", "--show", "--showformat=${Package} ${Version} ${Architecture}", str(archive))
    if told != f"{package.name} {package.version} {package.architecture}":
        raise LockMismatch(f"{package.label}: the archive with this SHA-256 says that it is {told}")
    size = archive.stat().st_size
    return f"{control}\nFilename: ./{archive.name}\nSize: {size}\nSHA256: {package.sha256}\n"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(*command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)  # noqa: S603
    return done.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 and a line on stderr where the lock does not hold."""
    parser = argparse.ArgumentParser(prog="vesica_images.debs", description="Debian packages by a lock.")
    commands = parser.add_subparsers(dest="command", required=True)
    fetching = commands.add_parser("fetch", help="a local repository of exactly the locked packages")
    fetching.add_argument("lock", type=Path)
    fetching.add_argument("repository", type=Path)
    fetching.add_argument("--cache", type=Path, required=True, help="where archives are kept, by SHA-256")
    locking = commands.add_parser("lock", help="write the lock of the archives in a directory")
    locking.add_argument("lock", type=Path)
    locking.add_argument("--from", dest="directory", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "fetch":
            fetch(parse_lock(chosen.lock.read_text()), chosen.repository, chosen.cache)
        else:
            chosen.lock.write_text(write_lock(lock_of(chosen.directory)))
    except (LockInvalid, LockMismatch) as error:
        sys.stderr.write(f"{chosen.lock}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
