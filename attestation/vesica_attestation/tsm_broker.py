"""Makes hardware reports for a process that is not root: ``python -m vesica_attestation.tsm_broker``.

Only root may make an entry in configfs-tsm, and a room does not run as root. So this small process does it: it takes
64 bytes from a socket and gives back what the kernel made of them, and can do nothing else. It needs root's name and
no capability.

The listening socket is inherited as descriptor 3, as systemd hands it to a service that has a socket unit: whoever
starts the broker decides who may connect. One request at a time; each is bounded in size and time.
"""

import argparse
import json
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vesica_attestation import _configfs_tsm
from vesica_attestation._attesting import REPORT_DATA_BYTES
from vesica_attestation._configfs_tsm import TSM_REPORTS
from vesica_attestation._tsm_socket import Answer, BrokerFailed, read_all
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import Kind

LISTENER: Final = 3
REQUEST_SECONDS_MAX: Final = 2.0
# By provider: the kind of its evidence, and whether it has privilege levels and an auxblob.
_PROVIDERS: Final = {"sev_guest": (Kind.SEV_SNP, True), "tdx_guest": (Kind.TDX, False)}


def main(argv: Sequence[str] | None = None) -> int:
    """Answers until it is stopped."""
    parser = argparse.ArgumentParser(prog="vesica_attestation.tsm_broker", description=__doc__.partition("\n")[0])
    parser.add_argument("--reports", type=Path, default=TSM_REPORTS, metavar="FOLDER", help="default: %(default)s")
    place = parser.parse_args(argv).reports
    try:
        listener = socket.socket(fileno=LISTENER)
    except OSError:
        parser.error("no socket was handed over as descriptor 3 (start this from its systemd socket unit)")
    with listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                serve(connection, place)


def serve(connection: socket.socket, place: Path) -> None:
    """Answers one request. Whatever the other side does, the next one is served."""
    try:
        report_data = read_all(connection, time.monotonic() + REQUEST_SECONDS_MAX, REPORT_DATA_BYTES)
        answer = _answer(report_data, place)
    except (OSError, BrokerFailed):
        return
    try:
        connection.settimeout(REQUEST_SECONDS_MAX)
        connection.sendall(answer)
    except OSError:
        return


def _answer(report_data: bytes, place: Path) -> bytes:
    try:
        provider = _configfs_tsm.provider(place)
        if not report_data:
            return Answer(provider).to_json()
        if len(report_data) != REPORT_DATA_BYTES:
            return _error(f"report data is {REPORT_DATA_BYTES} bytes")
        if provider not in _PROVIDERS:
            return _error("configfs-tsm speaks for a TEE that is not known here")
        kind, levelled = _PROVIDERS[provider]
        found = _configfs_tsm.read_report(
            place, kind, provider, report_data, levelled=levelled, privlevel=None, sleep=time.sleep
        )
    except AttesterUnavailable as error:
        return _error(error.detail)
    return Answer(provider, found.outblob, found.auxblob).to_json()


def _error(detail: str) -> bytes:
    return json.dumps({"error": detail}).encode("ascii")


if __name__ == "__main__":
    sys.exit(main())
