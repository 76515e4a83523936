"""What Azure's paravisor (HCL) leaves in the vTPM's NV index 0x01400001: parsing only, no trust.

Layout: a header of 32 bytes, the hardware's report padded to 1184, 20 bytes of request data, the runtime claims
(JSON, whose SHA-256 is in the hardware report), zeros to the end. Header and request data are signed by nobody.

Sources: microsoft/openvmm, ``openhcl_attestation_protocol::igvm_attest::get``; Microsoft, "Confidential VM Guest
Attestation Design Detail".
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

KIND: Final = Kind.AZURE
HCL_BYTES_MAX: Final = 8192
USER_DATA_BYTES: Final = 64
_HEADER_BYTES: Final = 32
_REPORT_BYTES: Final = 1184
_TDREPORT_BYTES: Final = 1024
_REQUEST_BYTES: Final = 20
_VARIABLE_START: Final = _HEADER_BYTES + _REPORT_BYTES + _REQUEST_BYTES
_VERSIONS: Final = (1, 2)
_REQUEST_AK_CERTIFICATE: Final = 2
_REQUEST_DATA_VERSION: Final = 1
_TYPES: Final = {2: Kind.SEV_SNP, 4: Kind.TDX}
_SHA256: Final = 1
_AK_MODULUS_BYTES: Final = 256
_AK_EXPONENT: Final = "AQAB"
_VM_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class HclReport:
    """hardware: SEV_SNP or TDX. report: an SNP report, or a TDREPORT (1024 bytes). variable_data: JSON."""

    hardware: Kind
    report: bytes
    variable_data: bytes


@dataclass(frozen=True)
class RuntimeClaims:
    """What the paravisor put on record. modulus: of the vTPM's attestation key, RSA 2048, exponent 65537.

    user_data: 64 bytes that the guest wrote before the hardware report was made; None if it never did. The others are
    the host's settings of the virtual machine, repeated by the paravisor; None where it does not repeat them.
    """

    modulus: int
    user_data: bytes | None
    secure_boot: bool | None
    console_enabled: bool | None
    vm_unique_id: str | None


def parse_hcl(data: bytes) -> HclReport:
    """The parts of an HCL report. Every size in it must agree with every other.

    Raises Refused (checks "format", "version", "trailing-bytes").
    """
    if not _VARIABLE_START < len(data) <= HCL_BYTES_MAX:
        raise Refused(KIND, "format", f"an HCL report has {_VARIABLE_START + 1} to {HCL_BYTES_MAX} bytes")
    if data[:4] != b"HCLA":
        raise Refused(KIND, "format", "not an HCL report")
    version, size, request, *unused = (_number(data, start) for start in range(4, _HEADER_BYTES, 4))
    if version not in _VERSIONS:
        raise Refused(KIND, "version", f"HCL report version {version}, not one of {_VERSIONS}")
    start = _HEADER_BYTES + _REPORT_BYTES
    described, version, hardware, hashed, variable = (_number(data, start + offset) for offset in range(0, 20, 4))
    sizes = (_VARIABLE_START + variable, _REQUEST_BYTES + variable)
    if (
        request != _REQUEST_AK_CERTIFICATE
        or any(unused)
        or version != _REQUEST_DATA_VERSION
        or (size, described) != sizes
    ):
        raise Refused(KIND, "format", "the header or the request data is not one of an attestation key's report")
    if hardware not in _TYPES or hashed != _SHA256:
        raise Refused(KIND, "format", "neither SEV-SNP nor TDX, or not bound with SHA-256")
    if not 0 < variable <= len(data) - _VARIABLE_START:
        raise Refused(KIND, "format", "the runtime claims are not there")
    if any(data[size:]):
        raise Refused(KIND, "trailing-bytes", "bytes other than zero after the runtime claims")
    kind = _TYPES[hardware]
    report = data[_HEADER_BYTES:start]
    if kind is Kind.TDX:
        report, padding = report[:_TDREPORT_BYTES], report[_TDREPORT_BYTES:]
        if any(padding):
            raise Refused(KIND, "trailing-bytes", "bytes other than zero after the TD report")
    return HclReport(kind, report, data[_VARIABLE_START:size])


def parse_runtime_claims(data: bytes) -> RuntimeClaims:
    """The runtime claims. A name that stands twice is refused: readers would differ over which one counts.

    Claims that are not read here may be there, and are not passed on.

    Raises Refused (checks "format", "attestation-key").
    """
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refused(KIND, "format", "the runtime claims are not JSON") from None
    if not isinstance(document, dict):
        raise Refused(KIND, "format", "the runtime claims are not an object")
    configuration = document.get("vm-configuration", {})
    if not isinstance(configuration, dict):
        raise Refused(KIND, "format", "the configuration of the virtual machine is not an object")
    return RuntimeClaims(
        modulus=_attestation_key(document.get("keys")),
        user_data=_user_data(document.get("user-data", "")),
        secure_boot=_flag(configuration, "secure-boot"),
        console_enabled=_flag(configuration, "console-enabled"),
        vm_unique_id=_vm_id(configuration.get("vmUniqueId")),
    )


def _number(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 4], "little")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError
    return fields


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError


def _attestation_key(keys: object) -> int:
    # The same hardware signs claims over HCLTransferKey for key release; only a key of this name is the vTPM's to
    # quote with.
    named = (
        [key for key in keys if isinstance(key, dict) and key.get("kid") == "HCLAkPub"]
        if isinstance(keys, list)
        else []
    )
    if len(named) != 1:
        raise Refused(KIND, "attestation-key", "the runtime claims do not name exactly one HCLAkPub")
    key = named[0]
    if key.get("kty") != "RSA" or key.get("e") != _AK_EXPONENT or key.get("key_ops") != ["sign"]:
        raise Refused(KIND, "attestation-key", "not an RSA key for signing with exponent 65537")
    modulus = _base64url(key.get("n"))
    if len(modulus) != _AK_MODULUS_BYTES or not modulus[0] >> 7 or not modulus[-1] & 1:
        raise Refused(KIND, "attestation-key", "not an RSA modulus of 2048 bits")
    return int.from_bytes(modulus, "big")


def _base64url(text: object) -> bytes:
    if not isinstance(text, str) or not text.isascii():
        return b""
    try:
        decoded = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""
    return decoded if urlsafe_b64encode(decoded).rstrip(b"=") == text.encode("ascii") else b""


def _user_data(text: object) -> bytes | None:
    if text == "":
        return None
    if not isinstance(text, str) or re.fullmatch(r"[0-9A-Fa-f]{128}", text, re.ASCII) is None:
        raise Refused(KIND, "format", f"user-data is not {USER_DATA_BYTES} bytes in hex")
    return bytes.fromhex(text)


def _flag(configuration: Mapping[str, object], name: str) -> bool | None:
    value = configuration.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(KIND, "format", f"{name} is neither true nor false")
    return value


def _vm_id(value: object) -> str | None:
    # The host chooses it, and a person will read it on a terminal.
    if value is None or value == "":
        return None
    if not isinstance(value, str) or _VM_ID.fullmatch(value) is None:
        raise Refused(KIND, "format", "vmUniqueId is not letters, digits and hyphens")
    return value
