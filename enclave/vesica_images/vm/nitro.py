"""Builds the image of an AWS Nitro enclave: ``python3 -m vesica_images.vm.nitro ROOT BLOBS OUT``.

BLOBS is the folder of nitro-cli (/usr/share/nitro_enclaves/blobs) with AWS's kernel and ``init``: an enclave's devices
are not those of a machine, and a distribution's kernel does not find them. ROOT is the root file system that all
packagings start from. The same input gives the same bytes.

Source of the layout: aws-nitro-enclaves-cli, enclave_build/src/yaml_generator.rs; aws-nitro-enclaves-sdk-bootstrap,
init/init.c.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vesica_images import eif
from vesica_images.files import FileInvalid
from vesica_images.vm import newc
from vesica_images.vm.build import stage

KERNEL, COMMAND_LINE, INIT, DRIVER = "bzImage", "cmdline", "init", "nsm.ko"
COMMAND: Final = "/usr/bin/python3\n-ISB\n/usr/lib/vesica/nitro.py\n"
ENVIRONMENT: Final = "PATH=/usr/bin\nLANG=C.UTF-8\n"
_BUILT: Final = "2026-01-01T00:00:00Z"


def bootstrap(blobs: Path) -> bytes:
    """The first ramdisk: AWS's init and, where their kernel has it apart, the driver of the security module."""
    entries: dict[str, newc.Entry] = {
        "dev": newc.Folder(),
        "init": newc.File((blobs / INIT).read_bytes(), executable=True),
    }
    if (blobs / DRIVER).is_file():
        entries[DRIVER] = newc.File((blobs / DRIVER).read_bytes(), executable=True)
        entries["modules_load_order"] = newc.File(f"{DRIVER}\n".encode())
    return newc.archive(entries)


def application(root: Path) -> bytes:
    """The second ramdisk: a root file system, and what AWS's init starts in it."""
    entries = newc.of_folder(root, "rootfs/")
    entries |= {f"rootfs/{name}": newc.Folder() for name in ("dev", "run", "sys", "var", "proc", "tmp")}
    entries |= {"cmd": newc.File(COMMAND.encode()), "env": newc.File(ENVIRONMENT.encode())}
    return newc.archive(entries)


def build(root: Path, blobs: Path, out: Path) -> Path:
    """Writes ``vesica.eif``. Raises FileInvalid, OSError."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        staged = Path(scratch) / "root"
        stage(root, staged)
        ramdisks = (bootstrap(blobs), application(staged))
    command_line = (blobs / COMMAND_LINE).read_text(encoding="ascii").strip()
    enclave = eif.Enclave(
        (blobs / KERNEL).read_bytes(), command_line, ramdisks, eif.metadata("vesica", "0", "nitro-cli", _BUILT)
    )
    image = out / "vesica.eif"
    image.write_bytes(eif.write(enclave))
    return image


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="vesica_images.vm.nitro", description=__doc__.partition("\n")[0])
    parser.add_argument("root", metavar="ROOT", type=Path, help="a root file system, a folder")
    parser.add_argument("blobs", metavar="BLOBS", type=Path, help="kernel, command line and init of nitro-cli")
    parser.add_argument("out", metavar="OUT", type=Path, help="where the image is put")
    asked = parser.parse_args(argv)
    try:
        image = build(asked.root, asked.blobs, asked.out)
    except (FileInvalid, OSError) as error:
        sys.stderr.write(f"vesica_images.vm.nitro: {error}\n")
        return 1
    sys.stdout.write(f"written: {image}\nNext: python3 -m vesica_images.measure {asked.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
