"""A room like ``support.server.running_room``, started as a test wants: other limits, a tracer, other levels."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from support.server import _PROGRAM, RunningRoom, _wait_until_ready

# Python for ``before``: a room that keeps all that it could do, to see that a check of what it does would see it.
UNSEALED = "import vesica_enclave.serve\nvesica_enclave.serve.to_seal = lambda *_: ()\n"


@contextlib.contextmanager
def launched_room(
    agreement_toml_text: str,
    *,
    before: str = "",
    tracer: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    trusted_header: str | None = None,
    log_level: str = "debug",
    tls: bool = False,
) -> Iterator[RunningRoom]:
    """before: Python that runs before the server is built. tracer: a command that runs the rest of its line, under the
    same process id. environment: on top of this process's own.
    """
    with tempfile.TemporaryDirectory(prefix="vesica-test-") as name:
        folder = Path(name)
        agreement = folder / "agreement.toml"
        agreement.write_text(agreement_toml_text)
        program = _PROGRAM.replace("plain_http=True", "plain_http=False") if tls else _PROGRAM
        # First what must come before other libraries.
        program = f"import vesica_enclave.serve\n{before}\n{program}"
        command = [*tracer, sys.executable, "-c", program, str(agreement), trusted_header or "", log_level]
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **(environment or {})}
            )
        try:
            yield RunningRoom(_wait_until_ready(RunningRoom("", process, folder)), process, folder)
        finally:
            RunningRoom("", process, folder).stop()


def limits(**values: float) -> str:
    """Python for ``before``: other limits, everywhere that they have been imported to."""
    return "\n".join(
        [
            "import vesica.limits, vesica_routes.app, vesica_enclave.serve, sys",
            f"for limit, value in {values!r}.items():",
            "    if not hasattr(vesica.limits, limit): raise SystemExit('no such limit: ' + limit)",
            "    for module in [m for n, m in sys.modules.items() if n.partition('.')[0].startswith('vesica')]:",
            "        if hasattr(module, limit): setattr(module, limit, value)",
        ]
    )
