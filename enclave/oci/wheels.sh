#!/usr/bin/env bash
# usage: wheels.sh OUTDIR     downloads into OUTDIR the wheels of an image: by name, version and hash, for Python 3.11 on amd64
set -euo pipefail
. "$(dirname "$0")/env.sh"
OUT=$(realpath -m "${1:?usage: wheels.sh OUTDIR}")
# pip reads the conditions in the lock (`python_full_version < '3.12'`) for the Python that it runs on.
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || fail "needs Python 3.11; say which: PYTHON=python3.11"
"$PYTHON" -m pip --version >/dev/null 2>&1 || fail "needs pip (Debian: apt-get install python3-pip)"

cd "$ROOT/requirements"
LOCKS=(image.txt build.txt server.txt)
KEPT=$CACHE/wheels/$(cat "${LOCKS[@]}" | sha256sum | cut -c1-32)
if [ ! -e "$KEPT/complete" ]; then
  rm -rf "$KEPT"
  mkdir -p "$KEPT"
  for lock in "${LOCKS[@]}"; do
    "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
      --implementation cp --python-version 3.11 --abi cp311 --abi abi3 --abi none \
      --platform manylinux_2_36_x86_64 --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 \
      --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --platform any \
      --dest "$KEPT" -r "$lock"
  done
  touch "$KEPT/complete"
fi
# What is kept is not trusted: the hashes are checked again when the image is built.
rm -rf "$OUT"
mkdir -p "$OUT"
cp "$KEPT"/*.whl "$OUT/"
say "$(find "$OUT" -name '*.whl' | wc -l) wheels in $OUT"
