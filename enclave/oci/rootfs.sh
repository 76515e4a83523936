#!/usr/bin/env bash
# usage: rootfs.sh OUTDIR     the image's root file system as a folder, OUTDIR/rootfs: what every other packaging starts from
# The image is built first (image.sh) unless OUTDIR has one. Prints the SHA-256 of the folder as a normalised tar.
set -euo pipefail
. "$(dirname "$0")/env.sh"
need buildah buildah
OUT=$(realpath -m "${1:?usage: rootfs.sh OUTDIR}")
[ -e "$OUT/image.json" ] || "$ROOT/enclave/oci/image.sh" "$OUT" >&2

b() { buildah --root "$OUT/store" --runroot "$OUT/run" --storage-driver vfs "$@"; }
container=$(b from --pull-never localhost/vesica:latest)
tree=$(b mount "$container")
rm -rf "$OUT/rootfs"
mkdir "$OUT/rootfs"
# Devices and what is mounted over are the business of whoever starts it.
pack() { tar --create --directory "$1" --exclude './dev/*' --exclude './proc/*' --exclude './sys/*' --sort=name --numeric-owner \
  --format=posix --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime --mtime="@$SOURCE_DATE_EPOCH" .; }
pack "$tree" | tar --extract --directory "$OUT/rootfs" --same-owner --preserve-permissions
b rm "$container" >/dev/null
pack "$OUT/rootfs" | sha256sum | cut -d' ' -f1 | tee "$OUT/rootfs.sha256"
