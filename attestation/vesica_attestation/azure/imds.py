"""What a guest on Azure fetches from its host, at a link-local address: AMD's certificate, and the quote of a TD
report.

Neither is trusted: the certificate is AMD's and the quote is Intel's, and a verifier checks both. An attester uses
these functions only where it is told to: they open a socket.

Source: Microsoft, "Trusted Hardware Identity Management" (THIM), "Query AMD certificates"; and "Attestation on Intel
TDX confidential VMs" (``/acc/tdquote``).
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from vesica_attestation._platform_http import ExchangeFailed, Request, Service, exchange
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import Kind

PORT: Final = 80
IMDS: Final = Service(("169.254.169.254", PORT), seconds_max=30.0)
_ANSWER_BYTES_MAX: Final = 64 * 2**10
_STATUS_OK: Final = 200


def vcek(_report: bytes, service: Service = IMDS) -> bytes:
    """The certificate of this machine's VCEK, PEM.

    Raises AttesterUnavailable.
    """
    request = Request("/metadata/THIM/amd/certification", headers={"Metadata": "true"})
    return _field(service, request, "vcekCert").encode("ascii", "replace")


def td_quote(td_report: bytes, service: Service = IMDS) -> bytes:
    """The quote that the host's quoting enclave makes from a TD report of 1024 bytes.

    Raises AttesterUnavailable.
    """
    text = urlsafe_b64encode(td_report).rstrip(b"=").decode("ascii")
    quote = _field(service, Request("/acc/tdquote", {"report": text}), "quote")
    try:
        return urlsafe_b64decode(quote + "=" * (-len(quote) % 4))
    except ValueError:
        raise AttesterUnavailable(Kind.AZURE, "the host's answer has no quote in base64url") from None


def _field(service: Service, request: Request, name: str) -> str:
    try:
        answer = exchange(service, request, _ANSWER_BYTES_MAX)
    except ExchangeFailed as error:
        raise AttesterUnavailable(Kind.AZURE, str(error)) from None
    if answer.status != _STATUS_OK:
        raise AttesterUnavailable(Kind.AZURE, f"{service} answered HTTP {answer.status}")
    try:
        value = json.loads(answer.body)[name]
    except (ValueError, TypeError, LookupError, RecursionError):
        value = None
    if not isinstance(value, str):
        raise AttesterUnavailable(Kind.AZURE, f"the answer of {service} has no {name} in it")
    return value
