"""The layout of a TDX quote, versions 4 and 5, read strictly. Pure: nothing here is trusted or judged yet.

Source: Intel TDX DCAP Quoting Library API (2024), appendix A.3 (quote version 4) and A.4 (quote version 5, TD report
1.0 and 1.5); all integers are little-endian. SGX enclave report: Intel SDM volume 3D, section "REPORT". Of the many
forms that the formats allow, one is accepted: ECDSA P-256 (key type 2), Intel's quoting enclave, and a PCK chain in
PEM (types 6 and 5).
"""

from dataclasses import dataclass
from typing import Final

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

QUOTE_BYTES_MAX: Final = 16 * 2**10
TEE_TYPE_TDX: Final = 0x81
QE_VENDOR_INTEL: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

_KEY_TYPE_ECDSA_P256: Final = 2
_BODY_TD_10: Final = 2
_BODY_TD_15: Final = 3
_TD_10_BYTES: Final = 584
_TD_15_BYTES: Final = 648
_CERTIFICATION_QE_REPORT: Final = 6
_CERTIFICATION_PCK_CHAIN: Final = 5
_QE_REPORT_BYTES: Final = 384


@dataclass(frozen=True)
class TdReport:
    """What the TDX module says of a TD. The last two are of TD report 1.5 only.

    mrtd: SHA-384 over the memory at launch. rtmrs: four registers that grow at run time. tdattributes, xfam,
    seamattributes: 8 bytes, little-endian bit fields. tee_tcb_svn: 16 security version numbers; [0] and [1] are the
    TDX module's.
    """

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seamattributes: bytes
    tdattributes: bytes
    xfam: bytes
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    tee_tcb_svn2: bytes | None
    mrservicetd: bytes | None


@dataclass(frozen=True)
class QeReport:
    """The quoting enclave's SGX report, as far as it is judged. raw: the 384 bytes that the PCK key signs."""

    raw: bytes
    attributes: bytes
    mrsigner: bytes
    isvprodid: int
    isvsvn: int
    report_data: bytes


@dataclass(frozen=True)
class Quote:
    """One quote, taken apart. signed: the bytes under ``signature`` (header and body). Signatures are r and s, 32
    bytes each.

    attestation_key: x and y of a P-256 point, not yet known to be one. pck_chain: PEM text, not yet read.
    """

    version: int
    user_data: bytes
    report: TdReport
    signed: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: QeReport
    qe_report_signature: bytes
    qe_authentication_data: bytes
    pck_chain: bytes


class _Reader:
    """Bytes taken from the front, in order. Raises Refused (check "format") where there are too few."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if size > len(self._data) - self.at:
            raise Refused(Kind.TDX, "format", "the quote ends too early")
        self.at += size
        return self._data[self.at - size : self.at]

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def rest(self) -> bytes:
        return self.take(len(self._data) - self.at)

    def nothing_left(self) -> None:
        if self.at != len(self._data):
            raise Refused(Kind.TDX, "format", "a length in the quote does not fit what it holds")


def parse_quote(data: bytes) -> Quote:
    """A quote from its bytes. Zeros may follow the signature data: configfs-tsm on some clouds gives a fixed size.

    Raises Refused: "format" for lengths that do not fit, "tee-type" for an SGX quote, "version", "key-type",
    "qe-vendor", "body-type" and "certification-type" for a form that is not accepted, "trailing-bytes" for anything
    but zeros at the end.
    """
    if len(data) > QUOTE_BYTES_MAX:
        raise Refused(Kind.TDX, "format", f"a quote of more than {QUOTE_BYTES_MAX} bytes")
    reader = _Reader(data)
    version, user_data = _header(reader)
    report = parse_td_report(reader.take(_body_bytes(reader, version)))
    signed = data[: reader.at]
    signature_data = _Reader(reader.take(reader.integer(4)))
    if any(reader.rest()):
        raise Refused(Kind.TDX, "trailing-bytes", "bytes after the signature data that are not zero")
    signature = signature_data.take(64)
    attestation_key = signature_data.take(64)
    certification = _certification(signature_data, _CERTIFICATION_QE_REPORT)
    qe_report = _qe_report(certification.take(_QE_REPORT_BYTES))
    qe_report_signature = certification.take(64)
    qe_authentication_data = certification.take(certification.integer(2))
    pck_chain = _certification(certification, _CERTIFICATION_PCK_CHAIN).rest()
    return Quote(
        version, user_data, report, signed, signature, attestation_key,
        qe_report, qe_report_signature, qe_authentication_data, pck_chain,
    )  # fmt: skip


def _header(reader: _Reader) -> tuple[int, bytes]:
    """Version and user data (of which the first 16 bytes name the platform's quoting enclave) of the 48-byte header."""
    version, key_type, tee_type = reader.integer(2), reader.integer(2), reader.integer(4)
    if tee_type != TEE_TYPE_TDX:
        raise Refused(Kind.TDX, "tee-type", f"not a TDX quote: its TEE type is {tee_type:#x}")
    if version not in {4, 5}:
        raise Refused(Kind.TDX, "version", f"quote version {version}; 4 and 5 are known")
    if key_type != _KEY_TYPE_ECDSA_P256:
        raise Refused(Kind.TDX, "key-type", f"attestation key type {key_type}; 2, ECDSA P-256, is known")
    if any(reader.take(4)):
        raise Refused(Kind.TDX, "format", "reserved bytes of the header that are not zero")
    if reader.take(16) != QE_VENDOR_INTEL:
        raise Refused(Kind.TDX, "qe-vendor", "a quoting enclave that is not Intel's")
    return version, reader.take(20)


def _body_bytes(reader: _Reader, version: int) -> int:
    """Size of the body: fixed in version 4, described in version 5."""
    if version == 4:  # noqa: PLR2004 (the version is named in the line)
        return _TD_10_BYTES
    body_type, size = reader.integer(2), reader.integer(4)
    if (body_type, size) not in {(_BODY_TD_10, _TD_10_BYTES), (_BODY_TD_15, _TD_15_BYTES)}:
        raise Refused(Kind.TDX, "body-type", f"body type {body_type} of {size} bytes; TD reports 1.0 and 1.5 are known")
    return size


def parse_td_report(data: bytes) -> TdReport:
    """A TD report body of 584 bytes (1.0) or 648 (1.5).

    Raises Refused (check "format") for another length.
    """
    if len(data) not in {_TD_10_BYTES, _TD_15_BYTES}:
        raise Refused(Kind.TDX, "format", "a TD report of another length")
    reader = _Reader(data)
    take = reader.take
    return TdReport(
        tee_tcb_svn=take(16), mrseam=take(48), mrsignerseam=take(48), seamattributes=take(8),
        tdattributes=take(8), xfam=take(8), mrtd=take(48),
        mrconfigid=take(48), mrowner=take(48), mrownerconfig=take(48),
        rtmrs=(take(48), take(48), take(48), take(48)), report_data=take(64),
        tee_tcb_svn2=take(16) if len(data) == _TD_15_BYTES else None,
        mrservicetd=take(48) if len(data) == _TD_15_BYTES else None,
    )  # fmt: skip


def _certification(reader: _Reader, kind: int) -> _Reader:
    """Certification data of the one type that may stand here, which must be the last thing in what holds it."""
    found = reader.integer(2)
    if found != kind:
        raise Refused(Kind.TDX, "certification-type", f"certification data of type {found} where {kind} is accepted")
    inside = _Reader(reader.take(reader.integer(4)))
    reader.nothing_left()
    return inside


def _qe_report(raw: bytes) -> QeReport:
    return QeReport(
        raw=raw,
        attributes=raw[48:64],
        mrsigner=raw[128:160],
        isvprodid=int.from_bytes(raw[256:258], "little"),
        isvsvn=int.from_bytes(raw[258:260], "little"),
        report_data=raw[320:384],
    )
