"""Coverage-guided fuzzing of the Confidential Space parsers: any bytes are read or refused, and nothing else happens.

    python -m bench.fuzz_confidential_space [seconds]

The first byte of an input chooses what it is fed to: the compact form, the header, the payload, or a JWKS. What is
accepted must also be what PyJWT reads.
"""

import base64
import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vesica_attestation.confidential_space"]):
    from vesica_attestation.confidential_space import abi
    from vesica_attestation.confidential_space.claims import read_claims
    from vesica_attestation.confidential_space.keys import read_jwks
    from vesica_attestation.errors import PolicyInvalid, Refused

import jwt

SEEDS = Path(__file__).parents[1] / "tests" / "data" / "evidence" / "confidential-space"
HEADER = b'{"alg":"RS256","kid":"k","typ":"JWT"}'


def one(data: bytes) -> None:
    """One input."""
    choice, rest = data[:1], data[1:]
    try:
        match choice:
            case b"h":
                _token(_encoded(rest) + b"." + _encoded(b"{}") + b".AAAA")
            case b"p":
                _token(_encoded(HEADER) + b"." + _encoded(rest) + b".AAAA")
            case b"k":
                read_jwks(rest.decode("utf-8", "surrogateescape"), "jwks")
            case _:
                _token(rest)
    except (Refused, PolicyInvalid):
        pass


def _token(compact: bytes) -> None:
    token = abi.parse(compact)
    theirs = jwt.PyJWS().decode_complete(compact, options={"verify_signature": False})
    if theirs["payload"] != token.payload or json.loads(token.payload) != token.claims:
        raise AssertionError("two readings of one token")
    if theirs["header"]["alg"] != "RS256" or theirs["header"]["kid"] != token.key_id:
        raise AssertionError("two readings of one header")
    read_claims(token.claims)


def _encoded(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    with tempfile.TemporaryDirectory() as corpus:
        for number, path in enumerate(sorted(SEEDS.glob("*/*.jwt"))):
            header, payload, _ = (base64.urlsafe_b64decode(part + b"==") for part in path.read_bytes().split(b"."))
            for choice, text in ((b"t", path.read_bytes()), (b"h", header), (b"p", payload)):
                Path(corpus, f"{number}-{choice.decode()}").write_bytes(choice + text)
        Path(corpus, "keys").write_bytes(b"k" + (SEEDS / "oidc-debug-sev" / "jwks.json").read_bytes())
        atheris.Setup(
            [sys.argv[0], corpus, f"-max_total_time={seconds}", "-max_len=14000", "-print_final_stats=1"], one
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
