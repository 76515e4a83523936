"""Six commands of a TPM 2.0, spoken directly to its device: what an attester on Azure needs, and no program to start.

Source: TCG, TPM 2.0 Library specification, revision 1.59, part 2 (structures) and part 3 (commands); Linux,
drivers/char/tpm/tpm-dev-common.c: one write is one command, one read is its answer. All authorisations are the empty
password, as Azure provisions its vTPM.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vesica_attestation.azure.tpm import PCR_BYTES, PCRS

Exchange = Callable[[bytes], bytes]

RESPONSE_BYTES_MAX: Final = 4096
RETRIES_MAX: Final = 20
# Every TPM for PCs takes this much in one NV command (PC Client Platform TPM Profile: TPM_PT_NV_BUFFER_MAX is at
# least 512).
NV_PIECE_BYTES: Final = 512
_RETRY_SECONDS: Final = 0.1
_PCRS_AT_ONCE: Final = 8  # TPML_DIGEST holds no more

_NO_SESSIONS: Final = 0x8001
_SESSIONS: Final = 0x8002
_NV_DEFINE_SPACE: Final = 0x12A
_NV_WRITE: Final = 0x137
_NV_READ: Final = 0x14E
_QUOTE: Final = 0x158
_NV_READ_PUBLIC: Final = 0x169
_PCR_READ: Final = 0x17E
_RH_OWNER: Final = 0x40000001
_RS_PASSWORD: Final = 0x40000009
_ALG_SHA256: Final = 0x000B
_ALG_NULL: Final = 0x0010
_ALG_RSASSA: Final = 0x0014
_NV_OWNER_WRITE_READ: Final = 0x00020002  # TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD
_RC_HANDLE: Final = 0x08B
_RC_HANDLE_MASK: Final = 0x0BF  # drops which of a command's handles it was
# TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_NV_RATE, TPM_RC_RETRY: not an answer yet.
_RC_AGAIN: Final = frozenset({0x908, 0x90A, 0x920, 0x922})


class TpmError(Exception):
    """The TPM refused a command, or its answer is not one. rc: its response code, or None."""

    def __init__(self, why: str, rc: int | None = None) -> None:
        super().__init__(why)
        self.rc = rc


@dataclass(frozen=True)
class SignedQuote:
    """message: TPMS_ATTEST, as signed. signature: RSASSA with SHA-256, big-endian. pcrs: SHA-256 bank, 0 to 23."""

    message: bytes
    signature: bytes
    pcrs: tuple[bytes, ...]


@contextmanager
def opened(device: Path) -> Iterator[Exchange]:
    """The TPM behind a resource manager such as ``/dev/tpmrm0``. Raises OSError."""
    descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)

    def exchange(command: bytes) -> bytes:
        if os.write(descriptor, command) != len(command):
            raise TpmError("the device took only a part of a command")
        return os.read(descriptor, RESPONSE_BYTES_MAX)

    try:
        yield exchange
    finally:
        os.close(descriptor)


class Tpm:
    """A TPM that answers through ``exchange``. Every method raises TpmError, or the OSError of the device.

    sleep: waits, in seconds, before a command that the TPM was not ready for is sent again.
    """

    def __init__(self, exchange: Exchange, sleep: Callable[[float], None]) -> None:
        self._exchange = exchange
        self._sleep = sleep

    def nv_size(self, index: int) -> int | None:
        """Bytes of an NV index; None if there is no such index."""
        try:
            answer = self._run(_NV_READ_PUBLIC, _NO_SESSIONS, struct.pack(">I", index), b"")
        except TpmError as error:
            if error.rc is not None and error.rc & _RC_HANDLE_MASK == _RC_HANDLE:
                return None
            raise
        public = _Reader(_Reader(answer).sized())
        public.take(4 + 2 + 4)  # nvIndex, nameAlg, attributes
        public.sized()  # authPolicy
        return public.number(2)

    def nv_define(self, index: int, size: int) -> None:
        """Makes an NV index that the owner may write and read."""
        public = struct.pack(">IHIHH", index, _ALG_SHA256, _NV_OWNER_WRITE_READ, 0, size)
        self._run(_NV_DEFINE_SPACE, _SESSIONS, struct.pack(">I", _RH_OWNER), _sized(b"") + _sized(public))

    def nv_write(self, index: int, value: bytes) -> None:
        """Writes an NV index from its start. ValueError for more than fits into one command."""
        if len(value) > NV_PIECE_BYTES:
            raise ValueError(f"more than {NV_PIECE_BYTES} bytes")
        self._run(_NV_WRITE, _SESSIONS, struct.pack(">II", _RH_OWNER, index), _sized(value) + struct.pack(">H", 0))

    def nv_read(self, index: int, size: int) -> bytes:
        """The first ``size`` bytes of an NV index, in as many commands as it takes: they need not be of one moment."""
        value = b""
        while len(value) < size:
            ask = struct.pack(">HH", min(NV_PIECE_BYTES, size - len(value)), len(value))
            piece = _Reader(self._run(_NV_READ, _SESSIONS, struct.pack(">II", _RH_OWNER, index), ask)).sized()
            if not 0 < len(piece) <= size - len(value):
                raise TpmError("an NV index that does not give what it has")
            value += piece
        return value

    def quote(self, key: int, qualifying_data: bytes) -> SignedQuote:
        """A signature over ``qualifying_data`` and all PCRs of the SHA-256 bank, and those PCRs as read afterwards.

        The PCRs may have moved on between; whoever uses them compares their digest with the one in the message.
        """
        scheme = struct.pack(">H", _ALG_NULL)  # the key has its own
        parameters = _sized(qualifying_data) + scheme + _selection(range(PCRS))
        answer = _Reader(self._run(_QUOTE, _SESSIONS, struct.pack(">I", key), parameters))
        message = answer.sized()
        if (answer.number(2), answer.number(2)) != (_ALG_RSASSA, _ALG_SHA256):
            raise TpmError("a signature of another kind than RSASSA with SHA-256")
        return SignedQuote(message, answer.sized(), self.pcrs())

    def pcrs(self) -> tuple[bytes, ...]:
        """All 24 PCRs of the SHA-256 bank."""
        starts = range(0, PCRS, _PCRS_AT_ONCE)
        return tuple(value for start in starts for value in self._some_pcrs(range(start, start + _PCRS_AT_ONCE)))

    def _some_pcrs(self, wanted: Sequence[int]) -> tuple[bytes, ...]:
        selection = _selection(wanted)
        answer = _Reader(self._run(_PCR_READ, _NO_SESSIONS, b"", selection))
        answer.take(4)  # pcrUpdateCounter
        if answer.take(len(selection)) != selection or answer.number(4) != len(wanted):
            raise TpmError("other PCRs than those asked for: perhaps there is no SHA-256 bank")
        values = tuple(answer.sized() for _ in wanted)
        if any(len(value) != PCR_BYTES for value in values):
            raise TpmError("a PCR that is not a SHA-256 digest")
        return values

    def _run(self, code: int, tag: int, handles: bytes, parameters: bytes) -> bytes:
        """Parameters of the answer to one command."""
        session = b""
        if tag == _SESSIONS:
            password = struct.pack(">IHBH", _RS_PASSWORD, 0, 0, 0)  # no nonce, no attributes, an empty password
            session = struct.pack(">I", len(password)) + password
        body = handles + session + parameters
        command = struct.pack(">HII", tag, 10 + len(body), code) + body
        for _ in range(RETRIES_MAX):
            rc, answer = _answer(self._exchange(command), tag)
            if rc == 0:
                return answer
            if rc not in _RC_AGAIN:
                raise TpmError(f"the TPM refused command 0x{code:x} with 0x{rc:x}", rc)
            self._sleep(_RETRY_SECONDS)
        raise TpmError(f"the TPM was not ready for command 0x{code:x}, {RETRIES_MAX} times")


def _answer(response: bytes, tag: int) -> tuple[int, bytes]:
    """Response code, and parameters if it is 0."""
    reader = _Reader(response)
    found, size, rc = reader.number(2), reader.number(4), reader.number(4)
    if size != len(response):
        raise TpmError("an answer of another length than it says")
    if rc != 0:
        return rc, b""
    if found != tag:
        raise TpmError("an answer of another form than its command")
    return 0, reader.take(reader.number(4)) if tag == _SESSIONS else reader.rest()


def _selection(pcrs: Sequence[int]) -> bytes:
    """TPML_PCR_SELECTION of the SHA-256 bank."""
    bits = sum(1 << pcr for pcr in pcrs)
    return struct.pack(">IHB", 1, _ALG_SHA256, 3) + bits.to_bytes(3, "little")


def _sized(value: bytes) -> bytes:
    """A TPM2B."""
    return struct.pack(">H", len(value)) + value


class _Reader:
    """Reads an answer from its start. Every method raises TpmError at its end."""

    def __init__(self, value: bytes) -> None:
        self._left = value

    def take(self, size: int) -> bytes:
        if len(self._left) < size:
            raise TpmError("an answer that ends too early")
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        return self.take(self.number(2))

    def rest(self) -> bytes:
        return self.take(len(self._left))
