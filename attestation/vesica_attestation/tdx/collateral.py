"""Intel's collateral for a quote: TCB levels, quoting enclave identity, revocation lists; and the judgement of
dcap-qvl on it.

Collateral comes with the evidence, from whoever wants to be believed. All of it is signed by Intel and has an end
date, so the worst that its bearer can do is to choose older collateral that has not ended: a policy bounds that by
age and by evaluation number. Source: Intel SGX and TDX Provisioning Certification Service API, version 4.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import dcap_qvl  # type: ignore[import-untyped]  # it has stubs, but no py.typed
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind
from vesica_attestation.tdx.jsontext import read_json

COLLATERAL_BYTES_MAX: Final = 128 * 2**10
_TEXTS: Final = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "tcb_info", "qe_identity_issuer_chain", "qe_identity")
_BYTES: Final = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII | re.IGNORECASE)

# What dcap-qvl 0.7.0 says when it refuses, by a part of the message, and the check that stands for it here. Its
# messages may quote the evidence, so they are never passed on. What is not in the list is "collateral": refused all
# the same.
_MESSAGES: Final = {
    "is enabled": "tdattributes",
    "is not enabled": "tdattributes",
    "Reserved bits in TD attributes": "tdattributes",
    "Invalid MR service TD": "service-td",
    "Fmspc mismatch": "fmspc",
    "xpired": "validity",
    "NotValidYet": "validity",
    "in the future": "validity",
    "evoked": "revoked",
    "No matching TCB level": "tcb",
    "TDX module ISVSVN": "tcb",
    "No TDX module identity": "tcb",
}


@dataclass(frozen=True)
class Judgement:
    """What dcap-qvl found, after it verified all signatures. Not yet compared with our own reading of the quote.

    status: of platform and quoting enclave together. evaluation_number: the lower of the two
    tcbEvaluationDataNumbers. issued_at: the earlier of the dates at which Intel issued TCB info and enclave identity.
    report: fields by dcap-qvl's names.
    """

    status: str
    platform_status: str
    qe_status: str
    advisory_ids: tuple[str, ...]
    evaluation_number: int
    issued_at: datetime
    ppid: bytes
    fmspc: bytes
    tee_type: int
    quote_version: int
    report: Mapping[str, str]


def read_collateral(text: bytes) -> dcap_qvl.QuoteCollateralV3:
    """Collateral from JSON: an object with the nine texts of QuoteCollateralV3, signatures and CRLs in hex, nothing
    else.

    Raises Refused (check "format"). In particular a PCK chain in the collateral, which dcap-qvl would take, is
    refused: the chain is the quote's own.
    """
    if len(text) > COLLATERAL_BYTES_MAX:
        raise Refused(Kind.TDX, "format", f"collateral of more than {COLLATERAL_BYTES_MAX} bytes")
    document = read_json(text, "collateral")
    if not isinstance(document, dict) or set(document) != {*_TEXTS, *_BYTES}:
        raise Refused(Kind.TDX, "format", "collateral without the nine fields of QuoteCollateralV3, or with others")
    fields: dict[str, str] = {}
    for name, value in document.items():
        if not isinstance(value, str) or not value.isascii():
            raise Refused(Kind.TDX, "format", f"{name} in the collateral is not ASCII text")
        if name in _BYTES and _HEX.fullmatch(value) is None:
            raise Refused(Kind.TDX, "format", f"{name} in the collateral is not hex")
        fields[name] = value
    return dcap_qvl.QuoteCollateralV3(
        **{name: fields[name] for name in _TEXTS}, **{name: bytes.fromhex(fields[name]) for name in _BYTES}
    )


def judge(quote: bytes, collateral: dcap_qvl.QuoteCollateralV3, root: x509.Certificate, at: datetime) -> Judgement:
    """Has dcap-qvl verify a quote with its collateral at a time, under our root rather than its own copy.

    Raises Refused, with the check that dcap-qvl's refusal stands for.
    """
    now, anchor = int(at.timestamp()), root.public_bytes(Encoding.DER)
    # Which statuses are good enough is for the policy to say: dcap-qvl refuses only what no policy may allow.
    lenient = dcap_qvl.QuotePolicy.claims_only(now)
    try:
        summary = dcap_qvl.verify_with_root_ca(quote, collateral, anchor, now).to_json()
        claims = dcap_qvl.QuoteVerifier(anchor).verify_with_policy(quote, collateral, now, lenient).to_json()
    except (ValueError, OverflowError) as error:
        raise _refused(str(error)) from None
    except BaseException as error:  # a panic in Rust is no Exception, so that nobody takes it for an ordinary error
        if type(error).__name__ != "PanicException":
            raise
        raise Refused(Kind.TDX, "collateral", "dcap-qvl could not cope with the quote or its collateral") from None
    try:
        return _judgement(json.loads(claims), json.loads(summary), collateral)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Refused(Kind.TDX, "collateral", "dcap-qvl's result cannot be read") from None


def _refused(message: str) -> Refused:
    check = next((check for part, check in _MESSAGES.items() if part in message), "collateral")
    return Refused(Kind.TDX, check, "dcap-qvl does not accept the quote with this collateral at this time")


def _judgement(claims: dict[str, Any], summary: dict[str, Any], collateral: dcap_qvl.QuoteCollateralV3) -> Judgement:
    ((form, report),) = claims["report"].items()
    if form == "TD15":
        report = {**report["base"], **{name: value for name, value in report.items() if name != "base"}}
    if claims["tcb"]["status"] != summary["status"]:
        raise ValueError("two statuses")
    pck = claims["platform"]["pck"]
    return Judgement(
        status=summary["status"],
        platform_status=summary["platform_status"]["status"],
        qe_status=summary["qe_status"]["status"],
        advisory_ids=tuple(sorted({*summary["advisory_ids"], *claims["tcb"]["advisory_ids"]})),
        evaluation_number=min(claims["tcb"]["eval_data_number"], claims["qe"]["tcb_eval_data_number"]),
        issued_at=min(_issued_at(collateral.tcb_info), _issued_at(collateral.qe_identity)),
        ppid=bytes(pck["ppid"]),
        fmspc=bytes(pck["fmspc"]),
        tee_type=claims["tee_type"],
        quote_version=claims["header"]["version"],
        report=report,
    )


def _issued_at(signed_text: str) -> datetime:
    """The issue date of a text that Intel signed and dcap-qvl verified, such as 2025-06-19T10:16:03Z."""
    issued_at = datetime.fromisoformat(json.loads(signed_text)["issueDate"])
    if issued_at.tzinfo is None:
        raise ValueError("a date without a zone")
    return issued_at
