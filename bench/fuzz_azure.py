"""Coverage-guided fuzzing of the Azure parsers: any bytes are read or refused, and nothing else happens.

    python -m bench.fuzz_azure [seconds]

The first byte of an input chooses the HCL report, the runtime claims or the TPM quote. Runtime claims that are accepted
must say what the standard library's reader says they do.
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vesica_attestation.azure", "vesica_attestation._tpm"]):
    from vesica_attestation._tpm.quote import parse_quote
    from vesica_attestation.azure.abi import parse_hcl, parse_runtime_claims
    from vesica_attestation.errors import Refused
    from vesica_attestation.evidence import Kind

SEEDS = Path(__file__).parents[1] / "tests" / "data" / "evidence" / "azure"


def one(data: bytes) -> None:
    """One input."""
    choice, rest = data[:1], data[1:]
    try:
        match choice:
            case b"c":
                _claims(rest)
            case b"q":
                quote = parse_quote(Kind.AZURE, rest)
                if rest != quote.signed or quote.extra_data not in rest or not rest.endswith(quote.pcr_digest):
                    raise AssertionError("two readings of one quote")
            case _:
                found = parse_hcl(rest)
                if rest[1236 : 1236 + len(found.variable_data)] != found.variable_data:
                    raise AssertionError("two readings of one HCL report")
                _claims(found.variable_data)
    except Refused:
        pass


def _claims(data: bytes) -> None:
    found = parse_runtime_claims(data)
    document = json.loads(data)
    named = [key["n"] for key in document["keys"] if isinstance(key, dict) and key.get("kid") == "HCLAkPub"]
    if len(named) != 1 or int.from_bytes(base64.urlsafe_b64decode(named[0] + "=="), "big") != found.modulus:
        raise AssertionError("two readings of one key")
    if (found.user_data or b"").hex() != document.get("user-data", "").lower():
        raise AssertionError("two readings of the user data")


def main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    with tempfile.TemporaryDirectory() as corpus:
        for number, path in enumerate(sorted(SEEDS.glob("*/evidence.json"))):
            document = json.loads(path.read_text())
            report = base64.urlsafe_b64decode(document["hcl_report"] + "==")
            Path(corpus, f"{number}-hcl").write_bytes(b"h" + report)
            Path(corpus, f"{number}-claims").write_bytes(b"c" + parse_hcl(report).variable_data)
            Path(corpus, f"{number}-quote").write_bytes(b"q" + bytes.fromhex(document["tpm_quote"]["message"]))
        atheris.Setup([sys.argv[0], corpus, f"-max_total_time={seconds}", "-max_len=3000", "-print_final_stats=1"], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
