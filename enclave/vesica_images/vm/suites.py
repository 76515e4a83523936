"""Packages of other suites than the machine's own: a newer kernel, and the parts of a unified kernel image.

They are downloaded and unpacked, never installed: the machine's own apt is not touched.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vesica_images.debs import LockMismatch, Package, check

BACKPORTS: Final = "bookworm-backports"
SUITES: Final = (BACKPORTS, "trixie")
_SOURCES: Final = Path("/etc/apt/sources.list")
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"


def fill(packages: Sequence[Package], cache: Path) -> None:
    """Puts what the cache lacks of these archives into it, by the name of their SHA-256.

    Raises LockMismatch for those that the archive has no more; CalledProcessError where it cannot be reached.
    """
    cache.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if not (cache / f"{package.sha256}.deb").exists()]
    if missing:
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _download(missing, Path(folder))
            for package in missing:
                name = f"{package.name}_{package.version.replace(':', '%3a')}_{package.architecture}.deb"
                archive = Path(folder) / name
                if not archive.exists():
                    raise LockMismatch(f'the archive has no {package.label} any more; see README.md, "A new kernel"')
                check(archive, package)
                archive.rename(cache / f"{package.sha256}.deb")


def unpack(packages: Sequence[Package], cache: Path, target: Path) -> None:
    """Lays the content of these archives into a folder. Raises LockMismatch if one is not what the lock names."""
    for package in packages:
        archive = cache / f"{package.sha256}.deb"
        check(archive, package)
        subprocess.run(["dpkg-deb", "--extract", str(archive), str(target)], check=True)  # noqa: S603, S607


def _download(packages: Sequence[Package], folder: Path) -> None:
    """As ``apt-get download``, with lists of its own."""
    folder.chmod(0o755)  # apt's own user reads it
    sources, lists, archives = folder / "sources.list", folder / "lists", folder / "archives"
    lists.mkdir()
    archives.mkdir()
    sources.write_text("".join(map(_line, SUITES)))
    settings = (
        f"Dir::Etc::SourceList={sources}", "Dir::Etc::SourceParts=-", f"Dir::State::Lists={lists}",
        f"Dir::Cache={archives}", "APT::Sandbox::User=root",
    )  # fmt: skip
    apt = ["apt-get", "-qq", *(word for setting in settings for word in ("-o", setting))]
    subprocess.run([*apt, "update"], check=True)  # noqa: S603
    # Not checked: an archive that is gone is told by name, by who looks for the files.
    subprocess.run([*apt, "download", *(package.label for package in packages)], cwd=folder, check=False)  # noqa: S603


@contextmanager
def known_to_apt() -> Iterator[tuple[str, ...]]:
    """Options with which apt knows backports beside what it knows anyway. Nothing on the machine is changed by that."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        sources = Path(folder) / "sources.list"
        usual = _SOURCES.read_text(encoding="utf-8") if _SOURCES.exists() else ""
        sources.write_text(f"{usual}\n{_line(BACKPORTS)}", encoding="utf-8")
        yield "-o", f"Dir::Etc::SourceList={sources}"


def _line(suite: str) -> str:
    return f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n"


def mirror() -> str:
    """Where this machine gets Debian from. Raises LockMismatch if it is not known."""
    known = _mirrors()
    if not known:  # a fresh machine knows none before its first update
        subprocess.run(["apt-get", "-qq", "update"], check=True)  # noqa: S607
        known = _mirrors()
    if not known:
        raise LockMismatch("this machine's apt knows no Debian archive: is this Debian 12?")
    return known[0]


def _mirrors() -> list[str]:
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return [line.strip() for line in done.stdout.splitlines() if "security" not in line]
