"""Coverage-guided fuzzing of a vTPM's evidence: any bytes are read or refused, and nothing else happens.

    python -m bench.fuzz_tpm [seconds]

The first byte of an input chooses the quote, the signature, the key's public area, the event log, or certificates. What
is read must be what the bytes say: an event log that is read and written anew gives the same measurements.
"""

import contextlib
import hashlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vesica_attestation.tpm", "vesica_attestation._tpm"]):
    from vesica_attestation._tpm.quote import parse_quote
    from vesica_attestation._tpm.signature import parse_signature
    from vesica_attestation.errors import Refused
    from vesica_attestation.evidence import Kind
    from vesica_attestation.tpm.abi import parse_public
    from vesica_attestation.tpm.certificates import certificates_in
    from vesica_attestation.tpm.event_log import parse_log

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.fake_amd import rsa_key
from support.tpm_evidence import FakeTpm, event, log_header


def one(data: bytes) -> None:
    """One input."""
    choice, rest = data[:1], data[1:]
    with contextlib.suppress(Refused):
        match choice:
            case b"q":
                quote = parse_quote(Kind.TPM, rest)
                if rest != quote.signed or quote.extra_data not in rest or not rest.endswith(quote.pcr_digest):
                    raise AssertionError("two readings of one quote")
            case b"s":
                parse_signature(Kind.TPM, rest)
            case b"k":
                key = parse_public(rest)
                if key.name[2:] != hashlib.sha256(rest).digest():
                    raise AssertionError("a key by another name")
            case b"c":
                with contextlib.suppress(ValueError):
                    if len(b"".join(certificates_in(rest))) > 4 * len(rest):
                        raise AssertionError("more certificates than there are")
            case _:
                _log(rest)


def _log(data: bytes) -> None:
    log = parse_log(data)
    log.programs()
    log.sections()
    again = parse_log(log_header() + b"".join(event(pcr, digest) for pcr, digest in log.events))
    if again.events != log.events:
        raise AssertionError("two readings of one log")


def main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    with tempfile.TemporaryDirectory() as corpus:
        for fake in (FakeTpm(), FakeTpm(rsa_key(7))):
            evidence = fake.evidence()
            seeds = {"quote_message": b"q", "quote_signature": b"s", "attestation_key": b"k", "event_log": b"l"}
            for name, choice in seeds.items():
                Path(corpus, f"{name}-{len(evidence.part(name))}").write_bytes(choice + evidence.part(name))
            Path(corpus, "certificates").write_bytes(b"c" + b"".join(evidence.many("certificates")))
        atheris.Setup([sys.argv[0], corpus, f"-max_total_time={seconds}", "-max_len=3000", "-print_final_stats=1"], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
