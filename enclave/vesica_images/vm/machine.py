"""Runs a disk image as a virtual machine on this one: QEMU without KVM, UEFI firmware, and a TPM in software.

For checks, not for rooms: whoever runs this machine can read all that is in the virtual one.
"""

import http.client
import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FIRMWARE: Final = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES: Final = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
ROOM_PORT: Final = 8443
# The address that QEMU's user-mode network gives; without DHCP the launch medium must name it.
ADDRESS: Final = "10.0.2.15/24"
_MEMORY_MIB: Final = 2048
_STEP_SECONDS: Final = 0.5
_SECTOR_BYTES: Final = 512
_GPT_ENTRIES_AT, _GPT_ENTRY_BYTES, _GPT_FIRST_AT = 2 * _SECTOR_BYTES, 128, 32
_INODE_TABLE_AT: Final = 64  # in a squashfs's superblock
_ROOT_PARTITION: Final = 2


class MachineFailed(Exception):
    """The machine did not do what was waited for. The message ends with the last lines of its console."""


@dataclass(frozen=True)
class Machine:
    """A running machine. port: of the room, on this machine's loopback. console: what it wrote. started: on
    time.monotonic.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    console: Path
    started: float

    @property
    def url(self) -> str:
        """Of the room."""
        return f"https://127.0.0.1:{self.port}"

    def wait_until_healthy(self, seconds_max: float) -> float:
        """Seconds from power-on until the room answered. Raises MachineFailed."""
        while time.monotonic() < self.started + seconds_max:
            if self.process.poll() is not None:
                raise self._failed("it went off")
            if _healthy(self.port):
                return time.monotonic() - self.started
            time.sleep(_STEP_SECONDS)
        raise self._failed(f"no answer from the room in {seconds_max:g} seconds")

    def wait_until_said(self, words: str, seconds_max: float) -> None:
        """Until the console has these words. Raises MachineFailed."""
        while words not in self.said():
            if self.process.poll() is not None:
                raise self._failed("it went off")
            if time.monotonic() > self.started + seconds_max:
                raise self._failed(f"{words!r} was not said in {seconds_max:g} seconds")
            time.sleep(_STEP_SECONDS)

    def wait_until_off(self, seconds_max: float) -> float:
        """Seconds from power-on until the machine went off by itself. Raises MachineFailed."""
        try:
            self.process.wait(max(self.started + seconds_max - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            raise self._failed(f"still on after {seconds_max:g} seconds") from None
        return time.monotonic() - self.started

    def said(self) -> str:
        """All of the console so far."""
        return self.console.read_text(encoding="utf-8", errors="replace")

    def _failed(self, why: str) -> MachineFailed:
        tail = "\n".join(self.said().splitlines()[-15:])
        return MachineFailed(f"{why}; its console ended:\n{tail}")


@contextmanager
def running(
    disk: Path, launch: Path, folder: Path, *, tpm_state: Path | None = None, options: Sequence[str] = ()
) -> Iterator[Machine]:
    """A machine that boots ``disk``, until the end of the block. Neither disk nor launch medium can be written.

    folder: for its files, made anew. tpm_state: of a TPM that was set up before; None: a fresh one without
    certificates. options: more of QEMU's. Raises OSError, CalledProcessError.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    variables = folder / "variables.fd"
    shutil.copyfile(VARIABLES, variables)
    with ExitStack() as stack:
        control = stack.enter_context(_tpm(folder, tpm_state))
        port = _free_port()
        console = folder / "console.log"
        command = [*_command(disk, launch, variables, control, port), *options]
        output = stack.enter_context(console.open("wb"))
        started = time.monotonic()
        process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # noqa: S603
        )
        stack.callback(process.kill)
        yield Machine(process, port, console, started)


def _command(disk: Path, launch: Path, variables: Path, control: Path, port: int) -> list[str]:
    drives = (
        f"if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE}",
        f"if=pflash,format=raw,unit=1,file={variables}",
        f"if=virtio,format=raw,readonly=on,file={disk}",
        f"if=virtio,format=raw,readonly=on,file={launch}",
    )
    # restrict=on: the guest reaches nobody; it is reached from here only, by the one forwarded port.
    network = f"user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{ROOM_PORT}"
    return [
        "qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio",
        "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(_MEMORY_MIB),
        *(word for drive in drives for word in ("-drive", drive)),
        "-chardev", f"socket,id=tpm0,path={control}", "-tpmdev", "emulator,id=tpm0,chardev=tpm0",
        "-device", "tpm-crb,tpmdev=tpm0", "-device", "virtio-rng-pci",
        "-netdev", network, "-device", "virtio-net-pci,netdev=net0,romfile=",
    ]  # fmt: skip


@contextmanager
def _tpm(folder: Path, state: Path | None) -> Iterator[Path]:
    """A TPM in software that goes on from a state; its control socket. The state itself is not changed."""
    own = folder / "tpm"
    if state is None:
        own.mkdir()
        setup = ["swtpm_setup", "--tpm2", "--tpmstate", str(own), "--pcr-banks", "sha256"]
        subprocess.run(setup, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    else:
        shutil.copytree(state, own)
    control = folder / "tpm.control"
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={own}", "--ctrl", f"type=unixio,path={control}"]
    with subprocess.Popen([*command, "--terminate"]) as process:  # noqa: S603
        try:
            while not control.exists() and process.poll() is None:
                time.sleep(0.05)
            yield control
        finally:
            process.terminate()


def flip_a_bit(disk: Path, target: Path) -> None:
    """Copies a disk, with one bit changed in its root file system: of what says which files there are."""
    shutil.copyfile(disk, target)
    with target.open("r+b") as file:
        file.seek(_GPT_ENTRIES_AT + (_ROOT_PARTITION - 1) * _GPT_ENTRY_BYTES + _GPT_FIRST_AT)
        start = struct.unpack("<Q", file.read(8))[0] * _SECTOR_BYTES
        file.seek(start + _INODE_TABLE_AT)
        place = start + struct.unpack("<Q", file.read(8))[0] + 100
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _healthy(port: int) -> bool:
    # Who answers is not asked here: that is what evidence is for.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
