"""One IPv4 address on the machine's one network device, by the oldest interface that Linux has for it.

The address is fixed at launch, because a client of DHCP would be one more parser of what the operator sends.
Sources: netdevice(7), rtnetlink's predecessor in include/uapi/linux/route.h.
"""

import ctypes
import fcntl
import ipaddress
import socket
import struct
import time
from pathlib import Path
from typing import Final

from vesica_init.launch import LaunchInvalid, Network

_SIOCADDRT: Final = 0x890B
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_SIOCSIFADDR: Final = 0x8916
_SIOCSIFNETMASK: Final = 0x891C
_IFF_UP: Final = 1
_RTF_UP, _RTF_GATEWAY, _RTF_HOST = 1, 2, 4
# struct rtentry: padding, target, gateway, mask, flags, three paddings, metric, device, then three that stay 0
_RTENTRY: Final = struct.Struct("@L16s16s16sHhLPhP24x")
_ANYWHERE: Final = ipaddress.IPv4Address(0)
_ARPHRD_ETHER: Final = "1"
_WAIT_SECONDS_MAX: Final = 30.0


def loopback_up() -> None:
    """Brings 127.0.0.1 up."""
    with _socket() as control:
        _up(control, "lo")


def configure(network: Network, place: Path = Path("/sys/class/net")) -> None:
    """Sets address and, where there is a gateway, the default route.

    Raises LaunchInvalid unless there is exactly one network device besides loopback; OSError.
    """
    device = _device(place)
    with _socket() as control:
        _set_address(control, _SIOCSIFADDR, device, network.address.ip)
        _set_address(control, _SIOCSIFNETMASK, device, network.address.netmask)
        _up(control, device)
        if network.gateway is not None:
            if network.gateway not in network.address.network:  # some clouds give addresses with /32
                _add_route(control, device, network.gateway, _ANYWHERE, _RTF_HOST)
            _add_route(control, device, _ANYWHERE, network.gateway, _RTF_GATEWAY)


def _device(place: Path) -> str:
    deadline = time.monotonic() + _WAIT_SECONDS_MAX
    while True:
        names = [path.name for path in place.iterdir() if (path / "type").read_text().strip() == _ARPHRD_ETHER]
        if len(names) == 1:
            return names[0]
        if time.monotonic() > deadline:
            raise LaunchInvalid(
                f"launch.toml names an address, and this machine has {len(names)} network devices, not 1"
            )
        time.sleep(0.1)


def _socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _set_address(control: socket.socket, request: int, device: str, address: ipaddress.IPv4Address) -> None:
    fcntl.ioctl(control, request, struct.pack("16s16s8x", device.encode(), _sockaddr(address)))


def _up(control: socket.socket, device: str) -> None:
    found = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16s24x", device.encode()))
    flags = struct.unpack_from("h", found, 16)[0]
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", device.encode(), flags | _IFF_UP))


def _sockaddr(address: ipaddress.IPv4Address) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, 0, address.packed)


def _add_route(
    control: socket.socket, device: str, target: ipaddress.IPv4Address, gateway: ipaddress.IPv4Address, flags: int
) -> None:
    """SIOCADDRT with a struct rtentry, which points to the device's name."""
    mask = ipaddress.IPv4Address(2**32 - 1 if flags & _RTF_HOST else 0)
    name = ctypes.create_string_buffer(device.encode())
    addresses = (_sockaddr(target), _sockaddr(gateway), _sockaddr(mask))
    fcntl.ioctl(control, _SIOCADDRT, _RTENTRY.pack(0, *addresses, flags | _RTF_UP, 0, 0, 0, 0, ctypes.addressof(name)))
