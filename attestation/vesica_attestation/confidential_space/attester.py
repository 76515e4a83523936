"""Evidence from inside a Google Confidential Space workload: a token from the launcher's socket.

Source: Google Cloud, "Confidential Space: attestation tokens"; google/go-tpm-tools, launcher/teeserver. The launcher
answers ten requests a minute, refuses unknown fields, and sends errors as text with a status of 400, 429 or 500.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from vesica_attestation._attesting import require_report_data
from vesica_attestation._platform_http import ExchangeFailed, Request, Service, exchange
from vesica_attestation.confidential_space import abi
from vesica_attestation.confidential_space.appraise import nonce_text
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.needs import Needs

SOCKET: Final = Path("/run/container_launcher/teeserver.sock")
AUDIENCE: Final = "vesica"
_SECONDS_MAX: Final = 60.0
_TOKEN_BYTES_MAX: Final = 64 * 2**10
_STATUS_OK: Final = 200
_REASONS: Final = {
    400: "the launcher refused the request (HTTP 400)",
    429: "the launcher gives ten tokens a minute, and they are used up (HTTP 429)",
}


@dataclass(frozen=True)
class ConfidentialSpaceAttester:
    """Asks the launcher for a PKI token. audience: the token's ``aud``, which policies name. seconds_max: for one
    token."""

    audience: str = AUDIENCE
    socket: Path = SOCKET
    seconds_max: float = _SECONDS_MAX
    kind: ClassVar[Kind] = Kind.CONFIDENTIAL_SPACE

    @property
    def needs(self) -> Needs:
        """The launcher's socket."""
        return Needs(sockets=frozenset({self.socket}))

    def probe(self) -> None:
        """Raises AttesterUnavailable if no launcher offers its socket here."""
        if not self.socket.is_socket():
            raise AttesterUnavailable(self.kind, f"no socket at {self.socket}")

    def attest(self, report_data: bytes) -> Evidence:
        """A token with ``report_data`` as its only nonce.

        Raises AttesterUnavailable; ValueError for another length than 64 bytes.
        """
        require_report_data(report_data)
        nonce = nonce_text(report_data)
        asked = {"audience": self.audience, "nonces": [nonce], "token_type": "PKI"}
        try:
            answer = exchange(Service(self.socket, self.seconds_max), Request("/v1/token", asked), _TOKEN_BYTES_MAX)
        except ExchangeFailed as error:
            raise AttesterUnavailable(self.kind, str(error)) from None
        if answer.status != _STATUS_OK:
            why = _REASONS.get(answer.status, f"the launcher answered HTTP {answer.status}")
            raise AttesterUnavailable(self.kind, why)
        token = answer.body.strip()
        try:
            found = abi.parse(token).claims.get("eat_nonce")
        except Refused as refusal:
            raise AttesterUnavailable(
                self.kind, f"the launcher gave a token that no verifier reads: {refusal}"
            ) from None
        if found not in (nonce, [nonce]):
            raise AttesterUnavailable(self.kind, "the launcher gave a token about something else")
        return Evidence(self.kind, {"token": token})
