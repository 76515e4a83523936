"""The front door: a real ``vesica serve`` (or a server that only receives) over TLS, and parties that send to it."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from bench.clocks import cpu_seconds, main_thread_seconds, peak_bytes, written_bytes
from bench.noise import take_memory
from bench.plan import ROOT
from bench.sender import ask

PARTIES: Final = ("alice", "bob")  # their tokens are their names
_LINK_SECONDS_MAX: Final = 600.0


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    port: int
    pid: int


def agreement() -> str:
    """Two parties with all the budget there is, so that a release tells the truth."""
    parties = "".join(
        f'[[parties]]\nname = "{name}"\ntoken_sha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\nepsilon = "100"\n'
        for name in PARTIES
    )
    return f'name = "bench"\n{parties}[releases]\nstatistics = ["intersection_cardinality"]\n'


@contextmanager
def room() -> Iterator[Server]:
    """A room as ``vesica serve`` runs it, for two parties."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agreement.toml"
        path.write_text(agreement())
        with _serving(
            "vesica", "serve", str(path), "--port", "0", "--attester", "insecure-software", *_lenient()
        ) as one:
            yield one


@cache
def _lenient() -> tuple[str, ...]:
    """A room that hardens itself refuses to run where it cannot; here it may say so and go on."""
    said = subprocess.run(
        [sys.executable, "-m", "vesica", "serve", "--help"], capture_output=True, text=True, check=True
    )
    return ("--allow-unhardened",) if "--allow-unhardened" in said.stdout else ()


@contextmanager
def receiver(*, stock: bool) -> Iterator[Server]:
    """A server that throws away what it receives: on the room's stack, or on uvicorn as it comes."""
    with _serving("bench.receiver", *(["--stock"] if stock else [])) as server:
        yield server


@contextmanager
def _serving(module: str, *arguments: str) -> Iterator[Server]:
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "ready at https://" not in line:
                raise RuntimeError(f"{module} did not start")
            yield Server(int(line.rpartition(":")[2]), process.pid)
        finally:
            process.terminate()


class Sender:
    """A party in a process of its own, with its file in memory, ready to send."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def send(self) -> dict[str, Any]:
        """Sends the file; what ``bench.sender`` tells of it.

        Raises RuntimeError where it was not accepted.
        """
        out, _ = self._process.communicate("go\n", timeout=1800)
        if self._process.returncode != 0:
            raise RuntimeError("the sender failed")
        told: dict[str, Any] = json.loads(out)
        if told["status"] != 201:
            raise RuntimeError(f"answered {told['status']}: {told['answer'].get('code')}")
        return told


@contextmanager
def sender(server: Server, descriptor: int, party: str, form: str) -> Iterator[Sender]:
    """A party that is ready to send."""
    command = [sys.executable, "-m", "bench.sender", str(descriptor), str(server.port), party, form]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[descriptor], cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the sender did not start")
            yield Sender(process)
        finally:
            if process.poll() is None:
                process.kill()


def submission(form: str, descriptor: int, rows: int) -> dict[str, object]:
    """One submission. form: raw, multipart or sealed; or discard, stock: raw, to a server that only receives."""
    receives = form in {"discard", "stock"}
    with ExitStack() as stack:
        server = stack.enter_context(receiver(stock=form == "stock") if receives else room())
        one = stack.enter_context(sender(server, descriptor, PARTIES[0], "raw" if receives else form))
        taken = take_memory(os.fstat(descriptor).st_size)
        cpu, loop, peak = cpu_seconds(server.pid), main_thread_seconds(server.pid), peak_bytes(server.pid)
        told = one.send()
        if not receives and told["answer"]["rows"] != rows:
            raise RuntimeError("the room counted other rows")
        return {
            "wall_s": told["ended"] - told["begun"],
            "sent_s": told["sent"] - told["begun"],
            "cpu_s": cpu_seconds(server.pid) - cpu,
            "loop_cpu_s": main_thread_seconds(server.pid) - loop,
            "client_cpu_s": told["cpu_s"],
            "extra_bytes": peak_bytes(server.pid) - peak,
            "peak_bytes": peak_bytes(server.pid),
            "bytes": told["bytes"],
            "taking_s_a_gb": taken,
        }


def story(descriptors: Sequence[int], truth: int) -> dict[str, object]:
    """Both parties, one after the other, and a release: from the first byte to its answer.

    Raises RuntimeError where the release, at an epsilon that leaves no noise, is not the truth.
    """
    with ExitStack() as stack:
        server = stack.enter_context(room())
        senders = [
            stack.enter_context(sender(server, descriptor, party, "raw"))
            for descriptor, party in zip(descriptors, PARTIES, strict=True)
        ]
        taken = take_memory(os.fstat(descriptors[0]).st_size)
        cpu, peak, written = cpu_seconds(server.pid), peak_bytes(server.pid), written_bytes(server.pid)
        told = [one.send() for one in senders]
        question = json.dumps({"statistic": "intersection_cardinality", "epsilon": "50"}).encode()
        released = ask_timed(server, question)
        after = written_bytes(server.pid)
        if abs(int(released["value"]) - truth) > 1:
            raise RuntimeError("the release is not the truth")
        return {
            "wall_s": released["at"] - told[0]["begun"],
            "submissions_s": [one["ended"] - one["begun"] for one in told],
            "release_s": released["at"] - told[-1]["ended"],
            "cpu_s": cpu_seconds(server.pid) - cpu,
            "client_cpu_s": sum(one["cpu_s"] for one in told),
            "extra_bytes": peak_bytes(server.pid) - peak,
            "peak_bytes": peak_bytes(server.pid),
            "written_bytes": None if after is None or written is None else after - written,
            "bytes": sum(one["bytes"] for one in told),
            "taking_s_a_gb": taken,
        }


def ask_timed(server: Server, question: bytes) -> dict[str, Any]:
    """A release, and when its answer was read. A room that is still linking is asked again, as a party would."""
    until = time.monotonic() + _LINK_SECONDS_MAX
    while True:
        status, document = ask(server.port, "POST", "/releases", question, PARTIES[0])
        if status == 201:
            return {"value": document["value"], "at": time.monotonic()}
        if document.get("code") != "room-not-open" or time.monotonic() > until:
            raise RuntimeError(f"the release was answered {status}: {document.get('code')}")
