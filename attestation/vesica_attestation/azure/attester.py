"""Evidence from inside an Azure confidential virtual machine: its paravisor's hardware report and its vTPM's quote.

The paravisor makes a new hardware report when NV index 0x01400001 is read, but no sooner than two seconds after the
one before; a read in between gives the old one. Its runtime claims repeat what stood in NV index 0x01400002 when the
report was made. So the index is written and read until the report repeats it. The user-data index is one for the
whole machine: another program that uses it at the same time costs a try, and a report that repeats something else is
never handed out.

Source: microsoft/openvmm, vm/devices/tpm (indices, handle, the two seconds); Microsoft, "Confidential VM Guest
Attestation Design Detail".
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from vesica_attestation._attesting import REPORT_DATA_BYTES, require_report_data
from vesica_attestation._tpm.commands import Tpm, TpmError
from vesica_attestation._tpm.device import opened
from vesica_attestation._tpm.quoting import ATTEMPTS_MAX, TPM, one_at_a_time, quote_at_rest, unusable
from vesica_attestation._tpm.signature import Scheme, parse_signature
from vesica_attestation.azure import imds
from vesica_attestation.azure.abi import HCL_BYTES_MAX, HclReport, parse_hcl, parse_runtime_claims
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.needs import Needs
from vesica_attestation.sev_snp.attester import as_der
from vesica_attestation.tdx.attester import Collateral, quote_evidence

REPORT_INDEX: Final = 0x01400001
USER_DATA_INDEX: Final = 0x01400002
ATTESTATION_KEY: Final = 0x81000003
RENEWAL_SECONDS: Final = 2.1
_SNP_REPORT_DATA: Final = slice(0x50, 0x90)
_TD_REPORT_DATA: Final = slice(128, 192)


@dataclass(frozen=True)
class AzureAttester:
    """Asks the vTPM.

    certificate: gives the VCEK's certificate (DER or PEM), given the SNP report; td_quote: gives the quote of a TD
    report. Both come from the host by default, over HTTP at a link-local address. collateral: as for ``TdxAttester``;
    of use on TDX only. sleep: waits between tries, in seconds. An attestation takes up to some seconds, and they come
    one after the other.
    """

    collateral: Collateral | None = None
    certificate: Callable[[bytes], bytes] = imds.vcek
    td_quote: Callable[[bytes], bytes] = imds.td_quote
    device: Path = TPM
    sleep: Callable[[float], None] = time.sleep
    kind: ClassVar[Kind] = Kind.AZURE

    @property
    def needs(self) -> Needs:
        """The TPM, and the host's link-local address (by its port: nothing here limits addresses)."""
        return Needs(devices=frozenset({self.device}), ports=frozenset({imds.PORT}))

    def probe(self) -> None:
        """Raises AttesterUnavailable if there is no TPM here, or one without Azure's report in it."""
        try:
            with opened(self.device) as exchange:
                size = Tpm(exchange, self.sleep).nv_size(REPORT_INDEX)
        except (OSError, TpmError) as error:
            raise unusable(self.kind, self.device, error) from None
        if size is None:
            raise AttesterUnavailable(self.kind, f"the TPM at {self.device} has no report of Azure's in it")

    def attest(self, report_data: bytes) -> Evidence:
        """A hardware report and a quote over ``report_data``, with what the hardware's vendor says of them.

        Raises AttesterUnavailable; ValueError for another length than 64 bytes.
        """
        require_report_data(report_data)
        try:
            with one_at_a_time, opened(self.device) as exchange:
                tpm = Tpm(exchange, self.sleep)
                raw, hcl = self._fresh_report(tpm, report_data)
                quote = quote_at_rest(self.kind, tpm, ATTESTATION_KEY, report_data)
        except (OSError, TpmError) as error:
            raise unusable(self.kind, self.device, error) from None
        parts: dict[str, bytes | tuple[bytes, ...]] = {
            "hcl_report": raw,
            "quote_message": quote.message,
            "quote_signature": self._rsassa(quote.signature),
            "pcrs": quote.pcrs,
        }
        return Evidence(self.kind, parts | self._endorsed(hcl))

    def _fresh_report(self, tpm: Tpm, report_data: bytes) -> tuple[bytes, HclReport]:
        if tpm.nv_size(USER_DATA_INDEX) is None:
            tpm.nv_define(USER_DATA_INDEX, REPORT_DATA_BYTES)
        why = ""
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                self.sleep(RENEWAL_SECONDS)
            tpm.nv_write(USER_DATA_INDEX, report_data)
            size = tpm.nv_size(REPORT_INDEX) or 0
            raw = tpm.nv_read(REPORT_INDEX, min(size, HCL_BYTES_MAX))
            try:
                hcl = parse_hcl(raw)
                user_data = parse_runtime_claims(hcl.variable_data).user_data
            except Refused as refusal:  # also what a report looks like that was renewed between two commands
                why = str(refusal)
                continue
            if user_data == report_data and _bound(hcl) == _binding(hcl):
                return raw, hcl
            why = "it is about something else"
        raise AttesterUnavailable(self.kind, f"no fresh hardware report in {ATTEMPTS_MAX} tries: {why}")

    def _rsassa(self, signature: bytes) -> bytes:
        """What is inside of a TPMT_SIGNATURE by a key like Azure's."""
        parsed = parse_signature(self.kind, signature)
        if parsed.scheme is not Scheme.RSASSA:
            raise AttesterUnavailable(self.kind, f"the key at 0x{ATTESTATION_KEY:x} signs otherwise than by RSASSA")
        return parsed.value

    def _endorsed(self, hcl: HclReport) -> dict[str, bytes | tuple[bytes, ...]]:
        """What AMD or Intel says of the hardware report."""
        if hcl.hardware is Kind.SEV_SNP:
            return {"certificates": (as_der(self.certificate(hcl.report), self.kind),)}
        parts = quote_evidence(self.td_quote(hcl.report), _binding(hcl), self.collateral).parts
        return {"td_quote": parts["quote"], "collateral": parts["collateral"]}


def _bound(hcl: HclReport) -> bytes:
    """Report data of the hardware report."""
    return hcl.report[_SNP_REPORT_DATA if hcl.hardware is Kind.SEV_SNP else _TD_REPORT_DATA]


def _binding(hcl: HclReport) -> bytes:
    """What it must be: the SHA-256 of the runtime claims, and zeros."""
    return hashlib.sha256(hcl.variable_data).digest().ljust(REPORT_DATA_BYTES, b"\0")
