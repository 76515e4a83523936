"""What a TPM's registers hold after a boot, predicted from the files that are booted.

Each function says which boot it is about. What was seen of a real boot (QEMU without KVM, OVMF, swtpm) and what was
not is in docs/reference-values.md.

Sources: TCG PC Client Platform Firmware Profile 1.06, sections 3.3.4 and 10.4 (PCR 4); systemd,
docs/TPM2_PCR_MEASUREMENTS.md, and UAPI.5 "Unified Kernel Image" (PCR 11); Linux, drivers/firmware/efi/libstub
(``efi_measure_tagged_event``, PCR 9).
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vesica_images import pe
from vesica_images.files import FileInvalid

CALLING: Final = b"Calling EFI Application from Boot Option"
SEPARATOR: Final = bytes(4)
UNTOUCHED: Final = bytes(32)
# What QEMU adds to a command line that it hands over together with an initial file system.
QEMU_INITRD: Final = " initrd=initrd"


@dataclass(frozen=True)
class Stub:
    """How one version of systemd-stub measures. sections: into PCR 11, in this order, where they are there.

    kernel_in_pcr4: whether it lets the firmware load the kernel inside, which then measures that too.
    """

    sections: tuple[str, ...]
    kernel_in_pcr4: bool


_SECTIONS_252: Final = (".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey")
_SECTIONS: Final = (
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey",
)  # fmt: skip
# Each was booted, and its event log compared; a version that is not here is refused, because they differ.
STUBS: Final[Mapping[int, Stub]] = {
    252: Stub(_SECTIONS_252, kernel_in_pcr4=True),
    257: Stub(_SECTIONS, kernel_in_pcr4=True),
    262: Stub(_SECTIONS, kernel_in_pcr4=False),
}
# Which of these is measured depends on the machine or on who starts it.
_VARIABLE: Final = frozenset({".profile", ".dtbauto", ".hwids", ".efifw"})
_MAGIC: Final = re.compile(rb"#### LoaderInfo: systemd-stub (\d{3})[^#]{0,64} ####\0*")


def extend(register: bytes, digest: bytes) -> bytes:
    """A register after one more event: the hash of what it held and the event's digest.

    32 bytes for SHA-256, 48 for SHA-384. Source: TPM 2.0 Library, Part 1, "Extend of a PCR".
    """
    algorithm = {32: "sha256", 48: "sha384"}[len(register)]
    if len(digest) != len(register):
        raise ValueError("a digest of another algorithm than the register's")
    return hashlib.new(algorithm, register + digest).digest()


def replay(digests: Iterable[bytes], size: int = 32) -> bytes:
    """A register that began as ``size`` zeros, after these events in their order."""
    register = bytes(size)
    for digest in digests:
        register = extend(register, digest)
    return register


def unified_kernel(image: bytes) -> dict[int, bytes]:
    """PCR 4, 11, 12 and 13, SHA-256, when OVMF starts a unified kernel image as the first boot option that it tries.

    It stands as a file on a disk's boot partition, whether or not it is signed. PCR 12 and 13 stay zero, and matter as
    much as the others: without Secure Boot, whoever runs the machine can give the stub another command line, add-ons
    and credentials (PCR 12) or system extensions (PCR 13), and PCR 4 and 11 are the same as ever. What runs later adds
    nothing to any of them (systemd's services add boot phases to PCR 11: ``systemd-pcrphase`` must not run).

    Raises FileInvalid.
    """
    sections = unified_sections(image)
    stub = stub_of(sections)
    programs = [pe.authenticode(image)]
    if stub.kernel_in_pcr4:
        programs.append(pe.authenticode(sections[".linux"]))
    contents = [(name, _digest(sections[name])) for name in stub.sections if name in sections]
    return {4: pcr4(programs), 11: pcr11(contents), 12: UNTOUCHED, 13: UNTOUCHED}


def unified_sections(image: bytes) -> dict[str, bytes]:
    """Sections of a unified kernel image by name.

    Raises FileInvalid; also where a name stands twice, and for sections that are measured on some machines only.
    """
    found: dict[str, bytes] = {}
    for section in pe.sections(image):
        if section.name in found:
            raise FileInvalid(f"two sections called {section.name}")
        if section.name in _VARIABLE:
            raise FileInvalid(f"a section {section.name}: what is measured then depends on more than the image")
        found[section.name] = section.content
    if ".linux" not in found:
        raise FileInvalid("not a unified kernel image: no section .linux")
    return found


def stub_of(sections: Mapping[str, bytes]) -> Stub:
    """How the stub of this image measures, by the version that it names. Raises FileInvalid for one not known here."""
    said = _MAGIC.fullmatch(sections.get(".sdmagic", b""))
    if said is None:
        raise FileInvalid("not a unified kernel image of systemd-stub: it names no version")
    stub = STUBS.get(int(said[1]))
    if stub is None:
        known = ", ".join(map(str, STUBS))
        raise FileInvalid(f"systemd-stub {int(said[1])}: how it measures was not looked at; known are {known}")
    return stub


def pcr4(programs: Iterable[bytes]) -> bytes:
    """PCR 4 when firmware starts the first boot option. programs: Authenticode digests, in the order of their start."""
    return replay([_digest(CALLING), _digest(SEPARATOR), *programs])


def pcr11(contents: Iterable[tuple[str, bytes]]) -> bytes:
    """PCR 11 from names and SHA-256 of sections, in the order of measuring: the name with a NUL, then the content."""
    return replay(digest for name, content in contents for digest in (_digest(name.encode() + b"\0"), content))


def direct_boot(kernel: bytes, initrd: bytes, command_line: str) -> dict[int, bytes]:
    """PCR 4 and 9, SHA-256, when QEMU (10 or later) hands OVMF a kernel, an initial file system and a command line.

    Raises FileInvalid.
    """
    program = pe.authenticode(kernel)
    options, archive = load_options(command_line), _digest(initrd)
    return {4: replay([program, _digest(CALLING), _digest(SEPARATOR)]), 9: replay([_digest(options), archive])}


def load_options(command_line: str) -> bytes:
    """What the kernel measures of the command line that QEMU hands it: UTF-16, with QEMU's addition and a NUL."""
    return f"{command_line}{QEMU_INITRD}\0".encode("utf-16-le")


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
