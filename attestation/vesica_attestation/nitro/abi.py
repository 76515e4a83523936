"""The attestation document of AWS Nitro Enclaves: an untagged COSE_Sign1, taken apart. Nothing here is trusted yet.

Source: aws-nitro-enclaves-nsm-api, docs/attestation_process.md, sections 2.2, 3.1 and 3.2.2; RFC 9052 section 4.2.

Two things that documents really do, against that text: optional fields that were not asked for are null, not left
out; and the payload's map is of definite or of indefinite length. Both are accepted. PCRs are 48 bytes and no other
length, because "SHA384" is the only digest there is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind
from vesica_attestation.nitro._cbor import ARRAY, MAP, UINT, Reader

PROTECTED: Final = bytes.fromhex("a1013822")  # {1: -35}: the algorithm is ES384, and nothing else is said
SIGNATURE_BYTES: Final = 96
PCR_BYTES: Final = 48
PCR_COUNT_MAX: Final = 32
IMAGE_PCRS: Final = (0, 1, 2)  # the image; the kernel and its boot files; the application
PAYLOAD_BYTES_MAX: Final = 16384
CERTIFICATE_BYTES_MAX: Final = 1024
BUNDLE_CERTIFICATES_MAX: Final = 7
USER_BYTES_MAX: Final = 1024
TEXT_BYTES_MAX: Final = 128
TIMESTAMP_MS_MAX: Final = 253_402_300_799_999  # the end of the year 9999: the last that a datetime can say
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Payload:
    """The fields of a document.

    module_id: of the NSM, which names instance and enclave. timestamp: when it was made, to the millisecond. pcrs: by
    index, 48 bytes each. certificate: DER, of the key that signed. cabundle: DER, root first. The last three are what
    the enclave asked to have signed, None where it did not ask.
    """

    module_id: str
    digest: str
    timestamp: datetime
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None = None
    user_data: bytes | None = None
    nonce: bytes | None = None


@dataclass(frozen=True)
class Document:
    """A document, not yet authenticated. signed: the payload's bytes. signature: r and s, big-endian, 48 bytes each."""

    signed: bytes
    signature: bytes
    payload: Payload


def parse(data: bytes) -> Document:
    """Takes a document apart.

    Raises Refused (check "format", "algorithm" or "trailing-bytes") for any bytes that are not exactly one document.
    """
    reader = Reader(data)
    reader.count(ARRAY, 4, 4)
    if reader.bytes_(0, TEXT_BYTES_MAX) != PROTECTED:
        raise Refused(Kind.NITRO, "algorithm", "the protected header is not exactly ES384")
    reader.count(MAP, 0, 0)
    signed = reader.bytes_(1, PAYLOAD_BYTES_MAX)
    signature = reader.bytes_(SIGNATURE_BYTES, SIGNATURE_BYTES)
    reader.end()
    return Document(signed, signature, parse_payload(signed))


def parse_payload(data: bytes) -> Payload:
    """Takes a payload apart: every field once, none unknown, in any order.

    Raises Refused (check "format" or "trailing-bytes").
    """
    reader = Reader(data)
    fields: dict[str, Any] = {}
    for _ in reader.entries(len(_FIELDS)):
        name = reader.text(TEXT_BYTES_MAX)
        if name in fields or name not in _FIELDS:
            raise _malformed("a field that is there twice, or that no document has")
        fields[name] = _FIELDS[name](reader)
    reader.end()
    if not fields.keys() >= _REQUIRED:
        raise _malformed("a field is missing")
    return Payload(**fields)


def _digest(reader: Reader) -> str:
    name = reader.text(TEXT_BYTES_MAX)
    if name != "SHA384":
        raise _malformed("its digest is not SHA384")
    return name


def _timestamp(reader: Reader) -> datetime:
    milliseconds = reader.head(UINT)
    if not 0 < milliseconds <= TIMESTAMP_MS_MAX:
        raise _malformed("a timestamp out of bounds")
    return _EPOCH + timedelta(milliseconds=milliseconds)


def _pcrs(reader: Reader) -> dict[int, bytes]:
    pcrs: dict[int, bytes] = {}
    for _ in range(reader.count(MAP, 1, PCR_COUNT_MAX)):
        index = reader.head(UINT)
        if index in pcrs or index >= PCR_COUNT_MAX:
            raise _malformed("a PCR that is there twice, or that no document has")
        pcrs[index] = reader.bytes_(PCR_BYTES, PCR_BYTES)
    if not pcrs.keys() >= set(IMAGE_PCRS):
        raise _malformed("PCR0, PCR1 or PCR2 is missing")
    return pcrs


def _certificate(reader: Reader) -> bytes:
    return reader.bytes_(1, CERTIFICATE_BYTES_MAX)


def _cabundle(reader: Reader) -> tuple[bytes, ...]:
    return tuple(_certificate(reader) for _ in range(reader.count(ARRAY, 1, BUNDLE_CERTIFICATES_MAX)))


def _optional(reader: Reader) -> bytes | None:
    return None if reader.null() else reader.bytes_(0, USER_BYTES_MAX)


def _module_id(reader: Reader) -> str:
    return reader.text(TEXT_BYTES_MAX)


_FIELDS: Final[Mapping[str, Callable[[Reader], object]]] = {
    "module_id": _module_id,
    "digest": _digest,
    "timestamp": _timestamp,
    "pcrs": _pcrs,
    "certificate": _certificate,
    "cabundle": _cabundle,
    "public_key": _optional,
    "user_data": _optional,
    "nonce": _optional,
}
_REQUIRED: Final = _FIELDS.keys() - {"public_key", "user_data", "nonce"}


def _malformed(why: str) -> Refused:
    return Refused(Kind.NITRO, "format", f"not a Nitro document: {why}")
