"""A room under load: does it keep answering? ``python -m bench.load [--rows N]`` prints the figures as JSON.

Two parties send ``rows`` ids each at once, over TLS, and the room then links them; all the while another process asks
``/healthz``. Senders and asker run on the same processors as the room, which no real room has to bear: ``late_ms`` says
how late the asker itself was woken, by the operating system alone. The files are made as they are sent.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bench.clocks import peak_bytes, resident_bytes
from bench.door import PARTIES, Server, room
from bench.sender import connect, read_answer

ROWS: Final = 100_000_000
ROW_BYTES: Final = 13  # an id of 12 characters and a line end
ROWS_A_PIECE: Final = 20_000
ASK_SECONDS: Final = 0.02  # from one question to the next
OPEN_SECONDS_MAX: Final = 120.0
REPEATS: Final = 7

Sample = tuple[
    float, float, float
]  # when it was asked (monotonic seconds), ms to the answer, ms that the asker was late


def csv(rows: int, first: int) -> Iterator[bytes]:
    """A header and ``rows`` ids of 12 hexadecimal digits, from number ``first`` on, in no order."""
    yield b"id\n"
    digits = np.frombuffer(b"".join(b"%04x" % i for i in range(2**16)), np.uint32)
    piece = np.empty((ROWS_A_PIECE, ROW_BYTES), np.uint8)
    piece[:, -1] = ord("\n")
    words = np.empty((ROWS_A_PIECE, 3), np.uint32)
    for start in range(first, first + rows, ROWS_A_PIECE):
        # An odd factor permutes the numbers below 2**48, so all ids differ.
        numbers = np.arange(start, start + ROWS_A_PIECE, dtype=np.uint64) * np.uint64(0x5DEECE66D)
        for place in range(3):
            words[:, place] = digits[(numbers >> np.uint64(16 * place)) & np.uint64(0xFFFF)]
        piece[:, :-1] = words.view(np.uint8)
        yield piece[: min(ROWS_A_PIECE, first + rows - start)].tobytes()


def send(server: Server, party: str, rows: int, first: int, told: "multiprocessing.Queue[dict[str, float]]") -> None:
    """Sends a party's file; tells when it began, when the last byte was sent, and when the answer came."""
    size = len(b"id\n") + rows * ROW_BYTES
    head = (
        f"POST /submissions HTTP/1.1\r\nHost: room\r\nAuthorization: Bearer {party}\r\n"
        f"Content-Type: text/csv\r\nContent-Length: {size}\r\n\r\n"
    )
    with connect(server.port) as sock:
        begun = time.monotonic()
        sock.sendall(head.encode())
        for piece in csv(rows, first):
            sock.sendall(piece)
        sent = time.monotonic()
        status, body = read_answer(sock)
    if status != 201:
        raise RuntimeError(f"the room answered {status}: {body!r}")
    told.put({"begun": begun, "sent": sent, "accepted": time.monotonic()})


def ask(server: Server, stop: "multiprocessing.synchronize.Event", told: "multiprocessing.Queue[list[Sample]]") -> None:
    """Asks /healthz on one connection, again and again, until told to stop."""
    samples: list[Sample] = []
    with connect(server.port) as sock:
        due = time.monotonic()
        while not stop.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            begun = time.monotonic()
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: room\r\n\r\n")
            if read_answer(sock)[0] != 200:
                raise RuntimeError("the room is not well")
            samples.append((begun, (time.monotonic() - begun) * 1e3, (begun - due) * 1e3))
            due = max(due + ASK_SECONDS, time.monotonic())
    told.put(samples)


def figures(samples: Sequence[Sample]) -> dict[str, float]:
    """How long answers took, in ms."""
    if not samples:
        return {"asked": 0}
    took = np.array([ms for _, ms, _ in samples])
    late = np.array([ms for _, _, ms in samples])
    return {
        "asked": len(samples),
        "p50_ms": round(float(np.percentile(took, 50)), 2),
        "p99_ms": round(float(np.percentile(took, 99)), 2),
        "max_ms": round(float(took.max()), 2),
        "over_50_ms": int((took > 50).sum()),
        "late_p99_ms": round(float(np.percentile(late, 99)), 2),
        "late_max_ms": round(float(late.max()), 2),
    }


def descriptors(pid: int) -> int:
    """Open file descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _wait_until_open(server: Server) -> float:
    until = time.monotonic() + OPEN_SECONDS_MAX
    with connect(server.port) as sock:
        while time.monotonic() < until:
            sock.sendall(b"GET /room HTTP/1.1\r\nHost: room\r\n\r\n")
            if b'"open"' in read_answer(sock)[1]:
                return time.monotonic()
            time.sleep(0.05)
    raise RuntimeError("the room does not open")


def _watch(server: Server, stop: threading.Event, most: dict[str, int]) -> None:
    while not stop.wait(0.1):
        most["descriptors"] = max(most.get("descriptors", 0), descriptors(server.pid))


def busy(rows: int) -> dict[str, object]:
    """Two files at once, and linking, while somebody asks /healthz."""
    context = multiprocessing.get_context("spawn")
    sent: multiprocessing.Queue[dict[str, float]] = context.Queue()
    asked: multiprocessing.Queue[list[Sample]] = context.Queue()
    stop, watched, most = context.Event(), threading.Event(), dict[str, int]()
    with room() as server:
        at_start = resident_bytes(server.pid)
        asker = context.Process(target=ask, args=(server, stop, asked), daemon=True)
        senders = [
            context.Process(target=send, args=(server, party, rows, i * rows // 2, sent), daemon=True)
            for i, party in enumerate(PARTIES)
        ]
        watcher = threading.Thread(target=_watch, args=(server, watched, most))
        watcher.start()
        asker.start()
        time.sleep(2)  # the idle room, for comparison
        quiet = time.monotonic()
        for sender in senders:
            sender.start()
        times = [sent.get(timeout=600) for _ in PARTIES]
        opened = _wait_until_open(server)
        stop.set()
        samples = asked.get(timeout=60)
        watched.set()
        watcher.join()
        peak = peak_bytes(server.pid)
        for process in (asker, *senders):
            process.join()
    begun = min(one["begun"] for one in times)
    all_sent = max(one["sent"] for one in times)
    accepted = max(one["accepted"] for one in times)
    phases = {
        "idle": (0.0, quiet),
        "receive": (begun, all_sent),
        "check": (all_sent, accepted),
        "link": (accepted, opened),
    }
    return {
        "rows_a_party": rows,
        "bytes_a_party": rows * ROW_BYTES + 3,
        "receive_seconds": round(all_sent - begun, 2),
        "check_seconds": round(accepted - all_sent, 2),
        "link_and_open_seconds": round(opened - accepted, 2),
        "healthz": {name: figures([s for s in samples if a <= s[0] < b]) for name, (a, b) in phases.items()},
        "memory_at_start": at_start,
        "memory_peak": peak,
        "memory_peak_bytes_a_row": round((peak - at_start) / (2 * rows), 2),
        "descriptors_peak": most.get("descriptors", 0),
    }


def idle(connections: int = 500) -> dict[str, object]:
    """What connections cost that say nothing."""
    with room() as server, contextlib.ExitStack() as held:
        before, files = resident_bytes(server.pid), descriptors(server.pid)
        for _ in range(connections):
            held.enter_context(connect(server.port))
        after = resident_bytes(server.pid)
        sock = connect(server.port)
        begun = time.monotonic()
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: room\r\n\r\n")
        assert read_answer(sock)[0] == 200
        return {
            "memory": before,
            "descriptors": files,
            "connections": connections,
            "memory_a_connection": (after - before) // connections,
            "descriptors_with_connections": descriptors(server.pid),
            "healthz_with_connections_ms": round((time.monotonic() - begun) * 1e3, 2),
        }


def _seconds(command: Sequence[str]) -> float:
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def _first_answer_seconds() -> float:
    begun = time.monotonic()
    with room() as server, connect(server.port) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: room\r\n\r\n")
        assert read_answer(sock)[0] == 200
        return time.monotonic() - begun


def cold(repeats: int = REPEATS) -> dict[str, object]:
    """Medians of the times that it takes to begin, ms."""
    python = [sys.executable, "-c"]
    bare = statistics.median(_seconds([*python, "pass"]) for _ in range(repeats))
    imported = statistics.median(_seconds([*python, "import vesica"]) for _ in range(repeats))
    helped = statistics.median(_seconds([sys.executable, "-m", "vesica", "--help"]) for _ in range(repeats))
    served = statistics.median(_first_answer_seconds() for _ in range(repeats))
    return {
        "runs": repeats,
        "python_alone_ms": round(bare * 1e3, 1),
        "import_vesica_ms": round((imported - bare) * 1e3, 1),
        "vesica_help_ms": round(helped * 1e3, 1),
        "serve_to_first_answer_ms": round(served * 1e3, 1),
    }


def run(rows: int = ROWS, connections: int = 500, repeats: int = REPEATS) -> dict[str, object]:
    """All figures."""
    return {
        "processors": os.cpu_count(),
        "python": sys.version.split()[0],
        "cold_start": cold(repeats),
        "idle": idle(connections),
        "busy": busy(rows),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="ids a party (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=500, help="idle connections (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of each cold start (default: %(default)s)")
    args = parser.parse_args()
    print(json.dumps(run(args.rows, args.connections, args.repeats), indent=2))
