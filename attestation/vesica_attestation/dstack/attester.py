"""Evidence from inside a dstack container: a TDX quote and its event log from the guest agent's socket.

Source: Dstack-TEE/dstack, sdk/curl/api.md and sdk/python, guest API version 0: ``POST /GetQuote {"report_data":
hex}`` gives ``{"quote": hex, "event_log": JSON text, ...}``; errors are HTTP 400.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from vesica_attestation._attesting import require_report_data
from vesica_attestation._platform_http import ExchangeFailed, Request, Service, exchange
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import EVIDENCE_BYTES_MAX, Evidence, Kind
from vesica_attestation.needs import Needs
from vesica_attestation.tdx.attester import Collateral, quote_evidence

# Where its releases have put the socket, in the order in which its own client looks.
SOCKETS: Final = (
    Path("/var/run/dstack.sock"),
    Path("/run/dstack.sock"),
    Path("/var/run/dstack/dstack.sock"),
    Path("/run/dstack/dstack.sock"),
)
_SECONDS_MAX: Final = 60.0
_ANSWER_BYTES_MAX: Final = 2 * EVIDENCE_BYTES_MAX
_STATUS_OK: Final = 200


@dataclass(frozen=True)
class DstackAttester:
    """Asks the guest agent. collateral: as for ``TdxAttester``. sockets: the first that is there is used."""

    collateral: Collateral | None
    sockets: tuple[Path, ...] = SOCKETS
    seconds_max: float = _SECONDS_MAX
    kind: ClassVar[Kind] = Kind.TDX

    @property
    def needs(self) -> Needs:
        """The guest agent's socket, wherever it is."""
        return Needs(sockets=frozenset(self.sockets))

    def probe(self) -> None:
        """Raises AttesterUnavailable if no guest agent offers its socket here."""
        self._socket()

    def attest(self, report_data: bytes) -> Evidence:
        """A quote over ``report_data``, its collateral, and the event log that its RTMR3 is replayed from.

        Raises AttesterUnavailable; ValueError for another length than 64 bytes.
        """
        require_report_data(report_data)
        request = Request("/GetQuote", {"report_data": report_data.hex()})
        try:
            answer = exchange(Service(self._socket(), self.seconds_max), request, _ANSWER_BYTES_MAX)
        except ExchangeFailed as error:
            raise AttesterUnavailable(self.kind, str(error)) from None
        if answer.status != _STATUS_OK:
            raise AttesterUnavailable(self.kind, f"the guest agent answered HTTP {answer.status}")
        quote, event_log = read_answer(answer.body)
        return quote_evidence(quote, report_data, self.collateral, event_log=event_log)

    def _socket(self) -> Path:
        for path in self.sockets:
            if path.is_socket():
                return path
        raise AttesterUnavailable(self.kind, f"no dstack socket at {', '.join(map(str, self.sockets))}")


def read_answer(body: bytes) -> tuple[bytes, bytes]:
    """Quote and event log in the guest agent's answer.

    Raises AttesterUnavailable.
    """
    try:
        document = json.loads(body)
        return bytes.fromhex(document["quote"]), document["event_log"].encode("utf-8")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise AttesterUnavailable(Kind.TDX, "the guest agent's answer has no quote and event log in it") from None
