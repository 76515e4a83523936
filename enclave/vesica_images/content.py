"""What goes into the images: which files, one digest over them, and the record of the last time that all checks held.

python3 -m vesica_images.content context    the files that the container's builder is given, with NUL between them
python3 -m vesica_images.content state      whether what goes in is what the record says; exit status 0 if it is, else 1
"""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]
# What the Dockerfile copies.
CONTEXT: Final = (
    "Dockerfile",
    ".dockerignore",
    "pyproject.toml",
    "LICENSE",
    "requirements/image.txt",
    "requirements/build.txt",
    "requirements/server.txt",
    "src",
    "attestation",
    "routes",
    "enclave/vesica_enclave",
    "enclave/oci/finish.sh",
)
# And all that decides what is built of it, and how that is checked.
CONTENT: Final = (*CONTEXT, "enclave")
RECORD: Final = "enclave/last-green.json"
_HEX: Final = re.compile(r"[0-9a-f]{64}")


class RecordInvalid(Exception):
    """The committed record cannot be read."""


@dataclass(frozen=True)
class Record:
    """content: the digest of what went in. results: what came out, by name: digests that anybody can compare."""

    content: str
    results: Mapping[str, str]


def files(repository: Path, parts: Iterable[str]) -> tuple[str, ...]:
    """The files below these parts, sorted: those that git tracks or, outside of a repository of git, those there are.

    Explanations (.md), compiled Python and the record itself are left out: they decide nothing.
    """
    wanted = tuple(parts)
    # `safe.directory`: the checkout may be another user's, as in a container.
    command = ["git", "-c", "safe.directory=*", "-C", str(repository), "ls-files", "-z", "--", *wanted]
    names = _walk(repository, wanted)
    if (repository / ".git").exists():
        done = subprocess.run(command, capture_output=True, check=True)  # noqa: S603
        names = [name for name in done.stdout.decode().split("\0") if name and (repository / name).is_file()]
    return tuple(sorted({name for name in names if not _left_out(name)}))


def _walk(repository: Path, parts: Iterable[str]) -> list[str]:
    found = []
    for part in parts:
        path = repository / part
        paths = [path] if path.is_file() else path.rglob("*")
        found += [each.relative_to(repository).as_posix() for each in paths if each.is_file()]
    return found


def _left_out(name: str) -> bool:
    return name == RECORD or name.endswith((".md", ".pyc"))


def digest(repository: Path, names: Iterable[str]) -> str:
    """SHA-256, hex, over names and contents: the same for two trees only if they have the same files and bytes."""
    total = hashlib.sha256()
    for name in sorted(names):
        with (repository / name).open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        # A name holds no NUL, and the inner digest has a fixed length: no two lists read the same.
        total.update(f"{name}\0{inner}\n".encode())
    return total.hexdigest()


def content_digest(repository: Path = REPOSITORY) -> str:
    """The digest of all that decides what the images are."""
    return digest(repository, files(repository, CONTENT))


def read_record(path: Path) -> Record | None:
    """The record; None where there is none yet. Raises RecordInvalid."""
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise RecordInvalid(f"{path} is no JSON; make enclave-test writes it anew once it is removed") from None
    match document:
        case {"content": str(content), "results": dict(results)} if _HEX.fullmatch(content) and results:
            if all(isinstance(value, str) for value in results.values()):
                return Record(content, results)
    raise RecordInvalid(f"{path} is no record of a run; make enclave-test writes it anew once it is removed")


def write_record(path: Path, record: Record) -> None:
    """Writes the record, the same bytes for the same record."""
    document = {"content": record.content, "results": dict(record.results)}
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def differences(record: Record | None, content: str, results: Mapping[str, str]) -> tuple[str, ...]:
    """Results that the same content gave another time, on another machine perhaps: of each, what it was and what it is.

    Empty if the content is another one, of which nothing is known.
    """
    if record is None or record.content != content:
        return ()
    names = sorted(record.results.keys() & results.keys())
    return tuple(
        f"{name}: {record.results[name]} was recorded, {results[name]} came out now"
        for name in names
        if record.results[name] != results[name]
    )


def state(record: Record | None, content: str) -> tuple[bool, str]:
    """Whether the last green run was about this very content, and that in words."""
    if record is None:
        return False, "no green run is recorded"
    if record.content != content:
        return False, f"what goes into the images has changed ({content[:12]}…, last green {record.content[:12]}…)"
    return True, f"what goes into the images is what the last green run was about ({content[:12]}…)"


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    match list(arguments):
        case ["context"]:
            sys.stdout.write("".join(f"{name}\0" for name in files(REPOSITORY, CONTEXT)))
            return 0
        case ["state"]:
            try:
                same, told = state(read_record(REPOSITORY / RECORD), content_digest())
            except RecordInvalid as error:
                same, told = False, str(error)
            sys.stdout.write(f"{told}\n")
            return 0 if same else 1
        case _:
            sys.stderr.write("usage: python3 -m vesica_images.content context|state\n")
            return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
