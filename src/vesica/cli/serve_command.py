"""``vesica serve``: loads the server's side by name, which a party's machine need not have."""

import argparse
import importlib
from pathlib import Path

from vesica.cli.common import add_command
from vesica.cli.exits import Exit
from vesica.errors import VesicaError
from vesica.refusals import FileUnreadable

_TEXT = """
Runs a room: one process that carries out one agreement, once. It holds every submission in memory
only; when it ends, everything is gone. It prints one line when it is ready, and stops on Ctrl-C or
SIGTERM. (There is no --json: that line is all it says on stdout.)

Its keys are made at start and live in memory only. It proves where it runs by evidence of the hardware
that it finds; where there is none it does not start, unless it is told to use something weaker. With
--attester tpm, a vTPM says what booted, to parties who trust the operator of the host; software evidence
proves nothing and is for trying things out.

It gives up what it does not need before it takes a byte: no core dumps, no swap, no program, file or
connection of its own. Where the machine does not let it, it does not start (exit code 10); "vesica doctor"
shows what holds.

examples:
  vesica serve agreement.toml
  vesica serve agreement.toml --attester insecure-software      on a laptop, with made-up data
  vesica serve agreement.toml --port 0                  a free port, named in the line it prints
  vesica serve agreement.toml --trusted-header X-OBLV-User-Name      behind a proxy that authenticates
"""
_PORT_MAX = 65_535
_PERSISTENT = 0x81
ATTESTERS = ("sev-snp", "tdx", "nitro", "confidential-space", "azure", "dstack", "tpm", "insecure-software")


class CannotListen(VesicaError):
    """The address to listen on cannot be had."""

    code = "cannot-listen"


class ServerMissing(VesicaError):
    """The packages that a room needs are not installed."""

    code = "server-missing"


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    parser = add_command(commands, "serve", "run a room", _TEXT)
    parser.add_argument("agreement", metavar="AGREEMENT", type=Path, help="the agreement's file")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=8443, help="port to listen on; 0: a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--trusted-header",
        metavar="NAME",
        help="believe this header when it names the party; only behind a proxy that sets it and lets none through",
    )
    parser.add_argument(
        "--attester",
        choices=["auto", *ATTESTERS],
        default="auto",
        help="what proves where this runs (default: auto, which takes the hardware it finds, and never software)",
    )
    parser.add_argument(
        "--tdx-collateral",
        metavar="FILE",
        type=Path,
        help="Intel's collateral for this machine, JSON; read anew each time",
    )
    parser.add_argument(
        "--snp-certificate", metavar="FILE", type=Path, help="AMD's VCEK or VLEK, where the host does not hand it out"
    )
    parser.add_argument(
        "--tpm-certificates",
        metavar="FILE",
        type=Path,
        help="certificates, PEM or DER, from that of the TPM's attestation key (which may be in the TPM instead) up to "
        "that of the CA that policies name; read anew each time",
    )
    parser.add_argument(
        "--tpm-key",
        metavar="HANDLE",
        type=_handle,
        help="the TPM's attestation key, where it is in no usual place: 0x81…",
    )
    parser.add_argument("--tpm-device", metavar="PATH", type=Path, help="the TPM (default: /dev/tpmrm0)")
    parser.add_argument("--audience", metavar="TEXT", help="of Confidential Space tokens, as the policies name it")
    parser.add_argument(
        "--insecure-plain-http",
        action="store_true",
        help="no TLS, on a loopback address only: behind a proxy on this machine; parties cannot verify such a room",
    )
    parser.add_argument(
        "--allow-unhardened",
        action="store_true",
        help="start even where this machine does not let the room protect its memory; only with made-up data",
    )
    parser.add_argument(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        default="info",
        help="how much to log, on stderr (default: %(default)s)",
    )
    parser.set_defaults(run=_serve)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _PORT_MAX:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {_PORT_MAX}")
    return int(text)


def _handle(text: str) -> int:
    try:
        handle = int(text, 16)
    except ValueError:
        handle = 0
    if handle >> 24 != _PERSISTENT:
        raise argparse.ArgumentTypeError("a persistent handle is 0x81 and six hex digits")
    return handle


def _serve(args: argparse.Namespace) -> int:
    try:
        server = importlib.import_module("vesica_enclave.serve")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "vesica":  # ours, and not there: a bug, not a missing package
            raise
        raise ServerMissing("a room needs more packages than a party: pip install 'vesica[server]'") from None
    try:
        settings = server.Settings(
            agreement_path=args.agreement,
            host=args.host,
            port=args.port,
            attester=args.attester,
            trusted_header=args.trusted_header,
            log_level=args.log_level,
            insecure_plain_http=args.insecure_plain_http,
            tdx_collateral=args.tdx_collateral,
            snp_certificate=args.snp_certificate,
            audience=args.audience,
            tpm_certificates=args.tpm_certificates,
            tpm_key=args.tpm_key,
            tpm_device=args.tpm_device,
            allow_unhardened=args.allow_unhardened,
        )
        return int(server.serve(settings))
    except KeyboardInterrupt:
        return Exit.OK
    except OSError as error:
        why = error.strerror or type(error).__name__
        if error.filename is not None:
            raise FileUnreadable(f"cannot read {args.agreement}: {why}") from None
        raise CannotListen(f"cannot listen on {args.host}:{args.port}: {why}") from None
