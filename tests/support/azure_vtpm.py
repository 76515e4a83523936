"""Azure's vTPM: swtpm for the TPM, and around it what the paravisor adds, an NV index whose content is made when it
is read.

Follows microsoft/openvmm, vm/devices/tpm and openhcl_attestation_protocol: the report is renewed at the start of a
read of 0x01400001, if more than two seconds have passed since it was last; its runtime claims repeat what then stands
in 0x01400002, or zeros where there is no such index; the hardware report's data is the SHA-256 of the claims.
"""

import hashlib
import json
import struct
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field

from support import swtpm
from support.fuse import Directory, File, Handle

REPORT_INDEX, USER_DATA_INDEX, KEY = 0x01400001, 0x01400002, 0x81000003
HCL_BYTES = 2600
_NV_READ_PUBLIC = 0x169
_RENEWAL_SECONDS = 2.0
SNP, TDX = 2, 4


@dataclass
class Clock:
    """A time that passes only while somebody sleeps."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


@dataclass
class AzureVtpm:
    """``exchange`` is what a guest's TPM device leads to.

    hardware: gives a hardware report (SNP, 1184 bytes; TD report, 1024) for report data. modulus: of the key at
    0x81000003. before: called with each command before it is carried out; what it returns, if anything, is the answer
    instead.
    """

    tpm: swtpm.Exchange
    modulus: int
    hardware: Callable[[bytes], bytes]
    clock: Clock
    kind: int = SNP
    before: Callable[[bytes], bytes | None] = lambda _: None
    commands: list[int] = field(default_factory=list)
    renewed_at: float | None = None
    report: bytes = bytes(HCL_BYTES)

    def exchange(self, command: bytes) -> bytes:
        instead = self.before(command)
        if instead is not None:
            return instead
        code = int.from_bytes(command[6:10], "big")
        self.commands.append(code)
        if code == _NV_READ_PUBLIC and int.from_bytes(command[10:14], "big") == REPORT_INDEX:
            public = struct.pack(">IHIHH", REPORT_INDEX, swtpm.SHA256, 0x62040001, 0, HCL_BYTES)
            name = b"\0\x0b" + hashlib.sha256(public).digest()
            body = b"".join(struct.pack(">H", len(part)) + part for part in (public, name))
            return struct.pack(">HII", 0x8001, 10 + len(body), 0) + body
        if code == swtpm.NV_READ and int.from_bytes(command[14:18], "big") == REPORT_INDEX:
            return self.read_report(*struct.unpack(">HH", command[-4:]))
        return self.tpm(command)

    def read_report(self, size: int, offset: int) -> bytes:
        if self.renewed_at is None or self.clock.now - self.renewed_at > _RENEWAL_SECONDS:
            self.renew()
        piece = self.report[offset : offset + size]
        parameters = struct.pack(">H", len(piece)) + piece
        body = struct.pack(">I", len(parameters)) + parameters + struct.pack(">HBH", 0, 1, 0)
        return struct.pack(">HII", 0x8002, 10 + len(body), 0) + body

    def renew(self) -> None:
        try:
            user_data = swtpm.nv_read(self.tpm, USER_DATA_INDEX, 64)
        except RuntimeError:
            user_data = bytes(64)
        claims = runtime_claims(self.modulus, user_data, int(self.clock.now))
        report = self.hardware(hashlib.sha256(claims).digest().ljust(64, b"\0"))
        self.report = hcl_report(self.kind, report, claims)
        self.renewed_at = self.clock.now


def runtime_claims(modulus: int, user_data: bytes, now: int = 0) -> bytes:
    number = urlsafe_b64encode(modulus.to_bytes(256, "big")).rstrip(b"=").decode()
    key = {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": number}
    claims = {"keys": [key], "vm-configuration": {"current-time": now, "secure-boot": True}}
    claims["user-data"] = user_data.hex().upper()
    return json.dumps(claims, separators=(",", ":")).encode()


def hcl_report(kind: int, report: bytes, claims: bytes) -> bytes:
    size = 32 + 1184 + 20 + len(claims)
    header = b"HCLA" + struct.pack("<7I", 1, size, 2, 0, 0, 0, 0)
    request = struct.pack("<5I", 20 + len(claims), 1, kind, 1, len(claims))
    return (header + report.ljust(1184, b"\0") + request + claims).ljust(HCL_BYTES, b"\0")


class Devices(Directory):
    """A folder with ``tpmrm0`` in it: one write is one command, one read its answer, as in drivers/char/tpm."""

    def __init__(self, exchange: swtpm.Exchange) -> None:
        self.device = _Device(exchange)

    def children(self) -> dict[str, File]:
        return {"tpmrm0": self.device}


class _Device(File):
    mode = 0o600

    def __init__(self, exchange: swtpm.Exchange) -> None:
        self.exchange = exchange
        self.open_now = 0

    def open(self, flags: int) -> Handle:
        self.open_now += 1
        return _DeviceHandle(self)


class _DeviceHandle(Handle):
    def __init__(self, device: _Device) -> None:
        self.device = device
        self.answer = b""

    def write(self, offset: int, data: bytes) -> int:
        self.answer = self.device.exchange(data)
        return len(data)

    def read(self, offset: int, size: int) -> bytes:
        answer, self.answer = self.answer[:size], b""
        return answer

    def close(self) -> None:
        self.device.open_now -= 1
