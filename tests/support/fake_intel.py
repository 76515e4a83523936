"""A fake Intel: its own root, and quotes and collateral under it, of any content. For what no real evidence at hand
shows.

Nothing in Vesica trusts it: a test must put ``root`` in the place of the embedded root first.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

AT = datetime(2026, 6, 1, tzinfo=UTC)
FMSPC = bytes.fromhex("b0c06f000000")
PPID = bytes(range(16))
QE_MRSIGNER = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
QE_ATTRIBUTES = bytes.fromhex("1500000000000000e700000000000000")
SEPT_VE_DISABLE = 1 << 28
SGX_SVNS = (3, 3, 2, 2, 4, 1, 0, 5) + (0,) * 8
TEE_TCB_SVN = bytes((6, 1, 3)) + bytes(13)
PCE_SVN = 11

_TD_FIELDS = (
    ("tee_tcb_svn", 16), ("mrseam", 48), ("mrsignerseam", 48), ("seamattributes", 8), ("tdattributes", 8), ("xfam", 8),
    ("mrtd", 48), ("mrconfigid", 48), ("mrowner", 48), ("mrownerconfig", 48), ("rtmr0", 48), ("rtmr1", 48),
    ("rtmr2", 48), ("rtmr3", 48), ("report_data", 64),
)  # fmt: skip
_TD_15_FIELDS = (("tee_tcb_svn2", 16), ("mrservicetd", 48))


def raw_signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """r and s, 32 bytes each."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def raw_public_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """x and y, 32 bytes each."""
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def _name(common_name: str) -> x509.Name:
    return x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Intel Corporation"),
    ])  # fmt: skip


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = (
        bytes([size]) if size < 128 else bytes([0x81, size]) if size < 256 else bytes([0x82]) + size.to_bytes(2, "big")
    )
    return bytes([tag]) + length + content


def _entry(arcs: tuple[int, ...], value: bytes) -> bytes:
    return _der(0x30, _der(0x06, bytes.fromhex("2a864886f84d010d01") + bytes(arcs)) + value)


def sgx_extension(*, ppid: bytes = PPID, fmspc: bytes = FMSPC, pce_svn: int = PCE_SVN) -> bytes:
    """The SGX extension of a PCK certificate, in DER."""
    svns = b"".join(_entry((2, n + 1), _der(0x02, bytes([svn]))) for n, svn in enumerate(SGX_SVNS))
    tcb = svns + _entry((2, 17), _der(0x02, bytes([pce_svn]))) + _entry((2, 18), _der(0x04, bytes(SGX_SVNS)))
    return _der(0x30, b"".join((
        _entry((1,), _der(0x04, ppid)),
        _entry((2,), _der(0x30, tcb)),
        _entry((3,), _der(0x04, bytes(2))),
        _entry((4,), _der(0x04, fmspc)),
        _entry((5,), _der(0x0A, b"\0")),
    )))  # fmt: skip


@dataclass
class FakeIntel:
    """Keys and certificates, made when made. ``revoked``: serial numbers on the PCK revocation list."""

    at: datetime = AT
    revoked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root_key, self.ca_key, self.pck_key, self.signing_key, self.attestation_key = (
            ec.generate_private_key(ec.SECP256R1()) for _ in range(5)
        )
        root, ca = "Intel SGX Root CA", "Intel SGX PCK Platform CA"
        self.root = self.certificate(root, self.root_key, root, self.root_key, path_length=1)
        self.ca = self.certificate(ca, self.ca_key, root, self.root_key, path_length=0)
        self.pck = self.certificate(
            "Intel SGX PCK Certificate", self.pck_key, ca, self.ca_key, extension=sgx_extension()
        )
        self.signing = self.certificate("Intel SGX TCB Signing", self.signing_key, root, self.root_key)

    def certificate(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        issuer_key: ec.EllipticCurvePrivateKey,
        *,
        path_length: int | None = None,
        extension: bytes | None = None,
    ) -> x509.Certificate:
        """A certificate of a year around ``at``; an authority if it has a path length."""
        authority = path_length is not None
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.at - timedelta(days=200))
            .not_valid_after(self.at + timedelta(days=200))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
            .add_extension(
                x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
            .add_extension(_distribution_point(), critical=False)
        )
        if extension is not None:
            sgx = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.840.113741.1.13.1"), extension)
            builder = builder.add_extension(sgx, critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    def _crl(self, issuer: str, key: ec.EllipticCurvePrivateKey, revoked: list[int]) -> str:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(_name(issuer))
            .last_update(self.at - timedelta(days=1))
            .next_update(self.at + timedelta(days=20))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(self.at - timedelta(days=2))
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER).hex()

    def collateral(
        self,
        *,
        status: str = "UpToDate",
        advisory_ids: tuple[str, ...] = (),
        evaluation_number: int = 18,
        qe: Mapping[str, object] | None = None,
        tcb: Mapping[str, object] | None = None,
        root_revoked: tuple[int, ...] = (),
    ) -> bytes:
        """Collateral that judges the platform as ``status``. qe and tcb replace fields of the two signed texts."""
        dates = {
            "issueDate": f"{self.at - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
            "nextUpdate": f"{self.at + timedelta(days=20):%Y-%m-%dT%H:%M:%SZ}",
            "tcbEvaluationDataNumber": evaluation_number,
        }
        level = {"tcbDate": "2025-11-01T00:00:00Z", "tcbStatus": status, "advisoryIDs": list(advisory_ids)}
        module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        up_to_date = {"tcbDate": "2025-11-01T00:00:00Z", "tcbStatus": "UpToDate"}
        tcb_info = {
            "id": "TDX", "version": 3, **dates, "fmspc": FMSPC.hex().upper(), "pceId": "0000", "tcbType": 0,
            "tdxModule": module,
            "tdxModuleIdentities": [{"id": "TDX_01", **module, "tcbLevels": [{"tcb": {"isvsvn": 4}, **up_to_date}]}],
            "tcbLevels": [{"tcb": {
                "sgxtcbcomponents": [{"svn": svn} for svn in SGX_SVNS],
                "pcesvn": PCE_SVN,
                "tdxtcbcomponents": [{"svn": svn} for svn in (5, 0, 2, *(0,) * 13)],
            }, **level}],
        } | dict(tcb or {})  # fmt: skip
        identity = {
            "id": "TD_QE", "version": 2, **dates, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000", "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": QE_MRSIGNER.hex().upper(), "isvprodid": 2, "tcbLevels": [{"tcb": {"isvsvn": 4}, **up_to_date}],
        } | dict(qe or {})  # fmt: skip
        tcb_text, qe_text = (json.dumps(document, separators=(",", ":")) for document in (tcb_info, identity))
        chain = _pem(self.signing) + _pem(self.root)
        return json.dumps({
            "pck_crl_issuer_chain": _pem(self.ca) + _pem(self.root),
            "root_ca_crl": self._crl("Intel SGX Root CA", self.root_key, list(root_revoked)),
            "pck_crl": self._crl("Intel SGX PCK Platform CA", self.ca_key, self.revoked),
            "tcb_info_issuer_chain": chain,
            "tcb_info": tcb_text,
            "tcb_info_signature": raw_signature(self.signing_key, tcb_text.encode()).hex(),
            "qe_identity_issuer_chain": chain,
            "qe_identity": qe_text,
            "qe_identity_signature": raw_signature(self.signing_key, qe_text.encode()).hex(),
        }).encode()  # fmt: skip

    def qe_report(self, **fields: bytes) -> bytes:
        """The quoting enclave's report, binding the attestation key; ``fields`` replace parts of it."""
        authentication = bytes(range(32))
        bound = hashlib.sha256(raw_public_key(self.attestation_key) + authentication).digest() + bytes(32)
        part = {
            "cpu_svn": bytes(16), "attributes": QE_ATTRIBUTES, "mrenclave": bytes(32), "mrsigner": QE_MRSIGNER,
            "isvprodid": b"\2\0", "isvsvn": b"\6\0", "report_data": bound,
        } | fields  # fmt: skip
        return b"".join((
            part["cpu_svn"], bytes(32), part["attributes"], part["mrenclave"], bytes(32), part["mrsigner"], bytes(96),
            part["isvprodid"], part["isvsvn"], bytes(60), part["report_data"],
        ))  # fmt: skip

    def quote(
        self, *, version: int = 4, qe_report: bytes | None = None, chain: bytes | None = None, **fields: bytes
    ) -> bytes:
        """A quote with a TD report of zeros but for ``fields`` (and what passes by default)."""
        body = td_report(version=version, **fields)
        header = version.to_bytes(2, "little") + b"\2\0" + (0x81).to_bytes(4, "little") + bytes(4)
        header += bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(20)
        if version == 5:
            header += (3 if len(body) == 648 else 2).to_bytes(2, "little") + len(body).to_bytes(4, "little")
        signed = header + body
        enclave = self.qe_report() if qe_report is None else qe_report
        pem = (_pem(self.pck) + _pem(self.ca) + _pem(self.root)).encode() if chain is None else chain
        certification = (
            enclave + raw_signature(self.pck_key, enclave) + b"\x20\0" + bytes(range(32))
            + b"\5\0" + len(pem).to_bytes(4, "little") + pem
        )  # fmt: skip
        data = raw_signature(self.attestation_key, signed) + raw_public_key(self.attestation_key)
        data += b"\6\0" + len(certification).to_bytes(4, "little") + certification
        return signed + len(data).to_bytes(4, "little") + data


def td_report(*, version: int = 4, td_15: bool = True, **fields: bytes) -> bytes:
    """A TD report body: 1.0 in quote version 4, 1.5 in version 5 unless told otherwise."""
    wanted = _TD_FIELDS + (_TD_15_FIELDS if version == 5 and td_15 else ())
    default = {
        "tee_tcb_svn": TEE_TCB_SVN, "tee_tcb_svn2": TEE_TCB_SVN, "tdattributes": SEPT_VE_DISABLE.to_bytes(8, "little"),
        "xfam": bytes.fromhex("e702060000000000"), "mrtd": b"\x11" * 48, "rtmr0": b"\x20" * 48, "rtmr1": b"\x21" * 48,
        "rtmr2": b"\x22" * 48, "report_data": b"\x33" * 64,
    } | fields  # fmt: skip
    assert set(default) <= {name for name, _ in _TD_FIELDS + _TD_15_FIELDS}, "no such field"
    parts = [default.get(name, bytes(size)) for name, size in wanted]
    assert [len(part) for part in parts] == [size for _, size in wanted], "a field of another length"
    return b"".join(parts)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _distribution_point() -> x509.CRLDistributionPoints:
    uri = x509.UniformResourceIdentifier("https://intel.invalid/crl.der")
    return x509.CRLDistributionPoints([x509.DistributionPoint([uri], None, None, None)])
