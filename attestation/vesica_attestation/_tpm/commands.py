"""The commands of a TPM 2.0 that an attester needs, spoken directly to it: no program to start.

Source: TCG, TPM 2.0 Library specification, revision 1.59, part 2 (structures) and part 3 (commands). All
authorisations are the empty password, as clouds provision their vTPMs.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from vesica_attestation._tpm.constants import ALG_NULL, ALG_SHA256, PCR_BYTES, PCRS, RH_OWNER
from vesica_attestation._tpm.device import Exchange
from vesica_attestation._tpm.reader import Reader

RETRIES_MAX: Final = 20
# Every TPM for PCs takes this much in one NV command (PC Client Platform TPM Profile: TPM_PT_NV_BUFFER_MAX is at
# least 512).
NV_PIECE_BYTES: Final = 512
_RETRY_SECONDS: Final = 0.1
_PCRS_AT_ONCE: Final = 8  # TPML_DIGEST holds no more

_NO_SESSIONS: Final = 0x8001
_SESSIONS: Final = 0x8002
_NV_DEFINE_SPACE: Final = 0x12A
_CREATE_PRIMARY: Final = 0x131
_NV_WRITE: Final = 0x137
_NV_READ: Final = 0x14E
_QUOTE: Final = 0x158
_FLUSH_CONTEXT: Final = 0x165
_NV_READ_PUBLIC: Final = 0x169
_READ_PUBLIC: Final = 0x173
_PCR_READ: Final = 0x17E
_NV_OWNER_WRITE_READ: Final = 0x00020002  # TPMA_NV_OWNERWRITE | TPMA_NV_OWNERREAD
_RC_HANDLE: Final = 0x08B
_RC_HANDLE_MASK: Final = 0x0BF  # drops which of a command's handles it was
# TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_NV_RATE, TPM_RC_RETRY: not an answer yet.
_RC_AGAIN: Final = frozenset({0x908, 0x90A, 0x920, 0x922})
_HEADER_BYTES: Final = 10
# An authorisation: TPM_RS_PW, no nonce, no attributes, an empty password.
PASSWORD: Final = struct.pack(">IHBH", 0x40000009, 0, 0, 0)


class TpmError(Exception):
    """The TPM refused a command, or its answer is not one. rc: its response code, or None."""

    def __init__(self, why: str, rc: int | None = None) -> None:
        super().__init__(why)
        self.rc = rc


@dataclass(frozen=True)
class SignedQuote:
    """message: TPMS_ATTEST, as signed. signature: TPMT_SIGNATURE. pcrs: SHA-256 bank, 0 to 23."""

    message: bytes
    signature: bytes
    pcrs: tuple[bytes, ...]


@dataclass(frozen=True)
class Answer:
    """handle: of what a command made, if it was to make something. parameters: to be read once."""

    handle: int | None
    parameters: Reader


class Tpm:
    """A TPM that answers through ``exchange``. Every method raises TpmError, or the OSError of the device.

    sleep: waits, in seconds, before a command that the TPM was not ready for is sent again.
    """

    def __init__(self, exchange: Exchange, sleep: Callable[[float], None]) -> None:
        self._exchange = exchange
        self._sleep = sleep

    def nv_size(self, index: int) -> int | None:
        """Bytes of an NV index; None if there is no such index."""
        answer = self._about(_NV_READ_PUBLIC, index)
        if answer is None:
            return None
        public = reading(answer.sized())
        public.take(4 + 2 + 4)  # nvIndex, nameAlg, attributes
        public.sized()  # authPolicy
        return public.number(2)

    def nv_define(self, index: int, size: int) -> None:
        """Makes an NV index that the owner may write and read."""
        public = struct.pack(">IHIHH", index, ALG_SHA256, _NV_OWNER_WRITE_READ, 0, size)
        self.command(_NV_DEFINE_SPACE, (RH_OWNER,), sized(b"") + sized(public), (PASSWORD,))

    def nv_write(self, index: int, value: bytes) -> None:
        """Writes an NV index from its start."""
        for start in range(0, len(value), NV_PIECE_BYTES):
            piece = value[start : start + NV_PIECE_BYTES]
            self.command(_NV_WRITE, (RH_OWNER, index), sized(piece) + struct.pack(">H", start), (PASSWORD,))

    def nv_read(self, index: int, size: int) -> bytes:
        """The first ``size`` bytes of an NV index, in as many commands as it takes: they need not be of one moment."""
        value = b""
        while len(value) < size:
            ask = struct.pack(">HH", min(NV_PIECE_BYTES, size - len(value)), len(value))
            piece = self.command(_NV_READ, (RH_OWNER, index), ask, (PASSWORD,)).parameters.sized()
            if not 0 < len(piece) <= size - len(value):
                raise TpmError("an NV index that does not give what it has")
            value += piece
        return value

    def read_public(self, handle: int) -> bytes | None:
        """TPMT_PUBLIC of an object; None if there is none at this handle."""
        answer = self._about(_READ_PUBLIC, handle)
        return None if answer is None else answer.sized()

    @contextmanager
    def primary(self, hierarchy: int, template: bytes) -> Iterator[tuple[int, bytes]]:
        """Handle and TPMT_PUBLIC of a primary object, which is gone at the end of the block.

        template: TPMT_PUBLIC. The same template gives the same key each time, until the TPM is cleared.
        """
        sensitive = sized(sized(b"") + sized(b""))  # no authorisation, no data
        parameters = sensitive + sized(template) + sized(b"") + struct.pack(">I", 0)
        answer = self.command(_CREATE_PRIMARY, (hierarchy,), parameters, (PASSWORD,), makes=True)
        handle = answer.handle or 0
        try:
            yield handle, answer.parameters.sized()
        finally:
            self.flush(handle)

    def flush(self, handle: int) -> None:
        """Ends a transient object or a session."""
        self.command(_FLUSH_CONTEXT, (), struct.pack(">I", handle))

    def quote(self, key: int, qualifying_data: bytes) -> SignedQuote:
        """A signature over ``qualifying_data`` and all PCRs of the SHA-256 bank, and those PCRs as read afterwards.

        The PCRs may have moved on between; whoever uses them compares their digest with the one in the message.
        """
        scheme = struct.pack(">H", ALG_NULL)  # the key has its own
        parameters = sized(qualifying_data) + scheme + _selection(range(PCRS))
        answer = self.command(_QUOTE, (key,), parameters, (PASSWORD,)).parameters
        return SignedQuote(answer.sized(), answer.rest(), self.pcrs())

    def pcrs(self) -> tuple[bytes, ...]:
        """All 24 PCRs of the SHA-256 bank."""
        starts = range(0, PCRS, _PCRS_AT_ONCE)
        return tuple(value for start in starts for value in self._some_pcrs(range(start, start + _PCRS_AT_ONCE)))

    def _some_pcrs(self, wanted: Sequence[int]) -> tuple[bytes, ...]:
        selection = _selection(wanted)
        answer = self.command(_PCR_READ, (), selection).parameters
        answer.take(4)  # pcrUpdateCounter
        if answer.take(len(selection)) != selection or answer.number(4) != len(wanted):
            raise TpmError("other PCRs than those asked for: perhaps there is no SHA-256 bank")
        values = tuple(answer.sized() for _ in wanted)
        if any(len(value) != PCR_BYTES for value in values):
            raise TpmError("a PCR that is not a SHA-256 digest")
        return values

    def _about(self, code: int, handle: int) -> Reader | None:
        try:
            return self.command(code, (handle,), b"").parameters
        except TpmError as error:
            if error.rc is not None and error.rc & _RC_HANDLE_MASK == _RC_HANDLE:
                return None
            raise

    def command(
        self,
        code: int,
        handles: Sequence[int],
        parameters: bytes,
        sessions: Sequence[bytes] = (),
        *,
        makes: bool = False,
    ) -> Answer:
        """The answer to one command. sessions: authorisations, one for each handle that needs one. makes: whether the
        answer begins with the handle of something made.
        """
        tag = _SESSIONS if sessions else _NO_SESSIONS
        area = b"".join(sessions)
        body = b"".join(struct.pack(">I", handle) for handle in handles)
        body += (struct.pack(">I", len(area)) + area if sessions else b"") + parameters
        command = struct.pack(">HII", tag, _HEADER_BYTES + len(body), code) + body
        for _ in range(RETRIES_MAX):
            rc, answer = _answer(self._exchange(command), tag, makes=makes)
            if answer is not None:
                return answer
            if rc not in _RC_AGAIN:
                raise TpmError(f"the TPM refused command 0x{code:x} with 0x{rc:x}", rc)
            self._sleep(_RETRY_SECONDS)
        raise TpmError(f"the TPM was not ready for command 0x{code:x}, {RETRIES_MAX} times")


def reading(value: bytes) -> Reader:
    """A reader of what a TPM answered. Its methods raise TpmError."""
    return Reader(value, "the TPM's answer", lambda _, why: TpmError(why))


def sized(value: bytes) -> bytes:
    """A TPM2B."""
    return struct.pack(">H", len(value)) + value


def _answer(response: bytes, tag: int, *, makes: bool) -> tuple[int, Answer | None]:
    """Response code, and the answer if it is 0."""
    reader = reading(response)
    found, size, rc = reader.number(2), reader.number(4), reader.number(4)
    if size != len(response):
        raise reader.fail("of another length than it says")
    if rc != 0:
        return rc, None
    if found != tag:
        raise reader.fail("of another form than its command")
    handle = reader.number(4) if makes else None
    return 0, Answer(handle, reading(reader.take(reader.number(4))) if tag == _SESSIONS else reader)


def _selection(pcrs: Sequence[int]) -> bytes:
    """TPML_PCR_SELECTION of the SHA-256 bank."""
    bits = sum(1 << pcr for pcr in pcrs)
    return struct.pack(">IHB", 1, ALG_SHA256, 3) + bits.to_bytes(3, "little")
