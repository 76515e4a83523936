"""Whether a quote is Intel's word: signatures, certificates and collateral at a stated time. No policy is applied here.

Two verifiers must agree: ours (``check_signatures``, on cryptography) and dcap-qvl, which also judges TCB level and
revocation. Claims are our own reading of the signed bytes, compared with dcap-qvl's. No socket is opened and no clock
is read.
"""

import hashlib
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind
from vesica_attestation.tdx.abi import TEE_TYPE_TDX, QeReport, Quote, TdReport, parse_quote
from vesica_attestation.tdx.collateral import Judgement, judge, read_collateral
from vesica_attestation.tdx.dstack import DstackClaims
from vesica_attestation.tdx.pck import INTEL_SGX_ROOT, Pck, verify_chain

# Intel's signer of its TD quoting enclave, and the product: "mrsigner" and "isvprodid" of Intel's TD_QE identity (PCS
# API v4, tdx/certification/v4/qe/identity). A PCK may certify any enclave that a machine's owner lets near it, so
# this must be checked even where no collateral is at hand.
QE_MRSIGNER: Final = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
_QE_PRODUCT: Final = 2
_SGX_DEBUG: Final = 1 << 1  # SGX ATTRIBUTES.DEBUG (Intel SDM volume 3D, section "ATTRIBUTES")
_BOUND_BYTES: Final = 32

# Our names of a TD report's fields, and dcap-qvl's.
_NAMES: Final = {
    "tee_tcb_svn": "tee_tcb_svn",
    "mrseam": "mr_seam",
    "mrsignerseam": "mr_signer_seam",
    "seamattributes": "seam_attributes",
    "tdattributes": "td_attributes",
    "xfam": "xfam",
    "mrtd": "mr_td",
    "mrconfigid": "mr_config_id",
    "mrowner": "mr_owner",
    "mrownerconfig": "mr_owner_config",
    "report_data": "report_data",
    "tee_tcb_svn2": "tee_tcb_svn2",
    "mrservicetd": "mr_service_td",
}


@dataclass(frozen=True)
class SignedQuote:
    """A quote whose signatures hold up to the pinned Intel root. Its TCB level and revocation have not been judged."""

    quote: Quote
    pck: Pck


@dataclass(frozen=True)
class TdxClaims:
    """What an authentic quote and its collateral say. To be appraised: nothing here was compared with a policy.

    tcb_status: Intel's word for platform and quoting enclave together, such as "UpToDate". tcb_evaluation_number: the
    lower of those of TCB info and enclave identity. collateral_issued_at: the earlier of their dates. ppid: names the
    machine. dstack: what an event log proved, if there was one (``dstack.replay``).
    """

    quote_version: int
    report: TdReport
    fmspc: bytes
    ppid: bytes
    tcb_status: str
    platform_tcb_status: str
    qe_tcb_status: str
    qe_isvsvn: int
    advisory_ids: tuple[str, ...]
    tcb_evaluation_number: int
    collateral_issued_at: datetime
    dstack: DstackClaims | None = None


def authenticate(quote: bytes, collateral: bytes, at: datetime) -> TdxClaims:
    """Authenticates a quote with its collateral at a time.

    Debug, profiled and migratable TDs, TDs with a service TD, and TDs whose host may inject exceptions
    (SEPT_VE_DISABLE = 0) end here: dcap-qvl refuses them whatever a policy says.

    Raises Refused, naming the check: those of ``abi.parse_quote``, ``check_signatures``,
    ``collateral.read_collateral`` and ``collateral.judge``; "debug"; "disagreement" where the two verifiers read the
    quote differently.
    """
    signed = check_signatures(quote, at)
    report = signed.quote.report
    if report.tdattributes[0]:  # the group TUD: "TD under debug", DEBUG and three ways of profiling
        raise Refused(Kind.TDX, "debug", "a TD under debug: its host may read its memory")
    judgement = judge(quote, read_collateral(collateral), INTEL_SGX_ROOT, at)
    _must_agree(signed, judgement)
    return TdxClaims(
        quote_version=signed.quote.version,
        report=report,
        fmspc=signed.pck.fmspc,
        ppid=signed.pck.ppid,
        tcb_status=judgement.status,
        platform_tcb_status=judgement.platform_status,
        qe_tcb_status=judgement.qe_status,
        qe_isvsvn=signed.quote.qe_report.isvsvn,
        advisory_ids=judgement.advisory_ids,
        tcb_evaluation_number=judgement.evaluation_number,
        collateral_issued_at=judgement.issued_at,
    )


def check_signatures(quote: bytes, at: datetime) -> SignedQuote:
    """Checks signatures and certificates only: PCK chain to the pinned root, quoting enclave, attestation key, quote.

    Not enough to trust a quote: without collateral nobody knows whether the platform is out of date or revoked.
    ValueError for a time without a zone: a bug.

    Raises Refused: those of ``abi.parse_quote`` and ``pck.verify_chain``; "qe-signature", "qe-identity",
    "attestation-key" and "signature" for the four links below.
    """
    if at.tzinfo is None:
        raise ValueError("a time zone is needed")
    parsed = parse_quote(quote)
    pck = verify_chain(parsed.pck_chain, INTEL_SGX_ROOT, at)
    if not _verifies(pck.key, parsed.qe_report_signature, parsed.qe_report.raw):
        raise Refused(Kind.TDX, "qe-signature", "the PCK did not sign the quoting enclave's report")
    _must_be_intels(parsed.qe_report)
    bound = hashlib.sha256(parsed.attestation_key + parsed.qe_authentication_data).digest()
    if parsed.qe_report.report_data != bound + bytes(_BOUND_BYTES):
        raise Refused(Kind.TDX, "attestation-key", "the quoting enclave's report does not bind the attestation key")
    if not _verifies(_attestation_key(parsed.attestation_key), parsed.signature, parsed.signed):
        raise Refused(Kind.TDX, "signature", "the attestation key did not sign the quote")
    return SignedQuote(parsed, pck)


def _must_be_intels(report: QeReport) -> None:
    if report.mrsigner != QE_MRSIGNER or report.isvprodid != _QE_PRODUCT:
        raise Refused(Kind.TDX, "qe-identity", "the quoting enclave is not Intel's TD quoting enclave")
    if report.attributes[0] & _SGX_DEBUG:
        raise Refused(Kind.TDX, "qe-identity", "the quoting enclave is under debug")


def _attestation_key(point: bytes) -> ec.EllipticCurvePublicKey:
    x, y = (int.from_bytes(half, "big") for half in (point[:32], point[32:]))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        raise Refused(Kind.TDX, "attestation-key", "the attestation key is not a point of P-256") from None


def _verifies(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """Whether a signature (r and s, 32 bytes each, big-endian) is the key's, ECDSA with SHA-256."""
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _must_agree(signed: SignedQuote, judgement: Judgement) -> None:
    """Refuses a quote that dcap-qvl read in another way than we did: one of the two is wrong about what was signed."""
    report = signed.quote.report
    ours = {
        _NAMES[item.name]: value.hex()
        for item in fields(report)
        if item.name in _NAMES and (value := getattr(report, item.name)) is not None
    }
    ours |= {f"rt_mr{number}": value.hex() for number, value in enumerate(report.rtmrs)}
    identity = (TEE_TYPE_TDX, signed.quote.version, signed.pck.ppid, signed.pck.fmspc)
    theirs = (judgement.tee_type, judgement.quote_version, judgement.ppid, judgement.fmspc)
    if ours != dict(judgement.report) or identity != theirs:
        raise Refused(Kind.TDX, "disagreement", "two verifiers read this quote differently")
