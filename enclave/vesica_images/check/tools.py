"""What the checks need installed, and the installing."""

from typing import Final

from vesica_images.check.site import Site

# Debian 12. From backports: what is too old in the release itself.
PACKAGES: Final = (
    "buildah", "crun", "curl", "faketime", "git", "iproute2", "mmdebstrap", "podman", "util-linux",
)  # fmt: skip
BACKPORTS: Final = ("runsc",)


def install(site: Site) -> str:
    """Installs what is missing, from this machine's own sources of packages."""
    missing = _missing(site, PACKAGES), _missing(site, BACKPORTS)
    if any(missing):
        site.run("apt-get", "-qq", "update")
    for packages, more in zip(missing, ((), ("--target-release", "bookworm-backports")), strict=True):
        if packages:
            site.run(
                "apt-get", "-qq", "--yes", "--no-install-recommends", *more, "install", *packages,
                environment={"DEBIAN_FRONTEND": "noninteractive"},
            )  # fmt: skip
    new = [name for group in missing for name in group]
    return f"installed {', '.join(new)}" if new else "all there"


def _missing(site: Site, packages: tuple[str, ...]) -> list[str]:
    """Those that are not installed. (dpkg-query ends with 1 if it does not know one of them.)"""
    told = site.run("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages, expected=(0, 1))
    there = {line.split()[0] for line in told.splitlines() if line.endswith(" installed")}
    return [name for name in packages if name not in there]
