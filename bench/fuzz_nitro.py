"""Coverage-guided fuzzing of the Nitro parsers: any bytes are read or refused, and nothing else happens.

    python -m bench.fuzz_nitro [seconds]

What is accepted must also be what cbor2 reads, and must read the same when cbor2 writes it again.
"""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["vesica_attestation.nitro", "vesica_attestation._pki"]):
    from vesica_attestation._pki import certificate
    from vesica_attestation.errors import Refused
    from vesica_attestation.nitro import abi

import cbor2

SEEDS = Path(__file__).parents[1] / "tests" / "data" / "evidence" / "nitro"


def one(data: bytes) -> None:
    """One input, as a whole document, as a payload, and as a certificate."""
    try:
        document = abi.parse(data)
    except Refused:
        pass
    else:
        protected, unprotected, payload, signature = cbor2.loads(data)
        if cbor2.dumps([protected, unprotected, payload, signature]) != data:
            raise AssertionError("a wrapper with two spellings was accepted")
        if (payload, signature) != (document.signed, document.signature):
            raise AssertionError("two readings of one document")
    try:
        payload = abi.parse_payload(data)
    except Refused:
        pass
    else:
        _compare(payload, cbor2.loads(data), data)
    with suppress(Refused):
        certificate("nitro", data)


def _compare(payload: abi.Payload, fields: dict[str, Any], data: bytes) -> None:
    ours = {"module_id": payload.module_id, "pcrs": dict(payload.pcrs), "cabundle": list(payload.cabundle)}
    ours |= {name: getattr(payload, name) for name in ("public_key", "user_data", "nonce")}
    if any(fields.get(name) != value for name, value in ours.items()):
        raise AssertionError("two readings of one payload")
    again = cbor2.dumps(fields)
    if data[0] != 0xBF and again != data:
        raise AssertionError("a payload with two spellings was accepted")
    if abi.parse_payload(again) != payload:
        raise AssertionError("a payload does not survive being written again")


def main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    with tempfile.TemporaryDirectory() as corpus:
        for number, path in enumerate(sorted(SEEDS.glob("*/document.cose"))):
            document = abi.parse(path.read_bytes())
            Path(corpus, f"{number}-document").write_bytes(path.read_bytes())
            Path(corpus, f"{number}-payload").write_bytes(document.signed)
            Path(corpus, f"{number}-certificate").write_bytes(document.payload.certificate)
        atheris.Setup([sys.argv[0], corpus, f"-max_total_time={seconds}", "-max_len=6000", "-print_final_stats=1"], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
