"""The bridge between vsock and TCP, over unix sockets and TCP: the same code, with another family."""

import asyncio
import contextlib
import io
import queue
import socket
import subprocess
import sys
import tarfile
import threading

import pytest

from vesica_init import bridge, launch, nitro
from vesica_init.bridge import AddressInvalid, parse

LARGE = bytes(range(256)) * 2**14  # 4 MiB


def test_addresses_of_all_three_kinds_are_read():
    assert parse("tcp:127.0.0.1:8443") == bridge.Address(socket.AF_INET, ("127.0.0.1", 8443))
    assert parse("vsock:16:8443") == bridge.Address(socket.AF_VSOCK, (16, 8443))
    assert parse("vsock:any:8443") == bridge.Address(socket.AF_VSOCK, (socket.VMADDR_CID_ANY, 8443))
    assert parse("unix:/run/x") == bridge.Address(socket.AF_UNIX, "/run/x")


@pytest.mark.parametrize(
    "text", ["", "unix:", "tcp:8443", "tcp:host:1", "tcp:1.2.3.4:65536", "vsock:x:1", "vsock:1:-1", "udp:1.2.3.4:1"]
)
def test_another_address_is_refused(text):
    with pytest.raises(AddressInvalid):
        parse(text)


@contextlib.contextmanager
def in_background(coroutine):
    """Runs a coroutine in a thread of its own, until the block ends."""
    ready: queue.Queue = queue.Queue()

    async def until_stopped() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(coroutine)
        ready.put((asyncio.get_running_loop(), stop))
        await stop.wait()
        task.cancel()

    thread = threading.Thread(target=asyncio.run, args=[until_stopped()])
    thread.start()
    loop, stop = ready.get()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@pytest.fixture
def bridged(tmp_path):
    """A server's listening socket, and the address of a bridge to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        target = bridge.Address(socket.AF_INET, server.getsockname())
        address = bridge.Address(socket.AF_UNIX, str(tmp_path / "bridge"))
        with bridge.listen(address) as listener, in_background(bridge.carry(listener, target)):
            yield server, address


def connect(address) -> socket.socket:
    client = socket.socket(address.family)
    client.settimeout(20)
    client.connect(address.place)
    return client


def read_all(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(2**16):
        found += piece
    return found


def test_bytes_pass_both_ways_whole_and_an_end_on_one_side_leaves_the_other_open(bridged):
    server, address = bridged
    with connect(address) as client:
        sender = threading.Thread(target=lambda: (client.sendall(LARGE), client.shutdown(socket.SHUT_WR)))
        sender.start()
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(20)
            assert read_all(accepted) == LARGE
            sender.join()
            accepted.sendall(LARGE[:99])
        assert read_all(client) == LARGE[:99]


def test_connections_do_not_wait_for_each_other(bridged):
    server, address = bridged
    with connect(address) as idle, connect(address) as busy:
        first, _ = server.accept()
        second, _ = server.accept()
        with first, second:
            busy.sendall(b"x")
            first.settimeout(0.5)
            second.settimeout(20)
            with contextlib.suppress(TimeoutError):
                assert first.recv(1) == b"x"
                return
            assert second.recv(1) == b"x"
        assert idle.fileno() >= 0


def test_a_broken_connection_ends_alone(bridged):
    server, address = bridged
    with connect(address):
        accepted, _ = server.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        accepted.close()  # with a reset
    with connect(address) as client:
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(b"still here")
        assert read_all(client) == b"still here"


def test_where_nobody_listens_the_client_is_let_go(tmp_path):
    address = bridge.Address(socket.AF_UNIX, str(tmp_path / "bridge"))
    nobody = bridge.Address(socket.AF_UNIX, str(tmp_path / "nobody"))
    with bridge.listen(address) as listener, in_background(bridge.carry(listener, nobody)), connect(address) as client:
        assert read_all(client) == b""


def test_the_command_carries_a_connection(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        place = tmp_path / "bridge"
        command = [
            sys.executable,
            "-m",
            "vesica_init.bridge",
            f"unix:{place}",
            f"tcp:127.0.0.1:{server.getsockname()[1]}",
        ]
        with subprocess.Popen(command) as process:
            try:
                while not place.exists():
                    assert process.poll() is None
                with connect(bridge.Address(socket.AF_UNIX, str(place))) as client:
                    accepted, _ = server.accept()
                    with accepted:
                        accepted.sendall(b"hello")
                    assert read_all(client) == b"hello"
            finally:
                process.terminate()


def test_an_enclave_gets_the_launch_archive_that_its_parent_hands_in(tmp_path):
    address = bridge.Address(socket.AF_UNIX, str(tmp_path / "parent"))
    archive = _archive()
    with bridge.listen(address) as listener, in_background(nitro.hand_in(listener, archive)):
        assert launch.read(nitro.fetch(address)).files == {"agreement.toml": b"name = 'x'\n"}
        assert nitro.fetch(address) == archive  # and again, when it is started again


def test_an_enclave_waits_for_a_parent_that_listens_a_little_later(tmp_path):
    address = bridge.Address(socket.AF_UNIX, str(tmp_path / "parent"))
    found = []
    asking = threading.Thread(target=lambda: found.append(nitro.fetch(address)))
    asking.start()
    asking.join(0.2)
    with bridge.listen(address) as listener, in_background(nitro.hand_in(listener, _archive())):
        asking.join()
    assert found == [_archive()]


def test_an_enclave_takes_no_more_than_the_bound(tmp_path):
    address = bridge.Address(socket.AF_UNIX, str(tmp_path / "parent"))
    endless = bytes(launch.MEDIUM_BYTES_MAX + 1)
    with (
        bridge.listen(address) as listener,
        in_background(nitro.hand_in(listener, endless)),
        pytest.raises(launch.LaunchInvalid, match="more than"),
    ):
        nitro.fetch(address)


def _archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in (("launch.toml", b""), ("agreement.toml", b"name = 'x'\n")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()
