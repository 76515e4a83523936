"""Peak memory of a room that is sent one large file: ``python -m bench.memory [GIGABYTES]`` (2 unless told).

The file is made as it is sent, so nothing of it is on disk. The bound is that of issue 2: 28 bytes a row and 250 MB.
"""

import hashlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

ROWS_A_PIECE = 100_000
ID_BYTES = 12
TOKEN = "bench"
INSECURE = ("--attester", "insecure-software", "--insecure-plain-http")  # what is measured is the room, not TLS


def agreement() -> str:
    """Two parties, one of which will never submit."""
    hashes = [hashlib.sha256(token.encode()).hexdigest() for token in (TOKEN, "other")]
    parties = "".join(
        f'[[parties]]\nname = "p{i}"\ntoken_sha256 = "{value}"\nepsilon = "1"\n' for i, value in enumerate(hashes)
    )
    return f'name = "bench"\n{parties}[releases]\nstatistics = ["intersection_cardinality"]\n'


def csv(rows: int) -> Iterator[bytes]:
    """A header and ``rows`` different ids of 12 digits and letters."""
    yield b"id\n"
    piece = np.empty((ROWS_A_PIECE, ID_BYTES + 1), np.uint8)
    piece[:, ID_BYTES] = ord("\n")
    for first in range(0, rows, ROWS_A_PIECE):
        # An odd factor permutes the numbers below 2**48, so all ids differ and none is near the one before.
        numbers = (np.arange(first, first + ROWS_A_PIECE, dtype=np.uint64) * np.uint64(0x5DEECE66D)) % np.uint64(2**48)
        for place in range(ID_BYTES):
            digit = (numbers >> np.uint64(4 * place)) & np.uint64(15)
            piece[:, place] = digit + np.uint64(ord("a"))
        yield piece[: min(ROWS_A_PIECE, rows - first)].tobytes()


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("no VmHWM in /proc")


def main(gigabytes: float) -> int:
    """Sends one file and prints the figures as JSON; 1 where the bound is broken."""
    rows = int(gigabytes * 1e9) // (ID_BYTES + 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agreement.toml"
        path.write_text(agreement())
        command = [sys.executable, "-m", "vesica", "serve", str(path), "--port", "0", *INSECURE]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                address = urlsplit(server.stdout.readline().split()[-1]).netloc
                before = peak_bytes(server.pid)
                begun = time.monotonic()
                connection = http.client.HTTPConnection(address)
                headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/csv"}
                connection.request("POST", "/submissions", csv(rows), headers, encode_chunked=True)
                answer = json.loads(connection.getresponse().read())
                seconds = time.monotonic() - begun
                peak = peak_bytes(server.pid)
            finally:
                server.terminate()
    assert answer["rows"] == rows, answer
    allowed = 28 * rows + 250 * 10**6
    figures = {
        "rows": rows,
        "bytes_sent": rows * (ID_BYTES + 1),
        "seconds": round(seconds, 1),
        "peak_at_start": before,
        "peak": peak,
        "peak_bytes_a_row": round((peak - before) / rows, 2),
        "allowed": allowed,
        "holds": peak <= allowed,
    }
    print(json.dumps(figures))
    return 0 if peak <= allowed else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0))
