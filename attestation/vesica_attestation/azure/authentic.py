"""Authenticity of Azure evidence: from the hardware's vendor, over the paravisor's claims, to the vTPM's quote.

Each layer is read only after the one before it: the hardware report is the vendor's; its report data is the SHA-256
of the runtime claims; they name the attestation key; it signed the quote; the quote's digest is that of the PCR
values.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from vesica_attestation._tpm.quote import TpmQuote, parse_quote, require_pcrs
from vesica_attestation._tpm.signature import Scheme, Signature, require_signed
from vesica_attestation.azure.abi import KIND, HclReport, RuntimeClaims, parse_hcl, parse_runtime_claims
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.sev_snp.authentic import SnpClaims
from vesica_attestation.sev_snp.authentic import authenticate as authenticate_snp
from vesica_attestation.tdx.authentic import TdxClaims
from vesica_attestation.tdx.authentic import authenticate as authenticate_tdx

REPORT_DATA_BYTES: Final = 64
_EXPONENT: Final = 65537
_HIGHEST_PRIVILEGE: Final = 0
_LAYERS: Final = ("hcl_report", "quote_message", "quote_signature", "pcrs")


@dataclass(frozen=True)
class AzureClaims:
    """Evidence whose every layer vouches for the next, not appraised.

    hardware: the vendor's claims about the paravisor. hardware_report_data: what they are bound to, which is the
    runtime claims. pcrs: 24 values of the SHA-256 bank.
    """

    hardware: SnpClaims | TdxClaims
    hardware_report_data: bytes
    runtime: RuntimeClaims
    quote: TpmQuote
    pcrs: tuple[bytes, ...]


def authenticate(evidence: Evidence, at: datetime) -> AzureClaims:
    """What the evidence says, once every layer is shown to be genuine. at: the time to verify at, with a time zone.

    Raises Refused: the checks of the parsers and of the hardware's kind, which is then named in ``kind``; and "vmpl",
    "runtime-claims", "tpm-signature", "pcr-digest".
    """
    hcl = parse_hcl(evidence.part("hcl_report"))
    hardware = _hardware(evidence, hcl, at)
    # SHA-256 fills half of the field; the paravisor leaves the rest zero.
    hardware_report_data = hashlib.sha256(hcl.variable_data).digest().ljust(REPORT_DATA_BYTES, b"\0")
    if hardware.report.report_data != hardware_report_data:
        raise Refused(KIND, "runtime-claims", "the hardware report is not bound to these runtime claims")
    runtime = parse_runtime_claims(hcl.variable_data)
    quote = parse_quote(KIND, evidence.part("quote_message"))
    signature = Signature(Scheme.RSASSA, evidence.part("quote_signature"))
    require_signed(KIND, _attestation_key(runtime), signature, quote.signed)
    pcrs = evidence.many("pcrs")
    require_pcrs(KIND, pcrs, quote)
    return AzureClaims(hardware, hardware_report_data, runtime, quote, pcrs)


def _hardware(evidence: Evidence, hcl: HclReport, at: datetime) -> SnpClaims | TdxClaims:
    if hcl.hardware is Kind.TDX:
        # The TD report in the HCL report is for the quoting enclave's eyes; outside, the quote made from it stands
        # for it.
        evidence.only(*_LAYERS, "td_quote", "collateral")
        return authenticate_tdx(evidence.part("td_quote"), evidence.part("collateral"), at)
    evidence.only(*_LAYERS, "certificates")
    claims = authenticate_snp(hcl.report, evidence.many("certificates"), at)
    # Below the paravisor, the guest itself could ask for a report, over runtime claims and a key of its own making.
    if claims.report.vmpl != _HIGHEST_PRIVILEGE:
        raise Refused(KIND, "vmpl", "asked for by the guest, not by the paravisor that keeps the vTPM")
    return claims


def _attestation_key(runtime: RuntimeClaims) -> rsa.RSAPublicKey:
    try:
        return rsa.RSAPublicNumbers(_EXPONENT, runtime.modulus).public_key()
    except ValueError:
        raise Refused(KIND, "attestation-key", "not a modulus of RSA") from None
