"""Coverage-guided fuzzing of the TDX parsers: any bytes are read or refused, and nothing else happens.

    python -m bench.fuzz_tdx [seconds]

The first byte of an input chooses what it is fed to: a quote (parsed, and its signatures checked), the SGX extension of
a PCK certificate, a PCK chain in PEM, collateral, or an event log. A quote that is read must be what dcap-qvl reads.
"""

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import atheris
import dcap_qvl

with atheris.instrument_imports(include=["vesica_attestation.tdx", "vesica_attestation._pki"]):
    from vesica_attestation.errors import Refused
    from vesica_attestation.tdx import abi, authentic, collateral, dstack, pck

EVIDENCE = Path(__file__).parents[1] / "tests" / "data" / "evidence"
AT = datetime(2026, 3, 1, tzinfo=UTC)


def one(data: bytes) -> None:
    """One input."""
    choice, rest = data[:1], data[1:]
    try:
        match choice:
            case b"x":
                pck.read_sgx_extension(rest)
            case b"p":
                pck.verify_chain(rest, pck.INTEL_SGX_ROOT, AT)
            case b"c":
                read = collateral.read_collateral(rest)
                collateral.judge(QUOTE, read, pck.INTEL_SGX_ROOT, AT)
            case b"e":
                dstack.replay(rest, bytes(48))
            case b"s":
                authentic.check_signatures(rest, AT)
            case _:
                _quote(rest)
    except Refused:
        pass


def _quote(data: bytes) -> None:
    parsed = abi.parse_quote(data)
    theirs = dcap_qvl.parse_quote(data)
    if (theirs.header.version, theirs.report.mr_td) != (parsed.version, parsed.report.mrtd):
        raise AssertionError("two readings of one quote")
    if (theirs.report.rt_mr3, theirs.report.report_data) != (parsed.report.rtmrs[3], parsed.report.report_data):
        raise AssertionError("two readings of one quote")


QUOTE = (EVIDENCE / "tdx" / "v4-uptodate" / "quote.bin").read_bytes()


def main() -> None:
    """Fuzzes for a number of seconds, from the real evidence."""
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    with tempfile.TemporaryDirectory() as corpus:
        for number, path in enumerate(sorted(EVIDENCE.glob("*/*/*.bin"))):
            if path.parts[-3] in {"tdx", "dstack"} and b"-----BEGIN" in (quote := path.read_bytes()):
                chain = quote[quote.index(b"-----BEGIN") :].rstrip(b"\0") + b"\0"
                for choice, text in ((b"q", quote), (b"s", quote), (b"p", chain)):
                    Path(corpus, f"{number}-{choice.decode()}").write_bytes(choice + text)
        for number, path in enumerate(sorted(EVIDENCE.glob("tdx/*/collateral.json"))):
            Path(corpus, f"c{number}").write_bytes(b"c" + path.read_bytes())
        Path(corpus, "e").write_bytes(b"e" + (EVIDENCE / "dstack" / "tdx-2026" / "event_log.json").read_bytes())
        Path(corpus, "bare").write_bytes(b"e" + json.dumps([{"imr": 3, "event_type": 0x08000001}]).encode())
        leaf = dcap_qvl.parse_quote(QUOTE).cert_chain_pem_bytes()
        if leaf is not None:
            der = pck.x509.load_pem_x509_certificates(leaf)[0].extensions
            value = der.get_extension_for_oid(pck.x509.ObjectIdentifier("1.2.840.113741.1.13.1")).value
            Path(corpus, "x").write_bytes(b"x" + value.public_bytes())
        atheris.Setup(
            [sys.argv[0], corpus, f"-max_total_time={seconds}", "-max_len=20000", "-print_final_stats=1"], one
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
