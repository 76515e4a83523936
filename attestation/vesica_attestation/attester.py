"""Which attester a room uses. An attester runs inside the TEE and has its hardware, or its platform, sign 64 bytes.

``auto`` looks in this order, and takes the first that is there: the interface that says most about the workload comes
first.

1. ``confidential-space``: the launcher's socket. Its token names the container image and its command line.
2. ``dstack``: the guest agent's socket. Its event log names the application, on top of the TDX quote.
3. ``nitro``: /dev/nsm, which nothing but an enclave has.
4. ``azure``: a TPM with Azure's report in it. Under Azure's paravisor a report of the bare hardware would measure the
   paravisor and no more, so this comes before configfs-tsm, which may be there as well.
5. ``sev-snp`` or ``tdx``: configfs-tsm, whichever of the two it says that it speaks for; through the broker's
   socket, where that is.

A plain vTPM, ``tpm``, is never found by ``auto``, though most machines have one: it proves nothing to whoever does not
trust the host, and a room that was meant for a TEE must not come up on one without.

The first that is there is the one: if it then fails, that is an error, and the next is not tried. Where none is
there, that is an error too. Software evidence is never a fallback: it is made only where it is asked for by name.
None of this is trusted by anybody outside: whoever decides what ``auto`` finds decides only what a policy then
accepts or refuses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from vesica_attestation._configfs_tsm import usual_place
from vesica_attestation._tpm.quoting import TPM
from vesica_attestation.azure import imds
from vesica_attestation.azure.attester import AzureAttester
from vesica_attestation.confidential_space.attester import AUDIENCE, SOCKET, ConfidentialSpaceAttester
from vesica_attestation.dstack.attester import SOCKETS, DstackAttester
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.needs import Needs
from vesica_attestation.nitro.attester import NSM, NitroAttester
from vesica_attestation.sev_snp.attester import SevSnpAttester
from vesica_attestation.software import InsecureSoftwareAttester
from vesica_attestation.tdx import attester as tdx
from vesica_attestation.tpm.attester import EVENT_LOGS, PLACES, Place, TpmAttester

NAMES: Final = (
    "auto", "sev-snp", "tdx", "nitro", "confidential-space", "azure", "dstack", "tpm", "insecure-software",
)  # fmt: skip
SUPPLY_BYTES_MAX: Final = 128 * 2**10


class Attester(Protocol):
    """Makes evidence for 64 bytes of report data. Safe to call from several threads."""

    @property
    def kind(self) -> Kind:
        """Of the evidence that it makes."""

    @property
    def needs(self) -> Needs:
        """What it must still be able to do in a process that has given up everything else."""

    def attest(self, report_data: bytes) -> Evidence:
        """Evidence bound to ``report_data``.

        Raises AttesterUnavailable where the machine cannot make it now; ValueError for another length than 64 bytes.
        """


class _Probed(Attester, Protocol):
    def probe(self) -> None:
        """Raises AttesterUnavailable if the interface is not there. Makes no evidence."""


@dataclass(frozen=True)
class Surroundings:
    """Where the kernel and the platforms offer evidence. Other places than these are for tests."""

    tsm_reports: Path = field(default_factory=usual_place)
    nsm: Path = NSM
    tpm: Path = TPM
    confidential_space: Path = SOCKET
    dstack: tuple[Path, ...] = SOCKETS
    tpm_event_logs: tuple[Path, ...] = EVENT_LOGS


@dataclass(frozen=True)
class Supplies:
    """What an operator hands to a room that has no network; all of it signed by others, so the operator is not
    trusted for it.

    collateral: Intel's, for TDX: JSON of a QuoteCollateralV3, given a quote. certificate: AMD's, of the VCEK or VLEK,
    DER or PEM, given a report. audience: of Confidential Space tokens, as policies name it. tpm_certificates: of a
    plain vTPM's attestation key, PEM or DER, behind those in the TPM; given the key's public area. tpm_places: where
    that key is.
    """

    collateral: Callable[[bytes], bytes] | None = None
    certificate: Callable[[bytes], bytes] | None = None
    audience: str = AUDIENCE
    tpm_certificates: Callable[[bytes], bytes] | None = None
    tpm_places: tuple[Place, ...] = PLACES


def choose(
    name: str,
    supplies: Supplies = Supplies(),
    surroundings: Surroundings | None = None,
) -> Attester:
    """The attester of a name, one of ``NAMES``, after a look whether its interface is there.

    Raises AttesterUnavailable if it is not, or if ``auto`` finds none; ValueError for a name that there is none of.
    """
    if name == "insecure-software":
        return InsecureSoftwareAttester()
    candidates = _candidates(supplies, surroundings or Surroundings())
    if name not in NAMES:
        raise ValueError(f"no attester is called {name!r}; there are {', '.join(NAMES)}")
    if name == "auto":
        chosen = _first_present({known: one for known, one in candidates.items() if one.kind is not Kind.TPM})
    else:
        chosen = candidates[name]
        chosen.probe()
    if chosen.kind is Kind.TDX and supplies.collateral is None:
        raise AttesterUnavailable(Kind.TDX, tdx.NO_COLLATERAL)
    return chosen


def from_file(path: Path) -> Callable[[bytes], bytes]:
    """A supply that is read from a file each time, so that the operator can renew it while the room runs."""

    def supply(_: bytes) -> bytes:
        try:
            with path.open("rb") as file:
                found = file.read(SUPPLY_BYTES_MAX + 1)
        except OSError as error:
            raise AttesterUnavailable("supplies", f"{path} cannot be read: {error.strerror}") from None
        if not 0 < len(found) <= SUPPLY_BYTES_MAX:
            raise AttesterUnavailable("supplies", f"{path} is empty, or has more than {SUPPLY_BYTES_MAX} bytes")
        return found

    return supply


def _candidates(supplies: Supplies, surroundings: Surroundings) -> dict[str, _Probed]:
    """Attesters by name, in the order of ``auto``, and those it leaves out. Making one touches nothing."""
    place = surroundings.tsm_reports
    return {
        "confidential-space": ConfidentialSpaceAttester(supplies.audience, surroundings.confidential_space),
        "dstack": DstackAttester(supplies.collateral, surroundings.dstack),
        "nitro": NitroAttester(surroundings.nsm),
        "azure": AzureAttester(supplies.collateral, supplies.certificate or imds.vcek, device=surroundings.tpm),
        "sev-snp": SevSnpAttester(supplies.certificate, place=place),
        "tdx": tdx.TdxAttester(supplies.collateral, place=place),
        "tpm": TpmAttester(
            supplies.tpm_certificates, supplies.tpm_places, surroundings.tpm, surroundings.tpm_event_logs
        ),
    }


def _first_present(candidates: Mapping[str, _Probed]) -> _Probed:
    absent = []
    for name, candidate in candidates.items():
        try:
            candidate.probe()
        except AttesterUnavailable as error:
            absent.append(f"{name}: {error.detail}")
        else:
            return candidate
    raise AttesterUnavailable("auto", f"no TEE was found here ({'; '.join(absent)})")
