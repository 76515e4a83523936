"""Computes reference values from the files of a build: ``python -m vesica_images.measure FOLDER...``.

Files are looked for in the folders by the names that the builds give them; an option names another. What is not
there is not measured. The result is the same bytes for the same files, wherever and by whomever it is made.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vesica_attestation.reference_values import ReferenceValues, to_json
from vesica_images import snp
from vesica_images.files import FileInvalid
from vesica_images.reference_values import MACHINES, Files, collect

NAMES: Final = {
    "image": "image.oci.tar",
    "unified": "vesica.efi",
    "root": "root.squashfs",
    "enclave": "vesica.eif",
    "kernel": "vmlinuz",
    "initrd": "initrd.img",
    "command_line": "cmdline",
    "snp_firmware": "OVMF.amdsev.fd",
    "tdx_firmware": "OVMF.inteltdx.ms.fd",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit codes: 0 done, 1 a file that cannot be measured, 2 wrong usage."""
    parser = _parser()
    asked = parser.parse_args(argv)
    try:
        values = collect(_files(asked), asked.snp or MACHINES)
        text = to_json(values)
        if asked.output is not None:
            asked.output.write_bytes(text)
    except (FileInvalid, snp.LibraryMissing, ValueError) as error:
        sys.stderr.write(f"vesica_images.measure: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"vesica_images.measure: cannot write {asked.output}: {error.strerror}\n")
        return 1
    if asked.output is None or asked.json:
        sys.stdout.write(text.decode("ascii"))
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _summary(values)))
        sys.stdout.write(f"written to {asked.output}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vesica_images.measure",
        description=__doc__.replace("``", ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="*", type=Path, help="where a build put its files")
    for name, file in NAMES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="FILE", type=Path, help=f"(default: {file})")
    parser.add_argument(
        "--snp",
        metavar="VCPUS:TYPE",
        action="append",
        type=_machine,
        help="a machine for SEV-SNP, such as 2:EPYC-v4; repeat it (default: 1 to 16 of each generation)",
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="write there, and print a summary")
    parser.add_argument("--json", action="store_true", help="print the values even if they are written to a file")
    return parser


def _machine(text: str) -> snp.Machine:
    vcpus, separator, vcpu_type = text.partition(":")
    if not separator or not vcpus.isdecimal() or not vcpu_type:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 2:EPYC-v4")
    return snp.Machine(int(vcpus), vcpu_type)


def _files(asked: argparse.Namespace) -> Files:
    """The files named by options, and those found. Raises FileInvalid where two folders have the same."""
    paths: dict[str, Path] = {}
    for name, file in NAMES.items():
        named: Path | None = getattr(asked, name)
        found = [folder / file for folder in asked.folders if (folder / file).is_file()] if named is None else [named]
        if len(found) > 1:
            raise FileInvalid(f"{file} is in more than one folder: {', '.join(map(str, found))}")
        if found:
            paths[name] = found[0]
    return Files(**paths)


def _summary(values: ReferenceValues) -> list[str]:
    rows: list[tuple[str, str]] = []
    if values.confidential_space is not None:
        rows.append(("container image", f"sha256:{values.confidential_space.digest.hex()}"))
    if values.verity is not None:
        rows.append(("root hash", values.verity.hex()))
    rows += [(f"TPM PCR{index}", value.hex()) for index, value in (values.tpm or {}).items()]
    rows += [(f"SEV-SNP {it.vcpus} x {it.vcpu_type}", it.launch_digest.hex()) for it in values.sev_snp or ()]
    if values.tdx is not None:
        rows += [(f"TDX {name.upper()}", value.hex()) for name, value in vars(values.tdx).items()]
    rows += [(f"Nitro PCR{index}", value.hex()) for index, value in (values.nitro or {}).items()]
    return [f"{name:<24}{value}" for name, value in rows]


if __name__ == "__main__":
    sys.exit(main())
