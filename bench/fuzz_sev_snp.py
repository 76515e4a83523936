"""Coverage-guided fuzzing of the SEV-SNP parsers: any bytes are read or refused, and nothing else happens.

    python -m bench.fuzz_sev_snp [seconds]

The first byte of an input chooses a report or a certificate. A report that is accepted must be the very bytes that its
fields make; a certificate must be refused, unless it is a real one.
"""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vesica_attestation.sev_snp"]):
    from vesica_attestation.errors import Refused
    from vesica_attestation.sev_snp.abi import Product, Report, SigningKey, parse_report, parse_tcb
    from vesica_attestation.sev_snp.certificates import endorse

SEEDS = Path(__file__).parents[1] / "tests" / "data" / "evidence" / "sev-snp"
AT = datetime(2026, 11, 21, tzinfo=UTC)
REAL = frozenset(path.read_bytes() for path in SEEDS.glob("*/*.der"))


def one(data: bytes) -> None:
    """One input."""
    choice, rest = data[:1], data[1:]
    try:
        if choice == b"c":
            endorse((rest,), AT)
            if rest not in REAL:
                raise AssertionError("a certificate that AMD did not issue was accepted")
        else:
            report = parse_report(rest)
            if _written(report, author_key=rest[0x48] & 1) != rest:
                raise AssertionError("a report has bytes that no field holds")
            for product in Product:
                parse_tcb(report.reported_tcb, product)
    except Refused:
        pass


def _written(report: Report, author_key: int) -> bytes:
    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, "little")

    def firmware(text: str) -> bytes:
        return bytes(int(part) for part in reversed(text.split("."))) + b"\0"

    selector = author_key | (1 if report.signing_key is SigningKey.VLEK else 0) << 2
    fields = (
        number(report.version, 4), number(report.guest_svn, 4), number(report.policy, 8), report.family_id,
        report.image_id, number(report.vmpl, 4), number(1, 4), report.current_tcb, number(report.platform_info, 8),
        number(selector, 8), report.report_data, report.launch_digest, report.host_data, report.id_key_digest,
        report.author_key_digest, report.report_id, report.report_id_ma, report.reported_tcb,
        bytes(report.cpuid or ()).ljust(24, b"\0"), report.chip_id, report.committed_tcb,
        firmware(report.current_firmware), firmware(report.committed_firmware), report.launch_tcb,
        b"".join(number(value, 8) for value in report.mitigations or ()).ljust(168, b"\0"),
        *(number(value, 72) for value in report.signature), bytes(368),
    )  # fmt: skip
    return b"".join(fields)


def main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    with tempfile.TemporaryDirectory() as corpus:
        for number, path in enumerate(sorted(SEEDS.glob("*/report.bin"))):
            Path(corpus, f"{number}-report").write_bytes(b"r" + path.read_bytes())
        for number, certificate in enumerate(sorted(REAL)):
            Path(corpus, f"{number}-certificate").write_bytes(b"c" + certificate)
        atheris.Setup([sys.argv[0], corpus, f"-max_total_time={seconds}", "-max_len=2000", "-print_final_stats=1"], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
