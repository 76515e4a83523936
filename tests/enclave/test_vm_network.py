"""How a VM gets its address: tried on a network device in a network namespace of its own."""

import json
import subprocess
import sys

import pytest

# Makes a network namespace and an Ethernet-like device in it, configures it, and tells what the kernel then shows.
SCRIPT = """
import fcntl, ipaddress, json, os, struct, sys
from pathlib import Path
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.getuid(), os.getgid()
if libc.unshare(0x10000000 | 0x40000000 | 0x00020000):  # user, network and mount namespaces
    sys.exit(77)
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
devices = []
for number in range(int(sys.argv[3])):
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", f"tap{number}".encode(), 0x1002))
    except OSError:
        sys.exit(77)
    devices.append(tun)
from vesica_init import launch, network
network._WAIT_SECONDS_MAX = 0.2
sysfs = Path("/sys/class/net")
if libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None):
    sys.exit(77)
gateway = ipaddress.IPv4Address(sys.argv[2]) if sys.argv[2] else None
network.loopback_up()
try:
    network.configure(launch.Network(ipaddress.IPv4Interface(sys.argv[1]), gateway), sysfs)
except launch.LaunchInvalid as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
routes = [line.split() for line in Path("/proc/self/net/route").read_text().splitlines()[1:]]
local = Path("/proc/self/net/fib_trie").read_text()
print(json.dumps({"routes": [[row[0], row[1], row[2], row[7]] for row in routes], "local": local}))
"""


def configured(address: str, gateway: str = "", devices: int = 1) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, address, gateway, str(devices)], capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip("no namespaces or no /dev/net/tun here")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def hexadecimal(address: str) -> str:
    """As /proc/net/route has it."""
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


def test_without_a_gateway_there_is_no_route_to_elsewhere():
    found = configured("10.7.0.5/24")
    assert found["routes"] == [["tap0", hexadecimal("10.7.0.0"), "00000000", hexadecimal("255.255.255.0")]]
    assert "10.7.0.5" in found["local"]


def test_a_gateway_is_the_default_route():
    found = configured("10.7.0.5/24", "10.7.0.1")
    assert ["tap0", "00000000", hexadecimal("10.7.0.1"), "00000000"] in found["routes"]


def test_a_gateway_outside_of_the_prefix_is_reached_on_the_link_as_some_clouds_have_it():
    found = configured("10.7.0.5/32", "10.7.0.1")
    assert ["tap0", hexadecimal("10.7.0.1"), "00000000", "FFFFFFFF"] in found["routes"]
    assert ["tap0", "00000000", hexadecimal("10.7.0.1"), "00000000"] in found["routes"]


@pytest.mark.parametrize("devices", [0, 2])
def test_an_address_for_no_device_or_for_one_of_two_stops_the_machine(devices):
    assert f"has {devices} network devices" in configured("10.7.0.5/24", devices=devices)["error"]
