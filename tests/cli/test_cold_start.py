"""What starts quickly does so because of what it does not import. No test here looks at a clock."""

import json
import subprocess
import sys

import pytest

# Each costs tens of milliseconds or more.
SLOW = {
    "anyio",
    "asyncio",
    "cryptography",
    "dcap_qvl",
    "fastapi",
    "httpx",
    "jwt",
    "numpy",
    "opendp",
    "pandas",
    "pydantic",
    "rich",
    "ssl",
    "starlette",
    "uvicorn",
    "vesica_enclave",
    "vesica_routes",
}


TELL = """
import atexit
def tell():
    import json, sys
    sys.stderr.write("MODULES " + json.dumps(sorted(sys.modules)))
atexit.register(tell)
"""


def modules(program: str) -> set[str]:
    """All modules that a program has imported when it ends."""
    whole = f"{TELL}\n{program}"
    ended = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, timeout=60, check=False)
    _, found, names = ended.stderr.partition("MODULES ")
    assert found, ended.stderr
    return set(json.loads(names))


def families(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def command(*argv: str) -> str:
    return f"import sys; from vesica.cli.main import main; sys.exit(main({list(argv)!r}))"


def test_importing_vesica_imports_nothing_that_is_slow() -> None:
    assert families(modules("import vesica")) & SLOW == set()


@pytest.mark.parametrize(
    "argv", [["--help"], ["serve", "--help"], ["submit", "--help"], ["verify", "--help"], ["no-such-command"]]
)
def test_help_imports_nothing_that_is_slow(argv: list[str]) -> None:
    assert families(modules(command(*argv))) & SLOW == set()


def test_a_room_is_served_without_what_it_does_not_use() -> None:
    found = modules("import vesica_enclave.serve")
    # opendp.prelude imports every part of OpenDP and what it finds of polars and scikit-learn.
    assert "opendp.prelude" not in found
    assert families(found) & {"httpx", "pandas", "polars", "pyarrow", "rich", "scipy", "sklearn"} == set()
    assert {"opendp.measurements", "numpy", "uvicorn"} <= found
