#!/usr/bin/env bash
# usage: base.sh OUTDIR          writes OUTDIR/base.tar: Debian's essential packages and Python, by debian.lock
#        base.sh --refresh-lock  writes debian.lock anew, from the archives that this machine's apt knows today
set -euo pipefail
. "$(dirname "$0")/env.sh"
need mmdebstrap mmdebstrap
[ "$(id -u)" = 0 ] || fail "needs root (it makes a root file system with its owners)"

LOCK=$ROOT/enclave/oci/debian.lock
INCLUDE=python3,libstdc++6 # what a room needs beyond what Debian calls essential (the second: NumPy); apt is not in it
OPTIONS=(--mode=root --variant=essential --include="$INCLUDE" --aptopt='APT::Install-Recommends "false"'
  --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr) # merged from the start: the package that merges later brings all of Perl

if [ "${1:-}" = --refresh-lock ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mmdebstrap --quiet "${OPTIONS[@]}" --skip=essential/unlink,cleanup/apt bookworm "$work/root"
  PYTHONPATH=$ROOT/enclave "$PYTHON" -m vesica_images.debs lock "$LOCK" --from "$work/root/var/cache/apt/archives"
  say "$(grep -vc '^#' "$LOCK") packages in $LOCK"
  exit
fi

OUT=$(realpath -m "${1:?usage: base.sh OUTDIR}")
mkdir -p "$OUT"
"$PYTHON" -m vesica_images.debs fetch "$LOCK" "$OUT/debs" --cache "$CACHE/debs"
mmdebstrap --quiet "${OPTIONS[@]}" \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/lintian/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --customize-hook="$ROOT/enclave/oci/slim.sh" \
  '' "$OUT/base.tar" "deb [trusted=yes] copy:$OUT/debs ./"
# The lock is the whole of it: a package that is named but not installed would be a lie about what runs.
installed=$(tar -xOf "$OUT/base.tar" ./var/lib/dpkg/status | grep -c '^Status: install ok installed$')
[ "$installed" = "$(grep -vc '^#' "$LOCK")" ] || fail "$installed packages were installed, the lock names others: make image-lock"
say "$OUT/base.tar $(sha256sum "$OUT/base.tar" | cut -d' ' -f1)"
