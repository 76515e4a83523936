"""The container's health check, against a real room."""

import subprocess
import sys

from support.server import agreement_text, running_room


def ask(url):
    return subprocess.run(
        [sys.executable, "-m", "vesica_enclave.healthcheck", url], capture_output=True, text=True, check=False
    )


def test_a_room_that_answers_is_healthy_and_one_that_is_gone_is_not():
    with running_room(agreement_text({"alice": "1", "bob": "1"})) as room:
        url = f"{room.url}/healthz"
        assert ask(url).returncode == 0
        assert ask(f"{room.url}/nowhere").returncode == 1
    done = ask(url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"no health at {url}: ")


def test_what_is_no_address_is_not_asked():
    assert ask("file:///etc/passwd").returncode == 2
