"""Attesters still give evidence from a process that is sealed with what they say they need, and it can do no more.

Each sealed process is a real one: the attester is made and probed, then the process is sealed, then it attests, and
then it tries what it must not be able to do.
"""

import dataclasses
import errno
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fuse
from support.attesters import EVIDENCE, TDX, quote, quote_report_data, snp, snp_driver, snp_report_data, tdx_driver
from support.hardened import outcomes
from support.platform import serving, whole
from support.space_tokens import NONCE, REPORT_DATA, claims_of, fake_google
from support.tsm import Tsm
from vesica_attestation.azure.attester import TPM, AzureAttester
from vesica_attestation.needs import Needs
from vesica_enclave.serve import Settings, _supplied

# {make}: an expression that makes an attester of arguments a (a list of texts). {tries}: a dict of what is tried
# afterwards. Prints what came of both: a kind or an error's text, and an errno (0: it worked).
SEALED = """
import json, os, socket, sys
from pathlib import Path
from vesica_attestation.azure.attester import AzureAttester
from vesica_attestation.confidential_space.attester import ConfidentialSpaceAttester
from vesica_attestation.dstack.attester import DstackAttester
from vesica_attestation.attester import from_file
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.needs import Needs
from vesica_attestation.nitro.attester import NitroAttester
from vesica_attestation.sev_snp.attester import SevSnpAttester
from vesica_attestation.tdx.attester import TdxAttester
from vesica_enclave.hardening import at_start, carry_out, to_seal
a = sys.argv[2:]
def opened(path, flags):
    os.close(os.open(path, flags))
def connected(family, address, kind=socket.SOCK_STREAM, protocol=0):
    with socket.socket(family, kind, protocol) as connection:
        connection.connect(address)
def number(act):
    try:
        act()
    except OSError as error:
        return error.errno
    return 0
def read(text):
    assert text != b"old"
    return text
attester = {make}
needs = {needs}
complaints = []
carry_out((*at_start(), *to_seal(needs)), complaints.append)
assert all(failure.measure == "no-swap" for failure in complaints), complaints
try:
    said = str(attester.attest(bytes.fromhex(sys.argv[1])).kind) if sys.argv[1] else ""
except AttesterUnavailable as error:
    said = str(error)
print(json.dumps([said, {{name: number(act) for name, act in {tries}.items()}}]))
"""
FILES = """{
    "write": lambda: opened(a[1], os.O_WRONLY), "read": lambda: opened(a[1], os.O_RDONLY),
    "make": lambda: opened(a[1] + "x", os.O_WRONLY | os.O_CREAT), "folder": lambda: os.mkdir(a[1] + "y"),
    "remove": lambda: os.unlink(a[1]), "rmdir": lambda: os.rmdir(a[2]),
    "socket": lambda: connected(socket.AF_INET, ("127.0.0.1", 9)),
}"""


def sealed(make: str, report_data: bytes, *arguments: object, tries: str = "{}", needs: str = "attester.needs"):
    program = SEALED.format(make=make, tries=tries, needs=needs)
    return outcomes(program, report_data.hex(), *map(str, arguments))


@pytest.fixture
def other(tmp_path: Path) -> tuple[Path, Path]:
    """A file and a folder that no attester needs."""
    file, folder = tmp_path / "other", tmp_path / "folder"
    file.write_text("x")
    folder.mkdir()
    return file, folder


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    why = fuse.why_not()
    if why is not None:
        pytest.skip(f"no FUSE here: {why}")
    folder = tmp_path / "report"
    folder.mkdir()
    return folder


def test_sev_snp_still_makes_and_removes_its_entry_and_nothing_else_is_written(mountpoint, other):
    tsm = Tsm(snp_driver("genoa-v5"))
    with fuse.mounted(tsm, mountpoint):
        make = "SevSnpAttester(place=Path(a[0]))"
        said, tried = sealed(make, snp_report_data(snp("genoa-v5")[0]), mountpoint, *other, tries=FILES)
    assert said == "sev-snp"
    assert len(tsm.made) == 1
    assert not tsm.entries
    assert tried == {
        "write": errno.EACCES,
        "read": errno.EACCES,
        "make": errno.EPERM,
        "folder": errno.EACCES,
        "remove": errno.EPERM,
        "rmdir": errno.EACCES,
        "socket": errno.EPERM,
    }


def test_tdx_reads_its_collateral_from_a_file_that_is_replaced_while_the_room_is_sealed(mountpoint, other, tmp_path):
    """The room grants the folder, as ``serve`` does: a file that is renewed is often another file."""
    handed_in = tmp_path / "handed-in"
    handed_in.mkdir()
    collateral = handed_in / "collateral.json"
    collateral.write_bytes(b"old")
    driver = tdx_driver("v4-uptodate")
    report = driver.report

    def renewing(inblob: bytes, privlevel: int) -> tuple[bytes, bytes]:
        """The sealed process asks for its quote: now is the time."""
        (handed_in / "new").write_bytes((TDX / "v4-uptodate" / "collateral.json").read_bytes())
        (handed_in / "new").replace(collateral)
        return report(inblob, privlevel)

    driver.report = renewing
    make = "TdxAttester(lambda quote: read(from_file(Path(a[3]))(quote)), place=Path(a[0]))"
    needs = "attester.needs | Needs(reads=frozenset({Path(a[3]).parent}))"
    with fuse.mounted(Tsm(driver), mountpoint):
        data = quote_report_data(quote("v4-uptodate"))
        said, tried = sealed(make, data, mountpoint, *other, collateral, tries=FILES, needs=needs)
    assert said == "tdx"
    assert tried["read"] == tried["write"] == errno.EACCES


def test_of_what_the_operator_hands_in_a_room_may_read_the_folders_and_never_all_folders(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "collateral.json").write_bytes(b"{}")
    (tmp_path / "link.json").symlink_to(data / "collateral.json")
    none = Settings(Path("agreement.toml"))
    assert _supplied(none) == Needs()
    linked = dataclasses.replace(none, tdx_collateral=tmp_path / "link.json")
    assert _supplied(linked) == Needs(reads=frozenset({tmp_path, data}))
    at_root = dataclasses.replace(none, snp_certificate=Path("/vcek.der"))
    assert _supplied(at_root) == Needs(reads=frozenset({Path("/vcek.der")}))


def test_nitro_still_reaches_its_device_and_no_other(other):
    """No such module is here: another device stands in. That it is asked, and has no answer, shows the way is open."""
    tries = """{
        "device": lambda: opened(a[0], os.O_RDWR), "other device": lambda: opened("/dev/zero", os.O_RDWR),
        "other request": lambda: __import__("fcntl").ioctl(0, 0x5412, b"x"),
    }"""
    said, tried = sealed("NitroAttester(Path(a[0]))", bytes(64), "/dev/null", *other, tries=tries)
    assert said == "nitro: /dev/null answered ENOTTY"
    assert tried == {"device": 0, "other device": errno.EACCES, "other request": errno.EPERM}


UNIX = """{
    "tcp": lambda: connected(socket.AF_INET, ("127.0.0.1", int(a[1]))),
    "datagram": lambda: connected(socket.AF_UNIX, a[0], socket.SOCK_DGRAM),
    "vsock": lambda: connected(socket.AF_VSOCK, (3, 1)),
    "abstract": lambda: connected(socket.AF_UNIX, "\\0" + a[2]),
    "write": lambda: opened(a[3], os.O_WRONLY),
}"""


@pytest.fixture
def listening() -> Iterator[tuple[int, str]]:
    """A port of loopback and a name in the abstract namespace, on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0vesica-test-abstract")
        abstract.listen()
        yield tcp.getsockname()[1], "vesica-test-abstract"


def test_confidential_space_still_reaches_its_launcher_and_nothing_on_the_network(tmp_path, other, listening):
    token = fake_google().token(claims_of(eat_nonce=[NONCE]))
    with serving(tmp_path / "teeserver.sock", whole(200, token)) as seen:
        make = "ConfidentialSpaceAttester(socket=Path(a[0]))"
        said, tried = sealed(make, REPORT_DATA, seen.address, *listening, other[0], tries=UNIX)
    assert said == "confidential-space"
    assert tried.pop("abstract") == errno.EPERM  # Landlock's scope, from ABI 6
    assert tried == {"tcp": errno.EPERM, "datagram": errno.EPERM, "vsock": errno.EPERM, "write": errno.EPERM}


def test_dstack_still_reaches_its_guest_agent(tmp_path, other, listening):
    folder = EVIDENCE / "dstack" / "tdx-2026"
    value = (folder / "quote.bin").read_bytes()
    answer = {"quote": value.hex(), "event_log": (folder / "event_log.json").read_text()}
    with serving(tmp_path / "dstack.sock", whole(200, json.dumps(answer).encode())) as seen:
        make = "DstackAttester(lambda _: b'{}', (Path(a[0]),))"
        said, tried = sealed(make, quote_report_data(value), seen.address, *listening, other[0], tries=UNIX)
    assert said == "tdx"
    assert {name for name, number in tried.items() if number == 0} == set()


PORTS = """{
    "its port": lambda: connected(socket.AF_INET, ("127.0.0.1", int(a[1]))),
    "another port": lambda: connected(socket.AF_INET, ("127.0.0.1", int(a[2]))),
    "mptcp": lambda: connected(socket.AF_INET, ("127.0.0.1", int(a[2])), protocol=262),
    "ipv6": lambda: connected(socket.AF_INET6, ("::1", int(a[1]))),
    "udp": lambda: connected(socket.AF_INET, ("127.0.0.1", int(a[2])), socket.SOCK_DGRAM),
    "while sending": lambda: socket.socket().sendto(b"x", 0x20000000, ("127.0.0.1", int(a[2]))),
    "unix": lambda: socket.socket(socket.AF_UNIX),
    "listening": lambda: socket.socket().listen(),
    "its device": lambda: opened(a[0], os.O_RDWR),
}"""


def test_azure_may_connect_to_the_hosts_port_and_to_no_other():
    """The port of the host's service is 80: two ports of loopback stand in for it and for another."""
    with socket.create_server(("127.0.0.1", 0)) as host, socket.create_server(("127.0.0.1", 0)) as elsewhere:
        ports = [server.getsockname()[1] for server in (host, elsewhere)]
        make = "AzureAttester(device=Path(a[0]))"
        needs = "Needs(devices=attester.needs.devices, ports=frozenset({int(a[1])} if attester.needs.ports else ()))"
        _, tried = sealed(make, b"", "/dev/null", *ports, tries=PORTS, needs=needs)
    assert AzureAttester().needs == Needs(devices=frozenset({TPM}), ports=frozenset({80}))
    assert tried == {
        "its port": 0,
        "another port": errno.EACCES,
        "mptcp": errno.EPERM,
        "ipv6": errno.EPERM,
        "udp": errno.EPERM,
        "while sending": errno.EPERM,
        "unix": errno.EPERM,
        "listening": errno.EPERM,
        "its device": 0,
    }
