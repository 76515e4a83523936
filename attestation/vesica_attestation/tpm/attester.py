"""Evidence from inside a virtual machine with a vTPM: a quote, and the certificate of the key that made it.

Where that key and its certificate are is a matter of who provisioned the TPM; ``PLACES`` are those known. The key is
a persistent one, or is made anew, each time the same, from a template that the cloud left. The certificates are the
one in the TPM's NV memory and, behind it, those in a file of the operator's: issuers, up to the CA that policies name.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from vesica_attestation._attesting import require_report_data
from vesica_attestation._tpm.commands import Tpm, TpmError
from vesica_attestation._tpm.constants import RH_ENDORSEMENT
from vesica_attestation._tpm.device import opened
from vesica_attestation._tpm.quoting import TPM, one_at_a_time, quote_at_rest, unusable
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.needs import Needs
from vesica_attestation.tpm.abi import parse_public
from vesica_attestation.tpm.certificates import certificates_in
from vesica_attestation.tpm.event_log import LOG_BYTES_MAX, parse_log

# The kernel's, which root may read; and a copy of it, where an image leaves one for the room's own user.
EVENT_LOGS: Final = (
    Path("/run/vesica/tpm-event-log"),
    Path("/sys/kernel/security/tpm0/binary_bios_measurements"),
)
CERTIFICATES_BYTES_MAX: Final = 8192


@dataclass(frozen=True)
class Place:
    """Where an attestation key is: handle of a persistent key, or template: NV index of a TPMT_PUBLIC to make it from,
    in the endorsement hierarchy. certificate: NV index of its certificate, DER; others may follow it there. None: there
    is none of this.
    """

    handle: int | None = None
    template: int | None = None
    certificate: int | None = None


# ``vesica_enclave.tpm_enrol`` puts key and certificates here.
ENROLLED: Final = Place(handle=0x81010002, certificate=0x01810001)
PLACES: Final = (
    ENROLLED,
    # Azure (trusted launch): Microsoft, "Confidential VM Guest Attestation Design Detail".
    Place(handle=0x81000003, certificate=0x01C101D0),
    # Google Compute Engine, RSA and P-256: google/go-tpm-tools, client/handles.go.
    Place(template=0x01C10001, certificate=0x01C10000),
    Place(template=0x01C10003, certificate=0x01C10002),
)


@dataclass(frozen=True)
class TpmAttester:
    """Asks the TPM.

    places: of the key; the first that is there is the one. certificates: gives more certificates, PEM or DER, given
    the key's public area. event_logs: the first that can be read is sent along, if it gives the quoted PCRs. sleep:
    waits before a command that the TPM was not ready for is sent again, in seconds.
    """

    certificates: Callable[[bytes], bytes] | None = None
    places: tuple[Place, ...] = PLACES
    device: Path = TPM
    event_logs: tuple[Path, ...] = EVENT_LOGS
    sleep: Callable[[float], None] = time.sleep
    kind: ClassVar[Kind] = Kind.TPM

    @property
    def needs(self) -> Needs:
        """The TPM, a device or the socket of one in software, and the lists of what was measured into it."""
        place, reads = frozenset({self.device}), frozenset(self.event_logs)
        return Needs(sockets=place, reads=reads) if self.device.is_socket() else Needs(devices=place, reads=reads)

    def probe(self) -> None:
        """Raises AttesterUnavailable if there is no TPM here, or none with an attestation key."""
        try:
            with one_at_a_time, opened(self.device) as exchange:
                self._place(Tpm(exchange, self.sleep))
        except (OSError, TpmError) as error:
            raise unusable(self.kind, self.device, error) from None

    def attest(self, report_data: bytes) -> Evidence:
        """A quote over ``report_data``, with the certificates of the key that made it.

        Raises AttesterUnavailable; ValueError for another length than 64 bytes.
        """
        require_report_data(report_data)
        try:
            with one_at_a_time, opened(self.device) as exchange:
                tpm = Tpm(exchange, self.sleep)
                place = self._place(tpm)
                with self._key(tpm, place) as (handle, public):
                    quote = quote_at_rest(self.kind, tpm, handle, report_data)
                held = b"" if place.certificate is None else nv_content(tpm, place.certificate)
        except (OSError, TpmError) as error:
            raise unusable(self.kind, self.device, error) from None
        parts: dict[str, bytes | tuple[bytes, ...]] = {
            "quote_message": quote.message,
            "quote_signature": quote.signature,
            "pcrs": quote.pcrs,
            "attestation_key": public,
            "certificates": self._chain(held, public),
        }
        log = self._event_log(quote.pcrs)
        return Evidence(self.kind, parts if log is None else parts | {"event_log": log})

    def _place(self, tpm: Tpm) -> Place:
        for place in self.places:
            if place.handle is not None and tpm.read_public(place.handle) is not None:
                return place
            if place.template is not None and tpm.nv_size(place.template) is not None:
                return place
        raise AttesterUnavailable(
            self.kind,
            f"the TPM at {self.device} has no attestation key where one was looked for (docs/measured-boot.md)",
        )

    @contextmanager
    def _key(self, tpm: Tpm, place: Place) -> Iterator[tuple[int, bytes]]:
        """Handle and public area of the key. One that was made for this is gone afterwards."""
        if place.handle is not None:
            public = tpm.read_public(place.handle)
            if public is None:
                raise TpmError("the attestation key has gone")
            yield place.handle, self._sound(public)
        else:
            with tpm.primary(RH_ENDORSEMENT, nv_content(tpm, place.template or 0)) as (handle, public):
                yield handle, self._sound(public)

    def _sound(self, public: bytes) -> bytes:
        try:
            parse_public(public)
        except Refused as refusal:
            raise AttesterUnavailable(self.kind, f"no verifier accepts the TPM's key: {refusal}") from None
        return public

    def _chain(self, held: bytes, public: bytes) -> tuple[bytes, ...]:
        try:
            chain = certificates_in(held)
            if self.certificates is not None:
                chain += certificates_in(self.certificates(public))
        except ValueError:
            raise AttesterUnavailable(self.kind, "the attestation key's certificates cannot be read") from None
        if not chain:
            raise AttesterUnavailable(
                self.kind, "there is no certificate of the attestation key: give --tpm-certificates"
            )
        return tuple(dict.fromkeys(chain))

    def _event_log(self, pcrs: Sequence[bytes]) -> bytes | None:
        """A log that does not give the quoted PCRs, because more was measured since, would only be refused."""
        for path in self.event_logs:
            try:
                with path.open("rb") as file:
                    log = file.read(LOG_BYTES_MAX + 1)
                parse_log(log).require_replayed(pcrs)
            except (OSError, Refused):
                continue
            return log
        return None


def nv_content(tpm: Tpm, index: int) -> bytes:
    """An NV index as a whole; nothing if there is none."""
    return tpm.nv_read(index, min(tpm.nv_size(index) or 0, CERTIFICATES_BYTES_MAX))
