"""Reference values: what evidence must say, computed from the files of a build (RFC 9334, section 8.3).

A ``reference-values.json`` is signed by nobody. Whoever builds the same sources gets the same bytes; ``cmp`` is the
check. So there is one way to write each set of values, and another way is refused. docs/reference-values.md says what
each value is and with what it was compared.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

VERSION: Final = 1
REFERENCE_VALUES_BYTES_MAX: Final = 256 * 2**10
SIZE_MAX: Final = 2**50
LIST_MAX: Final = 256
TEXT_CHARACTERS_MAX: Final = 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", re.ASCII)
# Files that are measured, and the kinds of values with the files that each is computed from.
SOURCES: Final = (
    "command_line", "enclave", "image", "initrd", "kernel", "root", "snp_firmware", "tdx_firmware", "unified",
)  # fmt: skip
COMPUTED_FROM: Final[Mapping[str, tuple[str, ...]]] = {
    "confidential_space": ("image",),
    "nitro": ("enclave",),
    "sev_snp": ("snp_firmware", "kernel", "initrd", "command_line"),
    "tdx": ("tdx_firmware", "kernel", "initrd", "command_line"),
    "tpm": ("unified",),
    "verity": ("root",),
}


class ReferenceValuesInvalid(Exception):
    """A file of reference values that cannot be used. ``place`` says where in it."""

    code = "reference-values-invalid"

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place = place
        self.detail = why


@dataclass(frozen=True)
class Source:
    """A file that values were computed from. file: its name, without a folder. sha256: of its bytes."""

    file: str
    size: int
    sha256: bytes


@dataclass(frozen=True)
class SnpLaunch:
    """The launch digest, 48 bytes, of one machine. vcpu_type: QEMU's name of the processor."""

    vcpus: int
    vcpu_type: str
    launch_digest: bytes


@dataclass(frozen=True)
class Container:
    """digest: SHA-256 of the image's manifest. command: what the image starts, program first."""

    digest: bytes
    command: tuple[str, ...]


@dataclass(frozen=True)
class TdxRegisters:
    """48 bytes each. rtmr0 is not among them: the host has a say in it."""

    mrtd: bytes
    rtmr1: bytes
    rtmr2: bytes


@dataclass(frozen=True)
class ReferenceValues:
    """Values by kind; None: not computed. nitro, tpm: PCRs by index, of 48 and of 32 bytes.

    verity: the root hash of the root file system, which the command line names; no evidence has it by itself.
    """

    sources: Mapping[str, Source]
    confidential_space: Container | None = None
    nitro: Mapping[int, bytes] | None = None
    sev_snp: tuple[SnpLaunch, ...] | None = None
    tdx: TdxRegisters | None = None
    tpm: Mapping[int, bytes] | None = None
    verity: bytes | None = None


def to_json(values: ReferenceValues) -> bytes:
    """The one way to write these values: JSON, names in order, two spaces, ASCII, a line end.

    Raises ReferenceValuesInvalid for values that could not be read back.
    """
    found: dict[str, object] = {}
    if values.confidential_space is not None:
        container = values.confidential_space
        found["confidential_space"] = {"digest": container.digest.hex(), "command": list(container.command)}
    if values.nitro is not None:
        found["nitro"] = {f"pcr{index}": value.hex() for index, value in values.nitro.items()}
    if values.sev_snp is not None:
        found["sev_snp"] = [
            {"vcpus": launch.vcpus, "vcpu_type": launch.vcpu_type, "launch_digest": launch.launch_digest.hex()}
            for launch in values.sev_snp
        ]
    if values.tdx is not None:
        found["tdx"] = {name: value.hex() for name, value in vars(values.tdx).items()}
    if values.tpm is not None:
        found["tpm"] = {f"pcr{index}": value.hex() for index, value in values.tpm.items()}
    if values.verity is not None:
        found["verity"] = {"root_hash": values.verity.hex()}
    sources = {
        name: {"file": source.file, "size": source.size, "sha256": source.sha256.hex()}
        for name, source in values.sources.items()
    }
    text = _written({"version": VERSION, "sources": sources, "values": found})
    if _read(text) != values:
        raise ReferenceValuesInvalid("the file", "values that would be read back as others")
    return text


def parse(text: bytes) -> ReferenceValues:
    """Reference values from the bytes of a ``reference-values.json``.

    Raises ReferenceValuesInvalid, naming the place: for another version, a field that is not known or not there, a
    value without the files that it is computed from, and any other way to write the same.
    """
    values = _read(text)
    if to_json(values) != text:
        raise ReferenceValuesInvalid("the file", "not as it was written: other order, spaces or line ends")
    return values


def _written(document: object) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True) + "\n").encode("ascii")


class _Object:
    """A JSON object being read; every field is taken once, and none may be left."""

    def __init__(self, place: str, value: object) -> None:
        if not isinstance(value, dict):
            raise ReferenceValuesInvalid(place, "must be an object")
        self.place = place
        self._left = value

    def at(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str) -> object:
        if name not in self._left:
            raise ReferenceValuesInvalid(self.at(name), "missing")
        return self._left.pop(name)

    def table(self, name: str) -> "_Object":
        return _Object(self.at(name), self.take(name))

    def digest(self, name: str, size: int) -> bytes:
        value = self.take(name)
        if not isinstance(value, str) or re.fullmatch(f"[0-9a-f]{{{2 * size}}}", value) is None:
            raise ReferenceValuesInvalid(self.at(name), f"must be {2 * size} hex digits, in small letters")
        return bytes.fromhex(value)

    def whole(self, name: str, most: int) -> int:
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
            raise ReferenceValuesInvalid(self.at(name), f"must be a whole number from 1 to {most}")
        return value

    def name(self, name: str) -> str:
        value = self.take(name)
        if not isinstance(value, str) or _NAME.fullmatch(value) is None:
            raise ReferenceValuesInvalid(self.at(name), "must be a name: letters, digits, dots and dashes")
        return value

    def items(self, name: str) -> list[object]:
        value = self.take(name)
        if not isinstance(value, list) or not 0 < len(value) <= LIST_MAX:
            raise ReferenceValuesInvalid(self.at(name), f"must be a list of 1 to {LIST_MAX}")
        return value

    def nothing_else(self) -> None:
        for name in self._left:
            raise ReferenceValuesInvalid(self.at(_quoted(name)), "not a field that is known here")


def _quoted(name: str) -> str:
    return name if _NAME.fullmatch(name) else json.dumps(name[:100])


def _read(text: bytes) -> ReferenceValues:
    root = _Object("", _document(text))
    version = root.take("version")
    if version != VERSION or isinstance(version, bool):
        raise ReferenceValuesInvalid("version", f"this version of Vesica reads {VERSION} only")
    sources = _sources(root.table("sources"))
    found = root.table("values")
    values = ReferenceValues(
        sources=sources,
        confidential_space=_container(found.table("confidential_space")) if "confidential_space" in found else None,
        nitro=_pcrs(found.table("nitro"), (0, 1, 2), 48) if "nitro" in found else None,
        sev_snp=_launches(found) if "sev_snp" in found else None,
        tdx=_registers(found.table("tdx")) if "tdx" in found else None,
        tpm=_pcrs(found.table("tpm"), (4, 11, 12, 13), 32) if "tpm" in found else None,
        verity=_verity(found.table("verity")) if "verity" in found else None,
    )
    found.nothing_else()
    root.nothing_else()
    _computed_from(values)
    return values


def _document(text: bytes) -> object:
    if len(text) > REFERENCE_VALUES_BYTES_MAX:
        raise ReferenceValuesInvalid("the file", f"larger than {REFERENCE_VALUES_BYTES_MAX} bytes")
    try:
        document: object = json.loads(text.decode("ascii"))
    except (ValueError, RecursionError):
        raise ReferenceValuesInvalid("the file", "not JSON in ASCII") from None
    return document


def _sources(table: _Object) -> dict[str, Source]:
    sources = {}
    for name in SOURCES:
        if name in table:
            source = table.table(name)
            sources[name] = Source(source.name("file"), source.whole("size", SIZE_MAX), source.digest("sha256", 32))
            source.nothing_else()
    table.nothing_else()
    return sources


def _container(table: _Object) -> Container:
    digest, command = table.digest("digest", 32), table.items("command")
    words = tuple(word for word in command if isinstance(word, str) and len(word) <= TEXT_CHARACTERS_MAX)
    if len(words) != len(command) or not words[0]:
        raise ReferenceValuesInvalid(table.at("command"), "must be a list of texts, the program first")
    table.nothing_else()
    return Container(digest, words)


def _pcrs(table: _Object, indexes: tuple[int, ...], size: int) -> dict[int, bytes]:
    pcrs = {index: table.digest(f"pcr{index}", size) for index in indexes}
    table.nothing_else()
    return pcrs


def _launches(found: _Object) -> tuple[SnpLaunch, ...]:
    launches = []
    for number, item in enumerate(found.items("sev_snp")):
        table = _Object(f"{found.at('sev_snp')}[{number}]", item)
        launches.append(
            SnpLaunch(table.whole("vcpus", 512), table.name("vcpu_type"), table.digest("launch_digest", 48))
        )
        table.nothing_else()
    machines = [(launch.vcpu_type, launch.vcpus) for launch in launches]
    if machines != sorted(set(machines)):
        raise ReferenceValuesInvalid(found.at("sev_snp"), "machines must be different, and in order of type and number")
    return tuple(launches)


def _registers(table: _Object) -> TdxRegisters:
    registers = TdxRegisters(table.digest("mrtd", 48), table.digest("rtmr1", 48), table.digest("rtmr2", 48))
    table.nothing_else()
    return registers


def _verity(table: _Object) -> bytes:
    root_hash = table.digest("root_hash", 32)
    table.nothing_else()
    return root_hash


def _computed_from(values: ReferenceValues) -> None:
    """Every value has its files, and every file a value: one that is named and not measured would look measured."""
    kinds = [kind for kind in COMPUTED_FROM if getattr(values, kind) is not None]
    needed = {name for kind in kinds for name in COMPUTED_FROM[kind]}
    if not kinds:
        raise ReferenceValuesInvalid("values", "none")
    for name in sorted(needed ^ set(values.sources)):
        why = "missing, and a value is computed from it" if name in needed else "no value is computed from it"
        raise ReferenceValuesInvalid(f"sources.{name}", why)
