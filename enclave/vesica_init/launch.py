"""What the operator hands in at launch: a disk that begins with a tar archive.

The image is the same for everybody, so the agreement and the machine's address come from outside of it, unmeasured.
Nothing here can weaken a room: the agreement's digest is in the evidence, every party compares it, and what else can
be said is a closed set that decides only whether the room can be reached and which of its platform's interfaces makes
evidence. No file system driver of the kernel reads the medium; this module does, and every length in it is bounded.

Source of the format: POSIX.1-1988, ustar.
"""

import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LAUNCH: Final = "launch.toml"
AGREEMENT: Final = "agreement.toml"
COLLATERAL: Final = "tdx-collateral.json"
CERTIFICATE: Final = "snp-certificate"
TPM_CERTIFICATES: Final = "tpm-certificates.pem"
_SUPPLY_BYTES_MAX: Final = 128 * 2**10
FILE_BYTES_MAX: Final = {
    LAUNCH: 4096,
    AGREEMENT: 2**20,
    COLLATERAL: _SUPPLY_BYTES_MAX,
    CERTIFICATE: _SUPPLY_BYTES_MAX,
    TPM_CERTIFICATES: _SUPPLY_BYTES_MAX,
}
MEDIUM_BYTES_MAX: Final = 2 * 2**20
PORT_MAX: Final = 65_535
PORT_DEFAULT: Final = 8443
_BLOCK_BYTES: Final = 512
_MARK: Final = LAUNCH.encode() + b"\0"
_SUM: Final = slice(148, 156)


class LaunchInvalid(Exception):
    """The launch medium is not there, or not as it should be."""


@dataclass(frozen=True)
class Network:
    """address: the machine's, with the length of its network's prefix. gateway: None: nobody outside of that network
    reaches the room, nor does the room reach them.
    """

    address: ipaddress.IPv4Interface
    gateway: ipaddress.IPv4Address | None


@dataclass(frozen=True)
class Launch:
    """A checked medium. files: by name, those to be laid before the room. network: None: none."""

    files: Mapping[str, bytes]
    network: Network | None
    port: int
    attester: str


def find(devices: Iterable[Path]) -> bytes:
    """The content of the one device that begins with a launch archive, at most MEDIUM_BYTES_MAX of it.

    Raises LaunchInvalid if there is none, or more than one: it would not be clear which counts.
    """
    media = []
    for device in devices:
        try:
            with device.open("rb") as file:
                if file.read(len(_MARK)) == _MARK:
                    file.seek(0)
                    media.append(file.read(MEDIUM_BYTES_MAX))
        except OSError:
            continue  # an empty drive, or one that cannot be read
    if len(media) != 1:
        raise LaunchInvalid(
            f"{len(media)} disks begin with a tar archive whose first file is {LAUNCH}; there must be 1"
        )
    return media[0]


def read(medium: bytes) -> Launch:
    """What a medium says. Raises LaunchInvalid, naming the file and what is wrong."""
    files = _unpack(medium)
    for name in (LAUNCH, AGREEMENT):
        if name not in files:
            raise LaunchInvalid(f"{name} is not on the launch medium")
    try:
        said = tomllib.loads(files.pop(LAUNCH).decode())
    except ValueError:
        raise LaunchInvalid(f"{LAUNCH} is not TOML") from None
    except RecursionError:
        raise LaunchInvalid(f"{LAUNCH} is nested too deeply") from None
    network, room = _table(said, "network"), _table(said, "room")
    _nothing_else(said, "")
    launch = Launch(
        files=files,
        network=None if network is None else _network(network),
        port=_port((room or {}).pop("port", PORT_DEFAULT)),
        attester=_attester((room or {}).pop("attester", "auto")),
    )
    _nothing_else(room or {}, "room.")
    return launch


def _unpack(medium: bytes) -> dict[str, bytes]:
    """Files of a ustar archive: plain files of known names, each once, up to the first block of zeros."""
    files: dict[str, bytes] = {}
    place = 0
    while True:
        header = medium[place : place + _BLOCK_BYTES]
        if len(header) < _BLOCK_BYTES:
            raise LaunchInvalid("the launch medium's archive has no end")
        if header == bytes(_BLOCK_BYTES):
            return files
        name, size = _header(header)
        if name in files:
            raise LaunchInvalid(f"{name} is on the launch medium twice")
        place += _BLOCK_BYTES
        files[name] = medium[place : place + size]
        if len(files[name]) != size:
            raise LaunchInvalid(f"{name} is cut off on the launch medium")
        place += -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _header(header: bytes) -> tuple[str, int]:
    name = header[:100].rstrip(b"\0").decode("ascii", "replace")
    if name not in FILE_BYTES_MAX or header[345:500].strip(b"\0"):
        raise LaunchInvalid(f"the launch medium holds a file that is none of {', '.join(FILE_BYTES_MAX)}")
    if header[257:262] != b"ustar" or header[156:157] != b"0":
        raise LaunchInvalid(f"{name} on the launch medium is not a plain file of a ustar archive")
    if sum(header[:148]) + sum(header[156:]) + 8 * ord(" ") != _octal(header[_SUM], name):
        raise LaunchInvalid(f"the header of {name} on the launch medium has a wrong sum")
    size = _octal(header[124:136], name)
    if size > FILE_BYTES_MAX[name]:
        raise LaunchInvalid(f"{name} on the launch medium has more than {FILE_BYTES_MAX[name]} bytes")
    return name, size


def _octal(text: bytes, name: str) -> int:
    digits = text.strip(b" \0")
    if not re.fullmatch(rb"[0-7]{1,11}", digits):
        raise LaunchInvalid(f"the header of {name} on the launch medium has a number that is none")
    return int(digits, 8)


def _table(said: dict[str, object], name: str) -> dict[str, object] | None:
    found = said.pop(name, None)
    if found is not None and not isinstance(found, dict):
        raise LaunchInvalid(f"{LAUNCH}: {name} is not a table")
    return found


def _nothing_else(said: Mapping[str, object], place: str) -> None:
    if said:
        raise LaunchInvalid(f"{LAUNCH}: nothing is called {place}{min(said)!a}")


def _network(said: dict[str, object]) -> Network:
    address, gateway = said.pop("address", None), said.pop("gateway", None)
    _nothing_else(said, "network.")
    try:
        interface = ipaddress.IPv4Interface(_text(address))
        router = None if gateway is None else ipaddress.IPv4Address(_text(gateway))
    except ValueError:
        raise LaunchInvalid(f'{LAUNCH}: [network] needs address = "A.B.C.D/PREFIX", and may have a gateway') from None
    if "/" not in _text(address):
        raise LaunchInvalid(f"{LAUNCH}: network.address needs the length of its prefix, such as /24")
    return Network(interface, router)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""  # which is no address


def _port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= PORT_MAX:
        raise LaunchInvalid(f"{LAUNCH}: room.port is a number from 1 to {PORT_MAX}")
    return value


def _attester(value: object) -> str:
    # Only its shape: ``vesica serve`` knows the names. It is passed on as --attester=NAME, so it cannot be an option.
    if not isinstance(value, str) or not re.fullmatch(r"[a-z]{1,20}(-[a-z]{1,20}){0,3}", value):
        raise LaunchInvalid(f"{LAUNCH}: room.attester is the name of an attester, as vesica serve --help lists them")
    return value
