"""Azure evidence: two real ones, and a paravisor of our own over an AMD of our own, with fields as tests want them."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from support.fake_amd import FakeAmd, rsa_key
from vesica_attestation.azure import extra_data
from vesica_attestation.evidence import Evidence, Kind

DATA = Path(__file__).resolve().parents[1] / "data" / "evidence" / "azure"
SNP_FOLDER, TDX_FOLDER = "snp-vtpm-v2", "tdx-vtpm-v1"
REPORT_DATA = bytes(range(64))
PCRS = tuple(bytes([index]) * 32 for index in range(24))


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def real(folder: str) -> Evidence:
    """The evidence of a folder, as our parts."""
    document = json.loads((DATA / folder / "evidence.json").read_text())
    quote = document["tpm_quote"]
    parts: dict[str, bytes | tuple[bytes, ...]] = {
        "hcl_report": decoded(document["hcl_report"]),
        "quote_message": bytes.fromhex(quote["message"]),
        "quote_signature": bytes.fromhex(quote["signature"]),
        "pcrs": tuple(bytes.fromhex(pcr) for pcr in quote["pcrs"]),
    }
    if "vcek" in document:
        parts["certificates"] = (decoded(document["vcek"]),)
    else:
        parts["td_quote"] = decoded(document["td_quote"])
    return Evidence(Kind.AZURE, parts)


def tpm_quote(
    extra: bytes,
    pcrs: tuple[bytes, ...] = PCRS,
    *,
    magic=b"\xffTCG",
    kind=b"\x80\x18",
    name=b"\x00\x22\x00\x0b" + bytes(32),
    selection=b"\x00\x00\x00\x01\x00\x0b\x03\xff\xff\xff",
    digest=None,
) -> bytes:
    """A TPMS_ATTEST."""
    found = hashlib.sha256(b"".join(pcrs)).digest() if digest is None else digest
    sized = (len(value).to_bytes(2, "big") + value for value in (extra, found))
    return magic + kind + name + next(sized) + bytes(17 + 8) + selection + next(sized)


def runtime_claims(key: rsa.RSAPublicKey, user_data: bytes, **changes) -> bytes:
    """The JSON that a paravisor makes."""
    modulus = encoded(key.public_numbers().n.to_bytes(256, "big"))
    own = {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": modulus}
    other = {"kid": "HCLEkPub", "key_ops": ["encrypt"], "kty": "RSA", "e": "AQAB", "n": modulus}
    machine = {"secure-boot": True, "console-enabled": False, "vmUniqueId": "7DF7B373-B947-4AAA-96E5-C358F2A03D20"}
    document = {"keys": [own, other], "vm-configuration": machine, "user-data": user_data.hex()}
    return json.dumps({**document, **changes}).encode()


def hcl_report(report: bytes, claims: bytes, *, hardware=2, version=2, request=2, hashed=1, rest=bytes(99)) -> bytes:
    """The paravisor's wrapping of a hardware report."""
    header = (version, 1236 + len(claims), request, 0, 0, 0, 0)
    data = (20 + len(claims), 1, hardware, hashed, len(claims))
    numbers = [b"".join(value.to_bytes(4, "little") for value in values) for values in (header, data)]
    return b"HCLA" + numbers[0] + report.ljust(1184, b"\0") + numbers[1] + claims + rest


@dataclass
class FakeAzure:
    """A virtual machine: hardware, paravisor, vTPM."""

    amd: FakeAmd
    attestation_key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa_key(7))

    def sign(self, message: bytes, scheme=None, algorithm=None) -> bytes:
        return self.attestation_key.sign(message, scheme or padding.PKCS1v15(), algorithm or hashes.SHA256())

    def evidence(
        self, *, user_data=REPORT_DATA, message=None, claims=None, bound=None, pcrs=PCRS, report=None, **parts
    ) -> Evidence:
        """Right in all that is not said. claims: runtime claims. bound: the hardware's report data. report: options."""
        claims = claims or runtime_claims(self.attestation_key.public_key(), user_data)
        bound = hashlib.sha256(claims).digest() + bytes(32) if bound is None else bound
        message = message or tpm_quote(extra_data(REPORT_DATA), pcrs)
        made = {
            "hcl_report": hcl_report(self.amd.report(report_data=bound, **(report or {})), claims),
            "quote_message": message,
            "quote_signature": self.sign(message),
            "pcrs": pcrs,
            "certificates": (self.amd.certificate(),),
        }
        return Evidence(Kind.AZURE, {**made, **parts})
