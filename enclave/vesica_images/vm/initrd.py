"""The initial file system: the root file system's own Python, as much of it as one program needs, and drivers.

It holds no byte that is not in the root file system or in the kernel's package, except for ``/init`` itself.
"""

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Final

from vesica_images.vm import drivers, newc

INIT: Final = b"""#!/usr/bin/python3 -ISB
import sys

sys.path.insert(0, "/usr/lib/vesica")
from vesica_init import initrd

initrd.main()
"""
# What the image for checks runs instead: the same, and a process that does not belong there.
INIT_AND_SELFTEST: Final = b"""#!/usr/bin/python3 -ISB
import os
import sys

sys.path.insert(0, "/usr/lib/vesica")
from vesica_init import initrd


def start_selftest():
    with open("/selftest.py") as file:
        text = file.read()
    if os.fork() == 0:
        os.chroot(initrd.ROOT)
        os.chdir("/")
        os.execve("/usr/bin/python3", ["/usr/bin/python3", "-ISB", "-c", text], {})


initrd.main(before_switch=start_selftest)
"""
_PROGRAM: Final = "vesica_init.initrd"
_INTERPRETER: Final = "/usr/bin/python3"
_LOADER: Final = "/lib64/ld-linux-x86-64.so.2"
_MODULES: Final = "lib/vesica/modules"
# Runs in the root file system: which files Python has loaded when the program is there, and each of them compiled.
_COLLECT: Final = """
import sys
sys.path.insert(0, "/usr/lib/vesica")
__import__(sys.argv[1])
loaded = [module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
import base64, importlib.util, importlib._bootstrap_external as boot, json
modules = {}
for file in loaded:
    if file.endswith(".py"):
        with open(file, "rb") as opened:
            source = opened.read()
        code = compile(source, file, "exec", dont_inherit=True, optimize=0)
        compiled = boot._code_to_hash_pyc(code, importlib.util.source_hash(source), False)
        modules[file + "c"] = base64.b64encode(compiled).decode()
extensions = sorted(file for file in loaded if not file.endswith(".py"))
json.dump({"modules": modules, "extensions": extensions}, sys.stdout)
"""


def build(root: Path, modules: Path, selftest: bytes | None = None) -> bytes:
    """An uncompressed initial file system.

    root: a root file system with Python and, in /usr/lib/vesica, ``vesica_init``. modules: of the kernel. selftest: a
    program that is started in the root file system beside the first process; only for an image that nobody runs a room
    in. Raises drivers.DriverMissing, subprocess.CalledProcessError.
    """
    entries: dict[str, newc.Entry] = {
        "init": newc.File(INIT if selftest is None else INIT_AND_SELFTEST, executable=True),
        "lib": newc.Link("usr/lib"),
        "lib64": newc.Link("usr/lib64"),
        **{name: newc.Folder() for name in ("proc", "sys", "dev", "sysroot")},
        **_python(root),
    }
    if selftest is not None:
        entries["selftest.py"] = newc.File(selftest)
    # Checks also try the Nitro bridge, for which a shipped machine has no driver.
    wanted = drivers.WANTED if selftest is None else (*drivers.WANTED, "vsock_loopback")
    for number, (name, content) in enumerate(drivers.in_order(modules, wanted)):
        entries[f"usr/{_MODULES}/{number:03d}-{name}.ko"] = newc.File(content)
    return newc.archive(entries)


def _python(root: Path) -> dict[str, newc.Entry]:
    """The interpreter, the modules that ``_PROGRAM`` loads, and the libraries of both."""
    found = json.loads(_in(root, _INTERPRETER, "-ISB", "-c", _COLLECT, _PROGRAM))
    entries: dict[str, newc.Entry] = {
        path.lstrip("/"): newc.File(base64.b64decode(content)) for path, content in found["modules"].items()
    }
    needed = {_INTERPRETER, _LOADER, *found["extensions"]}
    for binary in (_INTERPRETER, *found["extensions"]):
        needed |= set(re.findall(r"(/\S+) \(0x", _in(root, _LOADER, "--list", binary)))
    wanted = sorted(needed)
    # Links are followed in there: some are absolute.
    for path, real in zip(wanted, _in(root, "/usr/bin/realpath", *wanted).splitlines(), strict=True):
        entries[_merged(path)] = newc.File((root / real.lstrip("/")).read_bytes(), executable=True)
    return entries


def _merged(path: str) -> str:
    """The path's place where /lib and /lib64 are links into /usr."""
    plain = path.lstrip("/")
    return plain if plain.startswith("usr/") else f"usr/{plain}"


def _in(root: Path, *command: str) -> str:
    """What a program of the root file system says. It gets no environment."""
    done = subprocess.run(  # noqa: S603
        ["/usr/sbin/chroot", str(root), *command], check=True, stdout=subprocess.PIPE, text=True, env={}
    )
    return done.stdout
