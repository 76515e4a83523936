"""A TPM 2.0 in software, swtpm, as a process of its own; and what a test needs to set one up as Azure does.

swtpm is Debian's package of that name. ``why_not()`` says whether it is missing.
"""

import contextlib
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

OWNER = 0x40000001
_PASSWORD = 0x40000009
CREATE_PRIMARY, EVICT_CONTROL, NV_WRITE, NV_READ, PCR_EXTEND = 0x131, 0x120, 0x137, 0x14E, 0x182
CHANGE_AUTH = 0x129
SHA256, RSASSA, NULL = 0x000B, 0x0014, 0x0010
# fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign: as openvmm makes Azure's key.
AK_ATTRIBUTES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 16 | 1 << 18
START_SECONDS_MAX = 10

Exchange = Callable[[bytes], bytes]


def why_not() -> str | None:
    return None if shutil.which("swtpm") else "swtpm is not installed"


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Exchange]:
    """A TPM that has been started up, with nothing in it."""
    with serving(folder) as server, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server))

        def exchange(command: bytes) -> bytes:
            connection.sendall(command)
            return connection.recv(4096)

        yield exchange


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """The socket of a TPM that has been started up, with what its state in the folder holds. One client at a time."""
    server, control = folder / "swtpm.sock", folder / "swtpm.ctrl"
    process = subprocess.Popen(
        [
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}",
            "--server", f"type=unixio,path={server}", "--ctrl", f"type=unixio,path={control}",
            "--flags", "not-need-init,startup-clear",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + START_SECONDS_MAX
        while not _answers(server):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("swtpm does not start")
            time.sleep(0.02)
        yield server
    finally:
        process.terminate()
        process.wait(10)
        server.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def run(exchange: Exchange, code: int, handles: tuple[int, ...], parameters: bytes) -> bytes:
    """An authorised command, the empty password for all. Gives the handles and parameters of the answer."""
    session = struct.pack(">IHBH", _PASSWORD, 0, 0, 0)
    body = b"".join(struct.pack(">I", handle) for handle in handles)
    body += struct.pack(">I", len(session)) + session + parameters
    response = exchange(struct.pack(">HII", 0x8002, 10 + len(body), code) + body)
    rc = int.from_bytes(response[6:10], "big")
    if rc:
        raise RuntimeError(f"swtpm refused 0x{code:x} with 0x{rc:x}")
    return response[10:]


def make_attestation_key(exchange: Exchange, handle: int, hash_algorithm: int = SHA256, scheme: int = RSASSA) -> int:
    """A restricted signing key at a persistent handle. Gives its modulus; the exponent is 65537."""
    public = struct.pack(">HHIHHHHHIH", 1, SHA256, AK_ATTRIBUTES, 0, NULL, scheme, hash_algorithm, 2048, 0, 0)
    parameters = struct.pack(">HHH", 4, 0, 0) + struct.pack(">H", len(public)) + public + struct.pack(">HI", 0, 0)
    answer = run(exchange, CREATE_PRIMARY, (OWNER,), parameters)
    transient, _, size = struct.unpack_from(">IIH", answer)
    made = answer[10 : 10 + size]
    run(exchange, EVICT_CONTROL, (OWNER, transient), struct.pack(">I", handle))
    return int.from_bytes(made[-256:], "big")


def extend(exchange: Exchange, pcr: int, digest: bytes = b"\x11" * 32) -> None:
    """PCR_Extend in the SHA-256 bank."""
    run(exchange, PCR_EXTEND, (pcr,), struct.pack(">IH", 1, SHA256) + digest)


def nv_write(exchange: Exchange, index: int, value: bytes) -> None:
    """What another program does that uses the same index."""
    run(exchange, NV_WRITE, (OWNER, index), struct.pack(">H", len(value)) + value + struct.pack(">H", 0))


def nv_read(exchange: Exchange, index: int, size: int) -> bytes:
    return run(exchange, NV_READ, (OWNER, index), struct.pack(">HH", size, 0))[6 : 6 + size]


def set_owner_password(exchange: Exchange, password: bytes) -> None:
    run(exchange, CHANGE_AUTH, (OWNER,), struct.pack(">H", len(password)) + password)
