"""Builds the image of a confidential VM from a root file system: ``python3 -m vesica_images.vm.build ROOT OUT``.

Needs root, Debian 12 and the tools that ``TOOLS`` names. The same input gives the same bytes, on every machine that
has the same versions of them.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vesica_images.debs import LockMismatch, parse_lock
from vesica_images.vm import disk, initrd, suites
from vesica_init.verity import Tree

ENCLAVE: Final = Path(__file__).parents[2]
LOCK: Final = ENCLAVE / "cvm/packages.lock"
# Programs in /usr/lib/vesica, by the module that each runs.
PROGRAM: Final = """import sys

sys.path.insert(0, "/usr/lib/vesica")
from vesica_init import {module}

sys.exit({module}.{function}())
"""
PROGRAMS: Final = {"boot": "main", "bridge": "main", "nitro": "inside"}
# Which program, from which package, and the version of it that the published values were made with.
TOOLS: Final = {
    "mksquashfs": "squashfs-tools",
    "veritysetup": "cryptsetup-bin",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "sfdisk": "fdisk",
    "zstd": "zstd",
}
# On the command line: what makes the machine quiet, closed to its operator, and gone when something is wrong.
COMMAND_LINE: Final = (
    "console=ttyS0 quiet panic=-1 lockdown=confidentiality ipv6.disable=1 random.trust_bootloader=off init_on_free=1 "
    "page_alloc.shuffle=1 vsyscall=none"
)


@dataclass(frozen=True)
class Built:
    """Files of an image. unified: kernel, initial file system and command line as one program for the firmware."""

    kernel: Path
    initrd: Path
    command_line: Path
    unified: Path
    disk: Path
    data: Path
    hashes: Path
    tree: Tree


def build(root: Path, out: Path, cache: Path, selftest: bytes | None = None) -> Built:
    """Builds everything into ``out``. root: a root file system, not changed.

    selftest: a program; a second image that runs it, for checks only, is then put into ``out/selftest``. Raises
    LockMismatch, CalledProcessError.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        packages, staged = Path(scratch) / "packages", Path(scratch) / "root"
        locked = parse_lock(LOCK.read_text())
        suites.fill(locked, cache)
        suites.unpack(locked, cache, packages)
        stage(root, staged)
        data, hashes = out / "root.squashfs", out / "root.verity"
        disk.file_system(staged, data)
        tree = disk.hash_tree(data, hashes)
        parts = (data, hashes, tree)
        if selftest is not None:
            archive = initrd.build(staged, _modules(packages), selftest)
            (out / "selftest").mkdir(exist_ok=True)
            boot_set(out / "selftest", packages, staged, parts, archive)
        return boot_set(out, packages, staged, parts, initrd.build(staged, _modules(packages)))


def stage(root: Path, staged: Path) -> None:
    """A copy of the root file system, with what runs before a room."""
    disk.run("cp", "--archive", "--reflink=auto", root, staged)
    place = staged / "usr/lib/vesica"
    shutil.copytree(ENCLAVE / "vesica_init", place / "vesica_init", ignore=shutil.ignore_patterns("__pycache__"))
    for module, function in PROGRAMS.items():
        (place / f"{module}.py").write_text(PROGRAM.format(module=module, function=function))
    for name in ("proc", "sys", "dev", "run", "tmp"):
        folder = staged / name
        if folder.is_symlink() or folder.is_file():
            raise ValueError(f"/{name} of the root file system is no folder")
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        folder.chmod(0o755)
    compiling = ("-q", "--invalidation-mode", "unchecked-hash", "/usr/lib/vesica")
    disk.run("chroot", staged, "/usr/bin/python3", "-IB", "-m", "compileall", *compiling)
    # Whatever umask this runs under.
    for path in (place, *place.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def boot_set(out: Path, packages: Path, staged: Path, root: tuple[Path, Path, Tree], archive: bytes) -> Built:
    """Kernel, initial file system and command line, apart and as one, and the disk.

    packages: the unpacked ones of the lock. root: squashfs, hash tree and what names them. archive: of the initial file
    system.
    """
    data, hashes, tree = root
    built = Built(
        out / "vmlinuz", out / "initrd.img", out / "cmdline", out / "vesica.efi", out / "vesica.img", data, hashes, tree
    )
    shutil.copyfile(_kernel(packages), built.kernel)
    raw = built.initrd.with_suffix(".cpio")
    raw.write_bytes(archive)
    disk.run("zstd", "--quiet", "--force", "-19", "--single-thread", "--rm", raw, "-o", built.initrd)
    built.command_line.write_text(f"{COMMAND_LINE} roothash={tree.root_hash} vesica.blocks={tree.blocks}")
    stub = packages / "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
    words = (
        f"--linux={built.kernel}", f"--initrd={built.initrd}", f"--cmdline=@{built.command_line}", f"--stub={stub}",
        f"--os-release=@{staged / 'usr/lib/os-release'}", f"--uname={_modules(packages).name}", "--efi-arch=x64",
        f"--output={built.unified}",
    )  # fmt: skip
    disk.run("/usr/bin/python3", packages / "usr/bin/ukify", "build", *words, SOURCE_DATE_EPOCH=str(disk.EPOCH))
    boot = out / "boot.fat"
    disk.boot_partition(built.unified, boot)
    disk.assemble(boot, data, hashes, tree, built.disk)
    boot.unlink()
    return built


def summary(built: Built) -> dict[str, str]:
    """What identifies an image, by name."""
    digests = {name: _digest(path) for name, path in vars(built).items() if isinstance(path, Path)}
    return {"roothash": built.tree.root_hash, **{f"sha256_{name}": value for name, value in digests.items()}}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kernel(packages: Path) -> Path:
    return next((packages / "boot").glob("vmlinuz-*"))


def _modules(packages: Path) -> Path:
    places = [packages / "usr/lib/modules", packages / "lib/modules"]
    return next(path for place in places if place.is_dir() for path in place.iterdir())


def missing_tools() -> list[str]:
    """Packages whose program is not here."""
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    return [package for program, package in TOOLS.items() if shutil.which(program, path=path) is None]


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="vesica_images.vm.build", description=__doc__.partition("\n")[0])
    parser.add_argument("root", metavar="ROOT", type=Path, help="a root file system, a folder")
    parser.add_argument("out", metavar="OUT", type=Path, help="where the image is put")
    parser.add_argument("--cache", type=Path, required=True, help="where downloads are kept")
    parser.add_argument(
        "--selftest", type=Path, metavar="PROGRAM", help="also make an image that runs this, for checks"
    )
    asked = parser.parse_args(argv)
    missing = missing_tools()
    if missing:
        parser.error(f"needs more tools: apt-get install --no-install-recommends {' '.join(missing)} python3-pefile")
    try:
        selftest = None if asked.selftest is None else asked.selftest.read_bytes()
        built = build(asked.root, asked.out, asked.cache, selftest)
    except (LockMismatch, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"vesica_images.vm.build: {error}\n")
        return 1
    sys.stdout.write(json.dumps(summary(built), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
