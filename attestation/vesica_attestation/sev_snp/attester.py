"""Evidence from inside an SEV-SNP guest: a report through configfs-tsm, and the certificate of the key that signed it.

Source of the certificate table: AMD, "SEV-ES Guest-Hypervisor Communication Block Standardization", document 56421,
revision 2.03, section 4.1.8.1. It leaves two things open that hosts have settled: GUIDs stand in the order of RFC
4122, as AMD's own tool writes them, and certificates are DER, or PEM where the host's operator imported PEM.
"""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final
from uuid import UUID

from vesica_attestation import _configfs_tsm
from vesica_attestation._attesting import require_report_data
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.needs import Needs
from vesica_attestation.sev_snp.abi import SigningKey, parse_report

PROVIDER: Final = "sev_guest"
GUIDS: Final = {
    SigningKey.VCEK: UUID("63da758d-e664-4564-adc5-f4b93be8accd").bytes,
    SigningKey.VLEK: UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1").bytes,
}
_ENTRY_BYTES: Final = 24
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class SevSnpAttester:
    """Asks the AMD secure processor, through the kernel.

    certificate: gives the certificate (DER or PEM) of the VCEK or VLEK behind a report, given the report. None: the
    host's table is taken, which many hosts leave empty; AMD's key server has the certificate for each chip and
    firmware, and a room without a network has no way there, so its operator hands it in. Nobody need trust the
    operator for that: AMD signed it. privlevel: VMPL to ask for; None: the guest's own. sleep: waits between tries,
    in seconds.
    """

    certificate: Callable[[bytes], bytes] | None = None
    privlevel: int | None = None
    place: Path = _configfs_tsm.TSM_REPORTS
    sleep: Callable[[float], None] = time.sleep
    kind: ClassVar[Kind] = Kind.SEV_SNP

    @property
    def needs(self) -> Needs:
        """An entry of configfs-tsm for each report, or the broker."""
        return _configfs_tsm.needs(self.place)

    def probe(self) -> None:
        """Raises AttesterUnavailable if configfs-tsm does not speak for SEV-SNP here."""
        _configfs_tsm.require_provider(self.place, self.kind, PROVIDER)

    def attest(self, report_data: bytes) -> Evidence:
        """A report over ``report_data``, and one certificate: the others are in every verifier.

        Raises AttesterUnavailable; ValueError for another length than 64 bytes.
        """
        require_report_data(report_data)
        found = _configfs_tsm.read_report(
            self.place, self.kind, PROVIDER, report_data, levelled=True, privlevel=self.privlevel, sleep=self.sleep
        )
        try:
            report = parse_report(found.outblob)
        except Refused as refusal:
            raise AttesterUnavailable(
                self.kind, f"the kernel gave a report that no verifier reads: {refusal}"
            ) from None
        if report.report_data != report_data:
            raise AttesterUnavailable(self.kind, "the kernel gave a report about something else")
        certificate = self._certificate(found, report.signing_key)
        return Evidence(self.kind, {"report": found.outblob, "certificates": (certificate,)})

    def _certificate(self, found: _configfs_tsm.TsmReport, signing_key: SigningKey) -> bytes:
        if self.certificate is not None:
            return as_der(self.certificate(found.outblob), self.kind)
        certificate = certificate_table(found.auxblob, self.kind).get(GUIDS[signing_key])
        if certificate is None:
            raise AttesterUnavailable(
                self.kind, f"the host hands out no {signing_key} certificate, and none was handed in"
            )
        return as_der(certificate, self.kind)


def certificate_table(auxblob: bytes, kind: Kind) -> dict[bytes, bytes]:
    """Certificates by GUID. A host that hands out none gives an empty table, or nothing.

    Raises AttesterUnavailable for a table that names a GUID twice, points outside itself or does not end.
    """
    table: dict[bytes, bytes] = {}
    for start in range(0, len(auxblob), _ENTRY_BYTES):
        entry = auxblob[start : start + _ENTRY_BYTES]
        if not any(entry):
            return table
        guid = entry[:16]
        offset, size = (int.from_bytes(entry[at : at + 4], "little") for at in (16, 20))
        certificate = auxblob[offset : offset + size]
        if len(entry) != _ENTRY_BYTES or len(certificate) != size or guid in table:
            raise AttesterUnavailable(kind, "the host's certificate table is broken")
        if certificate:
            table[guid] = certificate
    if auxblob:
        raise AttesterUnavailable(kind, "the host's certificate table has no end")
    return table


def as_der(certificate: bytes, kind: Kind) -> bytes:
    """One certificate in DER, given in DER or PEM.

    Raises AttesterUnavailable for PEM that cannot be read, or that is a chain. The DER is for the verifier to judge.
    """
    if not certificate.lstrip().startswith(_PEM):
        return certificate
    try:
        if certificate.count(_PEM) == 1:
            return ssl.PEM_cert_to_DER_cert(certificate.decode("ascii").strip())
    except ValueError:
        pass
    raise AttesterUnavailable(kind, "what should be one certificate in PEM is not")
