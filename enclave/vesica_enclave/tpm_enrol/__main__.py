"""The command: ``python3 -m vesica_enclave.tpm_enrol --help``."""

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from vesica_attestation._tpm.commands import Tpm, TpmError
from vesica_attestation._tpm.device import Exchange, opened
from vesica_attestation.errors import Refused
from vesica_attestation.tpm.attester import ENROLLED, nv_content
from vesica_attestation.tpm.certificates import certificates_in
from vesica_enclave.tpm_enrol.authority import (
    EnrolmentRefused,
    open_authority,
    require_known,
    require_manufactured,
    utc_now,
)
from vesica_enclave.tpm_enrol.enrolment import ENDORSEMENT_CERTIFICATE, install, proven_key, shut_down

_TEXT: Final = """
Certifies an attestation key in a TPM, for evidence of the kind "tpm" (docs/measured-boot.md). Run it once for each
machine, where the CA's key is; never where the room runs.

PLACE is a device (/dev/tpmrm0), the socket of a running swtpm, or the folder of a swtpm's state, for which one is
started meanwhile. The TPM must show that it is one: by a certificate of its manufacturer (--manufacturer-ca), or by an
endorsement key that you have from elsewhere, such as a cloud's API (--known-endorsement-key). A folder needs neither:
whoever has that state can make any evidence of its TPM.

DIR gets a new CA, ca.pem and ca.key, if it has none. Guard ca.key: who has it can certify anything.

examples:
  python3 -m vesica_enclave.tpm_enrol --tpm /var/lib/swtpm/room --ca-dir ca
  python3 -m vesica_enclave.tpm_enrol --tpm /dev/tpmrm0 --ca-dir ca --manufacturer-ca root.pem
  python3 -m vesica_enclave.tpm_enrol --tpm /dev/tpmrm0 --ca-dir ca --known-endorsement-key ek.pem
"""
_DAYS_DEFAULT: Final = 365
_START_SECONDS_MAX: Final = 10.0


def main(argv: list[str] | None = None) -> int:
    """Enrols one TPM. Returns an exit code."""
    parser = argparse.ArgumentParser(
        prog="python3 -m vesica_enclave.tpm_enrol", description=_TEXT, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tpm", metavar="PLACE", type=Path, required=True, help="device, socket, or folder of a state")
    parser.add_argument("--ca-dir", metavar="DIR", type=Path, required=True, help="folder of the CA")
    by = parser.add_mutually_exclusive_group()
    by.add_argument("--manufacturer-ca", metavar="FILE", type=Path, help="certificates of manufacturers' CAs, PEM")
    by.add_argument("--known-endorsement-key", metavar="FILE", type=Path, help="a public key or certificate, PEM")
    parser.add_argument("--days", type=int, default=_DAYS_DEFAULT, help="validity in days (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        _enrol(args)
    except (EnrolmentRefused, Refused, TpmError) as error:
        sys.stderr.write(f"tpm_enrol: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"tpm_enrol: {error.filename or args.tpm}: {error.strerror}\n")
        return 1
    return 0


def _enrol(args: argparse.Namespace) -> None:
    own = args.tpm.is_dir()
    if not own and args.manufacturer_ca is None and args.known_endorsement_key is None:
        raise EnrolmentRefused(
            "nothing says that this is a TPM: give --manufacturer-ca FILE or --known-endorsement-key FILE"
        )
    now = utc_now()
    authority = open_authority(args.ca_dir, now)
    with _software(args.tpm) if own else opened(args.tpm) as exchange:
        tpm = Tpm(exchange, time.sleep)

        def check(endorsement: rsa.RSAPublicKey) -> None:
            if args.known_endorsement_key is not None:
                require_known(endorsement, args.known_endorsement_key.read_bytes())
            elif args.manufacturer_ca is not None:
                issuers = [x509.load_der_x509_certificate(der) for der in _read_certificates(args.manufacturer_ca)]
                maker = require_manufactured(_endorsement_certificate(tpm), endorsement, issuers, now)
                sys.stdout.write(f"# endorsement key certified under {maker}\n")

        with proven_key(tpm, check) as (handle, key):
            certificate = authority.certify(key, args.days, now)
            chain = b"".join(one.public_bytes(Encoding.DER) for one in (certificate, authority.certificate))
            install(tpm, handle, ENROLLED.handle or 0, ENROLLED.certificate or 0, chain)
        if own:
            shut_down(tpm)
    sys.stdout.write(
        f"# attestation key at 0x{ENROLLED.handle:08x}, its certificate at 0x{ENROLLED.certificate:08x}, valid until "
        f"{certificate.not_valid_after_utc:%Y-%m-%d}. For policies, in [tpm]:\n"
        f'ca_certificate_digests = ["{authority.digest}"]\n'
        f'attestation_keys = ["{key.name.hex()}"]\n'
    )


def _endorsement_certificate(tpm: Tpm) -> x509.Certificate:
    held = nv_content(tpm, ENDORSEMENT_CERTIFICATE)
    try:
        return x509.load_der_x509_certificate(certificates_in(held)[0])
    except (ValueError, IndexError):
        raise EnrolmentRefused("the TPM has no certificate of an RSA endorsement key") from None


def _read_certificates(path: Path) -> list[bytes]:
    try:
        return certificates_in(path.read_bytes())
    except ValueError:
        raise EnrolmentRefused(f"{path} has something else than certificates in it") from None


@contextmanager
def _software(state: Path) -> Iterator[Exchange]:
    """A TPM in software that goes on from a state, as long as this block runs."""
    with tempfile.TemporaryDirectory(prefix="tpm-enrol-") as folder:
        place = Path(folder) / "tpm.sock"
        command = [
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--server", f"type=unixio,path={place}",
            "--flags", "not-need-init,startup-clear",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603 (arguments, no shell)
            try:
                until = time.monotonic() + _START_SECONDS_MAX
                while not _listens(place):
                    if process.poll() is not None or time.monotonic() > until:
                        raise EnrolmentRefused(f"swtpm does not start with the state in {state}: is it in use?")
                    time.sleep(0.02)
                with opened(place) as exchange:
                    yield exchange
            finally:
                process.terminate()


def _listens(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(place)) == 0


if __name__ == "__main__":
    sys.exit(main())
