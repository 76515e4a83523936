"""Evidence from inside an AWS Nitro enclave: one request to the Nitro Security Module through /dev/nsm.

Source: Linux 6.8, include/uapi/linux/nsm.h and drivers/misc/nsm.c; aws-nitro-enclaves-nsm-api, src/api (the CBOR).
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from vesica_attestation._attesting import require_report_data
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.needs import Needs
from vesica_attestation.nitro import abi
from vesica_attestation.nitro._cbor import MAP, Reader, byte_string

NSM: Final = Path("/dev/nsm")
IOCTL_RAW: Final = 0xC0200A00  # _IOWR(0x0A, 0, struct nsm_raw)
REQUEST_BYTES_MAX: Final = 0x1000
RESPONSE_BYTES_MAX: Final = 0x3000
_IOVECS: Final = struct.Struct("=QQQQ")  # struct nsm_raw: address and length of the request, then of the response
_NULL: Final = b"\xf6"
_TEXT_CHARACTERS_MAX: Final = 64

Ioctl = Callable[[int, int, bytearray], object]


@dataclass(frozen=True)
class NitroAttester:
    """Asks the module that the hypervisor gives to each enclave. ioctl: as ``fcntl.ioctl``; it fills the buffers
    pointed to."""

    device: Path = NSM
    ioctl: Ioctl = fcntl.ioctl
    kind: ClassVar[Kind] = Kind.NITRO

    @property
    def needs(self) -> Needs:
        """One request to the module's device."""
        return Needs(devices=frozenset({self.device}), ioctls=frozenset({IOCTL_RAW}))

    def probe(self) -> None:
        """Raises AttesterUnavailable if this is no Nitro enclave."""
        if not self.device.is_char_device():
            raise AttesterUnavailable(self.kind, f"no device at {self.device}")

    def attest(self, report_data: bytes) -> Evidence:
        """A document whose ``user_data`` is ``report_data``.

        Raises AttesterUnavailable; ValueError for another length than 64 bytes.
        """
        require_report_data(report_data)
        document = self._document(self._ask(_request(report_data)))
        try:
            user_data = abi.parse(document).payload.user_data
        except Refused as refusal:
            raise AttesterUnavailable(
                self.kind, f"the module gave a document that no verifier reads: {refusal}"
            ) from None
        if user_data != report_data:
            raise AttesterUnavailable(self.kind, "the module gave a document about something else")
        return Evidence(self.kind, {"document": document})

    def _ask(self, request: bytes) -> bytes:
        question = ctypes.create_string_buffer(request, len(request))
        answer = ctypes.create_string_buffer(RESPONSE_BYTES_MAX)
        iovecs = bytearray(
            _IOVECS.pack(ctypes.addressof(question), len(request), ctypes.addressof(answer), RESPONSE_BYTES_MAX)
        )
        try:
            descriptor = os.open(self.device, os.O_RDWR | os.O_CLOEXEC)
            try:
                self.ioctl(descriptor, IOCTL_RAW, iovecs)
            finally:
                os.close(descriptor)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "an unknown error")
            raise AttesterUnavailable(self.kind, f"{self.device} answered {name}") from None
        size = _IOVECS.unpack(iovecs)[3]
        if size > RESPONSE_BYTES_MAX:
            raise AttesterUnavailable(self.kind, "the module says that it wrote more than there is room for")
        return answer.raw[:size]

    def _document(self, response: bytes) -> bytes:
        """The document in ``{"Attestation": {"document": bytes}}``; the module's refusals are ``{"Error": text}``."""
        try:
            reader = Reader(response)
            inner = _only_key(reader)
            if inner == "Error":
                raise AttesterUnavailable(self.kind, f"the module refused: {reader.text(_TEXT_CHARACTERS_MAX)}")
            if inner != "Attestation" or _only_key(reader) != "document":
                raise AttesterUnavailable(self.kind, "the module answered another question")
            document = reader.bytes_(1, RESPONSE_BYTES_MAX)
            reader.end()
        except Refused:
            raise AttesterUnavailable(self.kind, "the module's answer is cut off, or not what it should be") from None
        return document


def _request(report_data: bytes) -> bytes:
    """``{"Attestation": {"user_data": report_data, "nonce": null, "public_key": null}}``."""
    fields = ((b"user_data", byte_string(report_data)), (b"nonce", _NULL), (b"public_key", _NULL))
    body = b"\xa3" + b"".join(_text(name) + value for name, value in fields)
    return b"\xa1" + _text(b"Attestation") + body


def _text(value: bytes) -> bytes:
    return bytes([0x60 | len(value)]) + value


def _only_key(reader: Reader) -> str:
    reader.count(MAP, 1, 1)
    return reader.text(_TEXT_CHARACTERS_MAX)
