"""Where steps find and put things, and how they run programs."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[3]
_TAIL_LINES: Final = 30
_COMMAND_SECONDS_MAX: Final = 1500


class CheckFailed(Exception):
    """Something that must hold did not. Its text is for whoever has to find out why."""


@dataclass(frozen=True)
class Site:
    """root: the root file system of the image, a folder. work: scratch. cache: of downloads. log: of this step."""

    root: Path
    work: Path
    cache: Path
    log: Path

    @property
    def oci(self) -> Path:
        """The folder of the first build of the container image."""
        return self.work / "oci"

    def run(
        self,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
        umask: int = -1,
        given: str | None = None,
        expected: Sequence[int] = (0,),
        folder: Path | None = None,
    ) -> str:
        """What a program says on stdout; everything goes to the log. Raises CheckFailed for an unexpected exit status.

        environment: in addition to this process's. given: its stdin.
        """
        words = [str(word) for word in command]
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(words)}\n")
            log.flush()
            done = subprocess.run(  # noqa: S603
                words,
                env={**os.environ, "VESICA_CACHE": str(self.cache), **(environment or {})},
                umask=umask,
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                text=True,
                errors="replace",
                check=False,
                timeout=_COMMAND_SECONDS_MAX,
            )
            log.write(done.stdout)
        if done.returncode not in expected:
            raise CheckFailed(f"{' '.join(words)[:300]}\nended with {done.returncode}:\n{self.tail()}")
        return done.stdout

    def tail(self) -> str:
        """The end of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])
