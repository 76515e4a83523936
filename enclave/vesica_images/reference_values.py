"""Reference values of a build: from its files to one ``reference-values.json``.

Nothing here builds, boots or trusts anything: files in, values out. Files that claim to belong together are compared
first: a root hash on the command line that is not the root file system's, or a unified image with another kernel,
would be values of a build that nobody has.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from vesica_attestation.reference_values import (
    COMPUTED_FROM,
    Container,
    ReferenceValues,
    SnpLaunch,
    Source,
    TdxRegisters,
)
from vesica_images import eif, oci, pcr, snp, tdx, verity
from vesica_images.files import FileInvalid, command_line, read

# What QEMU calls the processors of AMD's generations, and usual sizes.
MACHINES: Final = tuple(
    snp.Machine(vcpus, vcpu_type)
    for vcpu_type in ("EPYC-Genoa", "EPYC-Milan", "EPYC-Turin", "EPYC-v4")
    for vcpus in (1, 2, 4, 8, 16)
)


@dataclass(frozen=True)
class Files:
    """The files of a build; those that are not there are not measured.

    image: a container image, an OCI archive or layout. unified: kernel, initial file system and command line as one
    program. root: the root file system. enclave: an EIF. kernel, initrd, command_line: for a direct boot.
    snp_firmware, tdx_firmware: OVMF's AmdSev and IntelTdx platforms.
    """

    image: Path | None = None
    unified: Path | None = None
    root: Path | None = None
    enclave: Path | None = None
    kernel: Path | None = None
    initrd: Path | None = None
    command_line: Path | None = None
    snp_firmware: Path | None = None
    tdx_firmware: Path | None = None


def collect(files: Files, machines: Sequence[snp.Machine] = MACHINES) -> ReferenceValues:
    """All values that these files determine. machines: for SEV-SNP, whose launch digest has the processors in it.

    Raises FileInvalid, snp.LibraryMissing; ValueError for a machine that is not known.
    """
    given = {field.name: getattr(files, field.name) for field in fields(Files)}
    paths: dict[str, Path] = {name: path for name, path in given.items() if path is not None}
    kinds = [kind for kind, needed in COMPUTED_FROM.items() if set(needed) <= set(paths)]
    if not kinds:
        raise FileInvalid(f"nothing to measure (`make images` builds it): a value needs {_needed()}")
    _same_build(paths)
    image = oci.read_archive(paths["image"]) if "image" in paths else None
    return ReferenceValues(
        sources=_sources(paths, kinds),
        confidential_space=None if image is None else _container(image),
        nitro=eif.pcrs(eif.parse(read(paths["enclave"]))) if "nitro" in kinds else None,
        sev_snp=_launches(paths, machines) if "sev_snp" in kinds else None,
        tdx=_registers(paths) if "tdx" in kinds else None,
        tpm=pcr.unified_kernel(read(paths["unified"])) if "tpm" in kinds else None,
        verity=verity.root_hash(paths["root"]) if "verity" in kinds else None,
    )


def _container(image: oci.ImageDigests) -> Container:
    return Container(bytes.fromhex(image.manifest_digest.removeprefix("sha256:")), image.command)


def _needed() -> str:
    return "; or ".join(" and ".join(needed) for needed in dict.fromkeys(COMPUTED_FROM.values()))


def _sources(paths: Mapping[str, Path], kinds: Iterable[str]) -> dict[str, Source]:
    names = {name for kind in kinds for name in COMPUTED_FROM[kind]}
    return {name: _source(paths[name]) for name in sorted(names)}


def _source(path: Path) -> Source:
    if path.is_dir():
        raise FileInvalid(f"{path}: give the archive, not a folder: a file is named by its SHA-256")
    with path.open("rb") as file:
        return Source(path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").digest())


def _launches(paths: Mapping[str, Path], machines: Sequence[snp.Machine]) -> tuple[SnpLaunch, ...]:
    boot = (paths["kernel"], paths["initrd"], command_line(read(paths["command_line"])))
    ordered = sorted(set(machines), key=lambda machine: (machine.vcpu_type, machine.vcpus))
    return tuple(
        SnpLaunch(machine.vcpus, machine.vcpu_type, snp.launch_digest(paths["snp_firmware"], boot, machine))
        for machine in ordered
    )


def _registers(paths: Mapping[str, Path]) -> TdxRegisters:
    return TdxRegisters(
        mrtd=tdx.mrtd(read(paths["tdx_firmware"])),
        rtmr1=tdx.rtmr1(read(paths["kernel"])),
        rtmr2=tdx.rtmr2(read(paths["initrd"]), command_line(read(paths["command_line"]))),
    )


def _same_build(paths: Mapping[str, Path]) -> None:
    """Refuses files of different builds. Raises FileInvalid."""
    lines = []
    if "unified" in paths:
        sections = pcr.unified_sections(read(paths["unified"]))
        for name, section in (("kernel", ".linux"), ("initrd", ".initrd"), ("command_line", ".cmdline")):
            if name in paths and read(paths[name]) != sections.get(section):
                raise FileInvalid(f"{paths['unified']} holds another {section[1:]} than {paths[name]}")
        lines.append(sections.get(".cmdline", b""))
    if "command_line" in paths:
        lines.append(read(paths["command_line"]))
    if "root" in paths:
        for line in lines:
            _names_root(command_line(line), paths["root"])


def _names_root(line: str, root: Path) -> None:
    """The command line must name the root file system: its root hash and, where it does, its number of blocks."""
    words = [word.partition("=") for word in line.split()]
    expected = {
        "roothash": verity.root_hash(root).hex(),
        "vesica.blocks": str(root.stat().st_size // verity.BLOCK_BYTES),
    }
    for name, value in expected.items():
        said = [word for key, _, word in words if key == name]
        if said != [value] and (said or name == "roothash"):
            raise FileInvalid(
                f"the command line names another root file system than {root}: {name}={value} is not in it"
            )
