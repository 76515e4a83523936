"""`vesica serve`: one line when it is ready, a clear word when it cannot be."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from support.server import agreement_text
from vesica.cli.exits import Exit

SOFTWARE = ("--attester", "insecure-software", "--allow-unhardened")


def serve(*argv: str) -> "subprocess.Popen[str]":
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-m", "vesica", "serve", *argv],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def agreement(tmp_path):
    file = tmp_path / "agreement.toml"
    file.write_text(agreement_text({"alice": "1", "bob": "1"}, name="a room"))
    return file


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_prints_one_line_when_ready_and_stops_on_a_signal_without_a_traceback(agreement, number):
    process = serve(str(agreement), "--port", "0", *SOFTWARE)
    with process:
        line = process.stdout.readline()
        assert line.startswith('vesica: room "a room" is ready at https://127.0.0.1:')
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert out == ""
    assert "INSECURE" in err
    assert "Traceback" not in err
    assert process.returncode in {0, -number}


def test_serve_says_what_is_wrong_with_an_agreement(tmp_path):
    file = tmp_path / "agreement.toml"
    file.write_text('name = "x"\n')
    with serve(str(file)) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == Exit.INPUT
    assert err.startswith("vesica: parties: missing")


def test_serve_without_a_file_or_a_free_port_says_so(agreement, tmp_path):
    with serve(str(tmp_path / "none.toml")) as process:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "No such file" in err) == (Exit.INPUT, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with serve(str(agreement), "--port", str(taken.getsockname()[1]), *SOFTWARE) as process:
            _, err = process.communicate(timeout=60)
    assert (process.returncode, "cannot listen on 127.0.0.1" in err) == (Exit.INPUT, True)
    assert "Traceback" not in err
