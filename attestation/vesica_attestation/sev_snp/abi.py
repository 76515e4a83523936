"""The SEV-SNP attestation report: parsing only, no trust.

Source: AMD, "SEV Secure Nested Paging Firmware ABI Specification", document 56860, revision 1.58: section 2.2
(TCB_VERSION), 4.3 (guest policy), 7.3 (ATTESTATION_REPORT); chapter 10 (signature format). Earlier revisions define
versions 2 to 4.
"""

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

KIND: Final = Kind.SEV_SNP
REPORT_BYTES: Final = 1184
SIGNED_BYTES: Final = 0x2A0
VERSIONS: Final = range(2, 6)
_VERSION_CPUID: Final = 3
_VERSION_MITIGATIONS: Final = 5
_ECDSA_P384_SHA384: Final = 1
_COORDINATE_BYTES: Final = 72
_SCALAR_BYTES: Final = 48
_P384_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)
_POLICY_SMT: Final = 1 << 16
_POLICY_ALWAYS_ONE: Final = 1 << 17
_POLICY_MIGRATION_AGENT: Final = 1 << 18
_POLICY_DEBUG: Final = 1 << 19
_POLICY_CXL: Final = 1 << 21
_POLICY_RESERVED_FROM: Final = 26
_PLATFORM_SMT: Final = 1 << 0
_PLATFORM_ALIAS_CHECK_COMPLETE: Final = 1 << 5


@unique
class Product(StrEnum):
    """The processor generations that AMD has a certificate authority each for. Bergamo and Siena are Genoa there."""

    MILAN = "milan"
    GENOA = "genoa"
    TURIN = "turin"


@unique
class SigningKey(StrEnum):
    """The key behind a report: derived in the chip (VCEK), or loaded by a cloud provider (VLEK)."""

    VCEK = "vcek"
    VLEK = "vlek"


@dataclass(frozen=True)
class Tcb:
    """Security version numbers of the platform's firmware, 0 to 255 each. fmc: on Turin only, elsewhere 0."""

    bootloader: int
    tee: int
    snp: int
    microcode: int
    fmc: int = 0

    def meets(self, floor: "Tcb") -> bool:
        """Whether no component is below the floor's."""
        return (
            self.bootloader >= floor.bootloader
            and self.tee >= floor.tee
            and self.snp >= floor.snp
            and self.microcode >= floor.microcode
            and self.fmc >= floor.fmc
        )


@dataclass(frozen=True)
class Report:
    """A report as it stands, not verified. TCBs are raw: their layout is the product's, which a certificate tells.

    cpuid: family, model and stepping; None before version 3. mitigations: at launch and now; None before version 5.
    signature: r and s. signed: the bytes that it is over.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    current_tcb: bytes
    platform_info: int
    signing_key: SigningKey
    report_data: bytes
    launch_digest: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid: tuple[int, int, int] | None
    chip_id: bytes
    committed_tcb: bytes
    current_firmware: str
    committed_firmware: str
    launch_tcb: bytes
    mitigations: tuple[int, int] | None
    signature: tuple[int, int]
    signed: bytes

    @property
    def debug(self) -> bool:
        """Whether the host may read and change the guest's memory."""
        return bool(self.policy & _POLICY_DEBUG)

    @property
    def migration_agent(self) -> bool:
        """Whether a migration agent, another guest, may be given this guest's memory."""
        return bool(self.policy & _POLICY_MIGRATION_AGENT)

    @property
    def smt_allowed(self) -> bool:
        """Whether the guest may run where a stranger shares its core."""
        return bool(self.policy & _POLICY_SMT)

    @property
    def cxl_allowed(self) -> bool:
        """Whether the guest may run where memory or devices hang on a CXL link."""
        return bool(self.policy & _POLICY_CXL)

    @property
    def smt_enabled(self) -> bool:
        """Whether the platform has simultaneous multithreading switched on."""
        return bool(self.platform_info & _PLATFORM_SMT)

    @property
    def alias_check_complete(self) -> bool:
        """Whether memory was checked for aliases since the last reset (CVE-2024-21944, BadRAM)."""
        return bool(self.platform_info & _PLATFORM_ALIAS_CHECK_COMPLETE)


def parse_report(data: bytes) -> Report:
    """A report from its bytes, which must be exactly one report.

    Fields that the ABI says must be zero must be. PLATFORM_INFO is not among them: firmware of the same version has
    gained bits there (Turin sets bit 6), and none of them weakens a guest.

    Raises Refused (checks "format", "trailing-bytes", "version", "signature-algorithm", "signing-key", "reserved",
    "signature").
    """
    if len(data) != REPORT_BYTES:
        check = "trailing-bytes" if len(data) > REPORT_BYTES else "format"
        raise Refused(KIND, check, f"a report is {REPORT_BYTES} bytes, this has {len(data)}")
    version = _number(data, 0x00, 4)
    if version not in VERSIONS:
        raise Refused(KIND, "version", f"report version {version}, not {VERSIONS.start} to {VERSIONS.stop - 1}")
    if _number(data, 0x34, 4) != _ECDSA_P384_SHA384:
        raise Refused(KIND, "signature-algorithm", "not ECDSA P-384 with SHA-384")
    _refuse_reserved(data, version)
    return Report(
        version=version,
        guest_svn=_number(data, 0x04, 4),
        policy=_number(data, 0x08, 8),
        family_id=data[0x10:0x20],
        image_id=data[0x20:0x30],
        vmpl=_number(data, 0x30, 4),
        current_tcb=data[0x38:0x40],
        platform_info=_number(data, 0x40, 8),
        signing_key=_signing_key(_number(data, 0x48, 4)),
        report_data=data[0x50:0x90],
        launch_digest=data[0x90:0xC0],
        host_data=data[0xC0:0xE0],
        id_key_digest=data[0xE0:0x110],
        author_key_digest=data[0x110:0x140],
        report_id=data[0x140:0x160],
        report_id_ma=data[0x160:0x180],
        reported_tcb=data[0x180:0x188],
        cpuid=(data[0x188], data[0x189], data[0x18A]) if version >= _VERSION_CPUID else None,
        chip_id=data[0x1A0:0x1E0],
        committed_tcb=data[0x1E0:0x1E8],
        current_firmware=_firmware(data, 0x1E8),
        committed_firmware=_firmware(data, 0x1EC),
        launch_tcb=data[0x1F0:0x1F8],
        mitigations=(_number(data, 0x1F8, 8), _number(data, 0x200, 8)) if version >= _VERSION_MITIGATIONS else None,
        signature=(_scalar(data, SIGNED_BYTES), _scalar(data, SIGNED_BYTES + _COORDINATE_BYTES)),
        signed=data[:SIGNED_BYTES],
    )


def parse_tcb(raw: bytes, product: Product) -> Tcb:
    """A TCB_VERSION in the layout of its product (section 2.2).

    Raises Refused (check "reserved") for reserved bytes that are not zero: a component that nobody here knows.
    """
    if product is Product.TURIN:
        reserved, tcb = raw[4:7], Tcb(fmc=raw[0], bootloader=raw[1], tee=raw[2], snp=raw[3], microcode=raw[7])
    else:
        reserved, tcb = raw[2:6], Tcb(bootloader=raw[0], tee=raw[1], snp=raw[6], microcode=raw[7])
    if any(reserved):
        raise Refused(KIND, "reserved", f"reserved bytes of a TCB version of {product} are not zero")
    return tcb


def _number(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(data[start : start + size], "little")


def _firmware(data: bytes, start: int) -> str:
    build, minor, major = data[start : start + 3]
    return f"{major}.{minor}.{build}"


def _refuse_reserved(data: bytes, version: int) -> None:
    policy = _number(data, 0x08, 8)
    spans = [
        (0x4C, 0x50),
        (0x18B if version >= _VERSION_CPUID else 0x188, 0x1A0),
        (0x1EB, 0x1EC),
        (0x1EF, 0x1F0),
        (0x208 if version >= _VERSION_MITIGATIONS else 0x1F8, SIGNED_BYTES),
        (SIGNED_BYTES + 2 * _COORDINATE_BYTES, REPORT_BYTES),
    ]
    for start, end in spans:
        if any(data[start:end]):
            raise Refused(KIND, "reserved", f"reserved bytes {start:#x} to {end:#x} are not zero")
    if not policy & _POLICY_ALWAYS_ONE or policy >> _POLICY_RESERVED_FROM:
        raise Refused(KIND, "reserved", "reserved bits of the guest policy are not as the ABI says")


def _signing_key(selector: int) -> SigningKey:
    # Bit 0: author key in use. Bit 1, MASK_CHIP_KEY: the platform has switched signing off. Bits 4:2: which key.
    if selector >> 5:
        raise Refused(KIND, "reserved", "reserved bits of the key selector are not zero")
    if selector & 0b10:
        raise Refused(KIND, "signing-key", "the platform masks its chip key: this report is not signed")
    match selector >> 2:
        case 0:
            return SigningKey.VCEK
        case 1:
            return SigningKey.VLEK
        case _:
            raise Refused(KIND, "signing-key", "signed by no key, or by one that the ABI does not define")


def _scalar(data: bytes, start: int) -> int:
    # Little-endian, as all of the report; a P-384 scalar fills 48 of the 72 bytes.
    if any(data[start + _SCALAR_BYTES : start + _COORDINATE_BYTES]):
        raise Refused(KIND, "signature", "a signature component is longer than 48 bytes")
    value = _number(data, start, _SCALAR_BYTES)
    if not 0 < value < _P384_ORDER:
        raise Refused(KIND, "signature", "a signature component is outside 1 to the order of P-384")
    return value
