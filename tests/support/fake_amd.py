"""An AMD of our own: certificates and reports with every field as a test wants it, under roots that nobody pinned.

``FakeAmd.install`` puts these roots in the place of the embedded ones, for what no real evidence shows.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from vesica_attestation.sev_snp import certificates
from vesica_attestation.sev_snp.abi import Product, SigningKey, Tcb

START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
AT = datetime(2030, 1, 1, tzinfo=UTC)
AMD = "1.3.6.1.4.1.3704.1."
CPUID = {Product.MILAN: (0x19, 0x01, 1), Product.GENOA: (0x19, 0x11, 1), Product.TURIN: (0x1A, 0x02, 1)}
TCB = {
    Product.MILAN: Tcb(bootloader=4, tee=1, snp=24, microcode=219),
    Product.GENOA: Tcb(bootloader=10, tee=1, snp=25, microcode=84),
    Product.TURIN: Tcb(fmc=3, bootloader=1, tee=1, snp=2, microcode=71),
}
PSS = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
ORDER = int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)


@cache
def rsa_key(number: int) -> rsa.RSAPrivateKey:
    """A key, made once a run: 2048 bits, where AMD has 4096, for speed."""
    assert number >= 0
    return rsa.generate_private_key(65537, 2048)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _integer(value: int) -> bytes:
    raw = value.to_bytes(2 if value > 0x7F else 1, "big")
    return bytes((0x02, len(raw))) + raw


def _text(value: str) -> bytes:
    return bytes((0x16, len(value))) + value.encode("ascii")


@dataclass
class FakeAmd:
    """One product's hierarchy, and the key that signs reports under it."""

    product: Product = Product.MILAN
    signing_key: SigningKey = SigningKey.VCEK
    hwid: bytes | None = None
    report_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP384R1()))

    def __post_init__(self) -> None:
        self.hwid = self.hwid or bytes(range(1, 9 if self.product is Product.TURIN else 65))
        self.chip_id = self.hwid.ljust(64, b"\0") if self.signing_key is SigningKey.VCEK else bytes(64)
        title = self.product.value.title()
        vlek = "" if self.signing_key is SigningKey.VCEK else "VLEK-"
        self.root = self.issue(f"ARK-{title}", rsa_key(0).public_key(), f"ARK-{title}", rsa_key(0))
        self.intermediate = self.issue(f"SEV-{vlek}{title}", rsa_key(1).public_key(), f"ARK-{title}", rsa_key(0))
        self.authority = certificates.Authority(self.product, self.signing_key, self.intermediate, self.root)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "FakeAmd":
        """Makes the verifier take these roots for AMD's, until the test ends."""
        monkeypatch.setattr(certificates, "authorities", lambda: (self.authority,))
        return self

    def issue(
        self, subject, key, issuer, signer, *, start=START, end=END, extensions=(), hashed=None, rsa_padding=PSS
    ) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer)).public_key(key)
        builder = builder.serial_number(1).not_valid_before(start).not_valid_after(end)
        for oid, value, critical in extensions:
            builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical)
        return builder.sign(signer, hashed or hashes.SHA384(), rsa_padding=rsa_padding)

    def extensions(self) -> dict[str, bytes]:
        """What AMD certifies, by OID below its arc."""
        tcb = TCB[self.product]
        parts = {"3.1": tcb.bootloader, "3.2": tcb.tee, "3.3": tcb.snp, "3.8": tcb.microcode}
        parts |= {f"3.{number}": 0 for number in ((5, 6, 7) if self.product is Product.TURIN else (4, 5, 6, 7))}
        if self.product is Product.TURIN:
            parts["3.9"] = tcb.fmc
        found = {"1": _integer(0), "2": _text(self.product.value.title())}
        found |= {oid: _integer(value) for oid, value in parts.items()}
        if self.signing_key is SigningKey.VCEK:
            return found | {"4": self.hwid or b""}
        return found | {"5": _text("CN=cloud.example")}

    def certificate(self, *, without=(), critical=(), key=None, signer=None, issuer=None, **options) -> bytes:
        """A VCEK or VLEK in DER. options: those of ``issue``, and extensions by OID as ``replaced``."""
        values = {**self.extensions(), **options.pop("replaced", {})}
        listed = [(AMD + oid, value, oid in critical) for oid, value in values.items() if oid not in without]
        title, vlek = self.product.value.title(), "" if self.signing_key is SigningKey.VCEK else "VLEK-"
        return self.issue(
            f"SEV-{self.signing_key.value.upper()}",
            key or self.report_key.public_key(),
            issuer or f"SEV-{vlek}{title}",
            signer or rsa_key(1),
            extensions=listed,
            **options,
        ).public_bytes(Encoding.DER)

    def tcb_bytes(self, tcb: Tcb) -> bytes:
        if self.product is Product.TURIN:
            return bytes((tcb.fmc, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode))
        return bytes((tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode))

    def report(
        self, *, version=5, policy=0x20000, vmpl=0, report_data=bytes(64), launch_digest=b"\xaa" * 48, **raw
    ) -> bytes:
        """A signed report. raw: further bytes by offset, ``at_0x1a0=...``, written before signing."""
        data = bytearray(1184)
        data[0:4] = version.to_bytes(4, "little")
        data[8:16] = policy.to_bytes(8, "little")
        data[0x30:0x34] = vmpl.to_bytes(4, "little")
        data[0x34] = 1
        data[0x48] = 0 if self.signing_key is SigningKey.VCEK else 1 << 2
        data[0x50:0x90] = report_data
        data[0x90:0xC0] = launch_digest
        for offset in (0x38, 0x180, 0x1E0, 0x1F0):
            data[offset : offset + 8] = self.tcb_bytes(TCB[self.product])
        if version >= 3:
            data[0x188:0x18B] = bytes(CPUID[self.product])
        data[0x1A0:0x1E0] = self.chip_id
        for name, value in raw.items():
            offset = int(name.removeprefix("at_"), 16)
            data[offset : offset + len(value)] = value
        return self.sign(bytes(data))

    def sign(self, data: bytes, *, twin: bool = False) -> bytes:
        """The report with its signature. twin: with n - s, which is as good."""
        r, s = decode_dss_signature(self.report_key.sign(data[:0x2A0], ec.ECDSA(hashes.SHA384())))
        return write_signature(data, r, ORDER - s if twin else s)


def write_signature(data: bytes, r: int, s: int) -> bytes:
    """A report with these two numbers for a signature."""
    return data[:0x2A0] + r.to_bytes(72, "little") + s.to_bytes(72, "little") + data[0x330:]
