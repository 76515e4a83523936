"""The container image's part of ``make enclave-test``."""

import json
import os
import resource
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Final

from vesica_images.check import container, parties
from vesica_images.check.container import Runtime
from vesica_images.check.site import REPOSITORY, CheckFailed, Site
from vesica_images.content import CONTENT, files

COMPRESSED_BYTES_MAX: Final = 300 * 10**6
VESICA: Final = (sys.executable, "-m", "vesica")
_FAKETIME: Final = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
# What a build must not depend on: another day, zone, language; files that are made for their owner only.
_OTHERWISE: Final = {
    "SOURCE_DATE_EPOCH": "1",
    "TZ": "Pacific/Auckland",
    "LC_ALL": "C.UTF-8",
    "LD_PRELOAD": _FAKETIME,
    "FAKETIME": "2031-02-03 04:05:06",
    "FAKETIME_DONT_RESET": "1",
}
_UMASK: Final = 0o077
# Programs that build, fetch or install; none of them is any use to a room.
_UNWANTED: Final = frozenset(
    {"gcc", "cc", "g++", "as", "ld", "make", "apt", "apt-get", "curl", "wget", "pip", "pip3", "gdb", "nc"}
)
_HEALTHCHECK: Final = (
    "import sys; from vesica_enclave.healthcheck import main; sys.exit(main(['https://127.0.0.1:8443/healthz']))"
)
_ELSEWHERE: Final = (
    "import sys; from vesica_enclave.healthcheck import main; sys.exit(1 - main(['https://127.0.0.1:1/healthz']))"
)


def built(site: Site) -> str:
    """The image and its root file system, from the sources alone."""
    script = REPOSITORY / "enclave/oci"
    shutil.rmtree(site.oci, ignore_errors=True)
    site.run(script / "image.sh", site.oci, environment=_python())
    site.run(script / "rootfs.sh", site.oci, environment=_python())
    digests = _digests(site.oci)
    size = int(digests["compressed_bytes"])
    if size > COMPRESSED_BYTES_MAX:
        raise CheckFailed(f"{size} bytes compressed, more than {COMPRESSED_BYTES_MAX}")
    return f"{size / 10**6:.0f} MB compressed, {digests['manifest_digest']}"


def built_again(site: Site) -> str:
    """The same from another path, on another day, with another umask, zone and language: the same digests."""
    elsewhere = site.work / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    sources = elsewhere / "a folder of another name"
    for name in files(REPOSITORY, CONTENT):
        target = sources / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, target)
        target.chmod((REPOSITORY / name).stat().st_mode & 0o700)
    out = elsewhere / "out"
    site.run(sources / "enclave/oci/image.sh", out, environment={**_python(), **_OTHERWISE}, umask=_UMASK)
    first, second = _digests(site.oci), _digests(out)
    if first != second:
        raise CheckFailed(f"two builds differ:\n{json.dumps(first)}\n{json.dumps(second)}")
    shutil.rmtree(elsewhere)
    return "the same manifest, configuration and layers"


def with_agreement(site: Site) -> str:
    """For platforms that mount no files: an agreement as one more layer, made by two parties from their own copies."""
    folder = site.work / "agreed"
    shutil.rmtree(folder, ignore_errors=True)
    two = parties.made(folder, VESICA, site.run)
    copy = folder / "a copy.toml"
    copy.write_bytes(two.agreement.read_bytes())
    copy.chmod(0o600)
    script = REPOSITORY / "enclave/oci/with-agreement.sh"
    first, second = (
        json.loads(site.run(script, site.oci, agreement, environment=_python(), umask=umask))
        for agreement, umask in ((two.agreement, 0o022), (copy, _UMASK))
    )
    if first != second or first["manifest_digest"] == _digests(site.oci)["manifest_digest"]:
        raise CheckFailed(f"an agreement in a layer:\n{json.dumps(first)}\n{json.dumps(second)}")
    return "the same from two copies"


def nothing_unwanted(site: Site) -> str:
    """The root file system: no compiler, no package manager, nothing that gives more rights or that all may write."""
    count = 0
    for place, folders, names in os.walk(site.root):
        for name in (*folders, *names):
            path = Path(place) / name
            shown = f"/{path.relative_to(site.root)}"
            mode = path.lstat().st_mode
            count += 1
            if path.is_symlink():
                continue
            if path.is_file() and (mode & 0o6000 or mode & 0o002):
                raise CheckFailed(f"{shown} has mode {mode:o}")
            if path.is_file() and mode & 0o111 and name in _UNWANTED:
                raise CheckFailed(f"{shown} is in the image")
    if not (site.root / "opt/vesica/bin/vesica").exists():
        raise CheckFailed("there is no vesica in the image: this looked at nothing")
    return f"{count} files and folders"


def room(site: Site, runtime: Runtime) -> str:
    """A hardened room; two parties take it through."""
    folder = _fresh(site, runtime, "room")
    two = parties.made(folder, VESICA, site.run)
    with container.running(site, runtime, two.agreement, _room_options(runtime)) as running:
        running.inside(_HEALTHCHECK)
        running.inside(_ELSEWHERE)
        return parties.take_a_room_through(two, container.URL, running.beside)


def tried_from_inside(site: Site, runtime: Runtime) -> str:
    """A hardened room, attacked by a process of its own user."""
    two = parties.made(_fresh(site, runtime, "tried"), VESICA, site.run)
    script = (Path(__file__).parent / "in_container.py").read_text()
    with container.running(site, runtime, two.agreement, _room_options(runtime)) as running:
        lines = running.inside(script).splitlines()
    failed = [line for line in lines if not line.startswith("ok ") and line != "done"]
    if failed or "done" not in lines:
        raise CheckFailed("in the container:\n" + ("\n".join(failed) or "the checks did not come to their end"))
    (site.work / runtime.name.lower() / "checks.txt").write_text("\n".join(lines) + "\n")
    return f"{len(lines) - 1} checks held; resident memory: {lines[0].partition(': ')[2]}"


def _room_options(runtime: Runtime) -> tuple[str, ...]:
    # gVisor has no Landlock and shows no /proc/swaps: a room refuses to start in it. It is here to show the image
    # under another kernel; what must fail must fail there all the same.
    return ("--allow-unhardened",) if runtime is Runtime.GVISOR else ()


def _fresh(site: Site, runtime: Runtime, name: str) -> Path:
    folder = site.work / runtime.name.lower() / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder


def _python() -> dict[str, str]:
    """The build wants a Python 3.11 with pip: this one's own, if it is one."""
    return {"PYTHON": sys.executable}


def _digests(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "image.json").read_text())
    return document


def crash_dumps(site: Site) -> str:
    """The control: on this machine a process without limits that crashes does dump its memory."""
    folder = site.work / "crash"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        os.kill(os.getpid(), signal.SIGSEGV)
    _, status = os.waitpid(child, 0)
    shutil.rmtree(folder)
    if not os.WCOREDUMP(status):
        raise CheckFailed("this machine dumps nobody's memory: that a room leaves no core file would show nothing")
    return "it does"


STEPS: Final = (
    ("OCI: built", built),
    ("OCI: built again, elsewhere and on another day", built_again),
    ("OCI: nothing unwanted in it", nothing_unwanted),
    ("OCI: an agreement in a layer of its own", with_agreement),
    ("a crash without limits leaves a core file", crash_dumps),
    ("podman: two parties, a release", lambda site: room(site, Runtime.PODMAN)),
    ("podman: tried from inside", lambda site: tried_from_inside(site, Runtime.PODMAN)),
    ("gVisor: two parties, a release", lambda site: room(site, Runtime.GVISOR)),
    ("gVisor: tried from inside", lambda site: tried_from_inside(site, Runtime.GVISOR)),
)
