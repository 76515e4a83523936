"""Real evidence, and drivers that give it out, for the tests of attesters."""

import errno
import ssl
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from support.tsm import Provider

EVIDENCE = Path(__file__).parents[1] / "data" / "evidence"
VCEK = UUID("63da758d-e664-4564-adc5-f4b93be8accd").bytes
VLEK = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1").bytes
ARK = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae").bytes
TDX_AT = datetime(2025, 6, 25, tzinfo=UTC)
TDX = EVIDENCE / "tdx"


def snp(name: str) -> tuple[bytes, bytes]:
    """A real report and the certificate (DER) of the key that signed it."""
    folder = EVIDENCE / "sev-snp" / name
    report = (folder / "report.bin").read_bytes()
    for certificate in (folder / "vcek.der", folder / "vlek.der"):
        if certificate.exists():
            return report, certificate.read_bytes()
    return report, ssl.PEM_cert_to_DER_cert((folder / "vcek.pem").read_text())


def snp_report_data(report: bytes) -> bytes:
    return report[0x50:0x90]


def quote(name: str) -> bytes:
    """A real TDX quote."""
    return (TDX / name / "quote.bin").read_bytes()


def quote_report_data(value: bytes) -> bytes:
    """Of a quote of version 4."""
    return value[568:632]


def collateral(_quote: bytes) -> bytes:
    return (TDX / "v4-uptodate" / "collateral.json").read_bytes()


def table(certificates: Mapping[bytes, bytes]) -> bytes:
    """A host's certificate table, with an entry of zeros at its end."""
    at = 24 * (len(certificates) + 1)
    entries = body = b""
    for guid, certificate in certificates.items():
        entries += guid + struct.pack("<II", at + len(body), len(certificate))
        body += certificate
    return entries + bytes(24) + body


def _only_for(report_data: bytes, answer: tuple[bytes, bytes]) -> Callable[[bytes, int], tuple[bytes, bytes]]:
    def report(inblob: bytes, privlevel: int) -> tuple[bytes, bytes]:
        if inblob != report_data:
            raise OSError(errno.EIO, "this report was made for other report data")
        return answer

    return report


def snp_driver(name: str, auxblob: bytes | None = None, floor: int = 0) -> Provider:
    """sev_guest, on a machine that made a real report. auxblob: None: the right certificate."""
    report, certificate = snp(name)
    guid = VLEK if "vlek" in name else VCEK
    aux = table({ARK: b"ignored", guid: certificate}) if auxblob is None else auxblob
    return Provider("sev_guest", _only_for(snp_report_data(report), (report, aux)), levelled=True, floor=floor)


def tdx_driver(name: str) -> Provider:
    """tdx_guest, on a machine that made a real quote."""
    value = quote(name)
    return Provider("tdx_guest", _only_for(quote_report_data(value), (value, b"")), levelled=False)


def unsigned_snp_driver() -> Provider:
    """sev_guest that makes a report over any report data, which nobody signed."""
    template, certificate = snp("genoa-v5")

    def report(inblob: bytes, privlevel: int) -> tuple[bytes, bytes]:
        return template[:0x50] + inblob.ljust(64, b"\0") + template[0x90:], table({VCEK: certificate})

    return Provider("sev_guest", report, levelled=True)
