#!/usr/bin/env bash
# usage: image.sh OUTDIR      builds the container image from the sources alone
#
#   OUTDIR/image.oci.tar      the image, an OCI archive (docker load, podman load, skopeo copy oci-archive:…)
#   OUTDIR/image.json         its digests: of the manifest (what registries and Confidential Space name) and of the configuration
#   OUTDIR/base.tar           Debian and Python, by debian.lock; made anew unless it is there from the same lock
set -euo pipefail
. "$(dirname "$0")/env.sh"
need buildah buildah
OUT=$(realpath -m "${1:?usage: image.sh OUTDIR}")
mkdir -p "$OUT"

"$ROOT/enclave/oci/base.sh" "$OUT"
"$ROOT/enclave/oci/wheels.sh" "$OUT/wheels"

# What goes in: tracked files and wheels, with the modes that they should have, whatever umask they were checked out under.
CONTEXT=$OUT/context
rm -rf "$CONTEXT" "$OUT/store" "$OUT/run" "$OUT/image.json"
mkdir -p "$CONTEXT"
(cd "$ROOT" && "$PYTHON" -m vesica_images.content context | xargs -0 cp --parents -t "$CONTEXT")
cp -r "$OUT/wheels" "$CONTEXT/wheels"
chmod -R u=rwX,go=rX "$CONTEXT"

# A store of its own: neither what this machine has pulled before nor its settings have a say.
b() { buildah --root "$OUT/store" --runroot "$OUT/run" --storage-driver vfs "$@"; }
BASE=localhost/vesica-base:latest
container=$(b from --pull-never scratch)
b add --quiet "$container" "$OUT/base.tar" / >/dev/null
b commit --quiet --timestamp "$SOURCE_DATE_EPOCH" --rm "$container" "$BASE" >/dev/null

pip_wheel=$(cd "$OUT/wheels" && echo pip-*.whl)
# No network: what is not in the context cannot get in.
unshare --net buildah --root "$OUT/store" --runroot "$OUT/run" --storage-driver vfs bud --isolation chroot --pull-never --no-cache \
  --format oci --identity-label=false --timestamp "$SOURCE_DATE_EPOCH" --build-arg BASE_IMAGE="$BASE" --build-arg PIP="python3 /wheels/$pip_wheel/pip" \
  --build-arg PIP_NO_INDEX=1 --tag localhost/vesica:latest --file "$CONTEXT/Dockerfile" "$CONTEXT" >"$OUT/image.log" 2>&1 \
  || { tail -30 "$OUT/image.log" >&2; fail "the build failed; all of it is in $OUT/image.log"; }
rm -f "$OUT/image.oci.tar"
b push --quiet --format oci localhost/vesica:latest "oci-archive:$OUT/image.oci.tar:vesica:latest"
digests=$("$PYTHON" -m vesica_images.oci "$OUT/image.oci.tar")
printf '%s\n' "$digests" | tee "$OUT/image.json"
