"""What the checks need installed, and the installing."""

from collections.abc import Sequence
from typing import Final

from vesica_images.check.site import Site
from vesica_images.vm import suites

# Debian 12. From backports: what is too old in the release itself.
PACKAGES: Final = (
    "buildah", "crun", "cryptsetup-bin", "curl", "dosfstools", "faketime", "fdisk", "git", "iproute2", "mmdebstrap",
    "mtools", "ovmf", "podman", "python3-pefile", "squashfs-tools", "swtpm", "swtpm-tools", "util-linux", "zstd",
)  # fmt: skip
BACKPORTS: Final = ("qemu-system-x86", "runsc")


def install(site: Site) -> str:
    """Installs what is missing, from this machine's own sources of packages."""
    missing = _missing(site, PACKAGES), _missing(site, BACKPORTS)
    if any(missing):
        site.run("apt-get", "-qq", "update")
    _install(site, missing[0], ())
    if missing[1]:
        with suites.known_to_apt() as options:
            site.run("apt-get", "-qq", *options, "update")
            _install(site, missing[1], (*options, "--target-release", suites.BACKPORTS))
    new = [name for group in missing for name in group]
    return f"installed {', '.join(new)}" if new else "all there"


def _install(site: Site, packages: Sequence[str], options: Sequence[str]) -> None:
    if packages:
        command = ("apt-get", "-qq", "--yes", "--no-install-recommends", *options, "install", *packages)
        site.run(*command, environment={"DEBIAN_FRONTEND": "noninteractive"})


def _missing(site: Site, packages: tuple[str, ...]) -> list[str]:
    """Those that are not installed. (dpkg-query ends with 1 if it does not know one of them.)"""
    told = site.run("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages, expected=(0, 1))
    there = {line.split()[0] for line in told.splitlines() if line.endswith(" installed")}
    return [name for name in packages if name not in there]
