"""Processes that harden themselves, for tests: programs for a Python of their own, run as a user who is not root."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.server import agreement_text, wait_for_line

NOBODY = 65534 if os.getuid() == 0 else os.getuid()
SWAPS = len(Path("/proc/swaps").read_text().splitlines()) > 1
# What a test must allow where there is swap, and nothing more: ``complaints`` sees to that.
LENIENT = ("--allow-unhardened",) if SWAPS else ()

# Python for ``before``: stop being root, but stay visible as any process of that user is at first. All imports are made
# before: another user may not read the folder that the interpreter is in.
AS_NOBODY = f"""
import ctypes, os
import vesica.cli.main, vesica.cli.serve_command, vesica_enclave.serve, vesica_enclave.preload
vesica_enclave.preload.preload()
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
    os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable, as after an exec
ctypes.CDLL(None).prctl(0x59616D61, -1, 0, 0, 0)  # Yama, where it is: anybody may trace
"""
SLEEP = "print('ready at', 0, flush=True); import time; time.sleep(600)"
SERVE = "import sys; from vesica.cli.main import main; sys.exit(main(['serve', *sys.argv[1:]]))"


@dataclass(frozen=True)
class Running:
    """A process that said it is ready. where: the last word of that line."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    where: str

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def complaints(self) -> list[str]:
        """The measures that it did without."""
        return [line for line in self.stderr.splitlines() if "not hardened (" in line]


@contextlib.contextmanager
def running(program: str, *arguments: str) -> Iterator[Running]:
    """A Python program in a folder of its own, which anybody may write to, until it ends or is killed."""
    with tempfile.TemporaryDirectory(prefix="vesica-test-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=folder,
            )
        try:
            line = wait_for_line(folder / "stdout", process, "ready at")
            yield Running(process, folder, line.split()[-1])
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def hardened_room(before: str = "", *options: str, text: str = "") -> Iterator[Running]:
    """``vesica serve`` as nobody, with software evidence, over TLS, on a free port. before: Python that runs first."""
    with tempfile.TemporaryDirectory(prefix="vesica-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        agreement = folder / "agreement.toml"
        agreement.write_text(text or agreement_text({"alice": "60", "bob": "60"}))
        software = ("--attester", "insecure-software", *LENIENT, *options)
        with running(f"{AS_NOBODY}\n{before}\n{SERVE}", str(agreement), "--port", "0", *software) as room:
            yield room


def outcomes(program: str, *arguments: str) -> object:
    """What a Python program prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
