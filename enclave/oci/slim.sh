#!/usr/bin/env bash
# A hook of mmdebstrap: takes from the root file system $1 what a room never needs, and whatever differs between builds.
set -euo pipefail
root=$1

# Traces of this build: paths, times, logs, caches.
# (mmdebstrap itself takes its settings away from etc/apt and etc/dpkg afterwards.)
rm -rf "$root"/etc/apt/sources.list* "$root"/var/lib/apt/* "$root"/var/log/* "$root"/var/cache/* "$root"/tmp/*
rm -rf "$root"/var/lib/dpkg/*-old "$root"/var/lib/systemd
rm -f "$root"/etc/machine-id "$root"/etc/hostname "$root"/etc/resolv.conf "$root"/etc/*- "$root"/etc/.pwd.lock
# No passwords: there is no /etc/shadow, and nobody to log in. Nothing that runs with more rights than whoever starts it.
rm -f "$root"/etc/shadow "$root"/etc/gshadow
find "$root" -xdev -type f -perm /6000 -exec chmod a-s {} +
# An image that nobody installs packages into: scanners read `status`, nothing reads the rest.
rm -rf "$root"/var/lib/dpkg/info "$root"/usr/share/doc-base "$root"/usr/share/bash-completion

# Python's own modules are compiled once, here, and never checked against times again: `unchecked-hash` is the same bytes on
# every build, and a root file system that cannot be written has no use for a check.
find "$root/usr/lib" -depth -type d -name __pycache__ -exec rm -rf {} +
chroot "$root" python3 -I -m compileall -q -j 1 --invalidation-mode unchecked-hash /usr/lib/python3.11 /usr/lib/python3
# Where the agreement is mounted.
mkdir -p "$root/run/vesica"
# One time for all; mmdebstrap itself only makes later ones earlier, and a clock that runs wrong has none of them.
find "$root" -xdev -not -path "$root/proc" -not -path "$root/sys" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
