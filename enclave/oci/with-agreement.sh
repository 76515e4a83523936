#!/usr/bin/env bash
# usage: with-agreement.sh OUTDIR AGREEMENT     for platforms that mount no files: the image of OUTDIR with an agreement in it
#
#   OUTDIR/with-agreement.oci.tar, OUTDIR/with-agreement.json: as image.oci.tar and image.json
# One more layer with one file. Every party makes it from its own copy of the agreement, and compares digests.
set -euo pipefail
. "$(dirname "$0")/env.sh"
need buildah buildah
OUT=$(realpath -m "${1:?usage: with-agreement.sh OUTDIR AGREEMENT}")
AGREEMENT=${2:?usage: with-agreement.sh OUTDIR AGREEMENT}
[ -e "$OUT/image.json" ] || fail "there is no image in $OUT; image.sh builds it"

b() { buildah --root "$OUT/store" --runroot "$OUT/run" --storage-driver vfs "$@"; }
container=$(b from --pull-never localhost/vesica:latest)
b copy --quiet --chown 0:0 --chmod 0444 "$container" "$AGREEMENT" /run/vesica/agreement.toml >/dev/null
b commit --quiet --format oci --identity-label=false --timestamp "$SOURCE_DATE_EPOCH" --rm "$container" \
  localhost/vesica-with-agreement:latest >/dev/null
rm -f "$OUT/with-agreement.oci.tar"
b push --quiet --format oci localhost/vesica-with-agreement:latest "oci-archive:$OUT/with-agreement.oci.tar:vesica:latest"
"$PYTHON" -m vesica_images.oci "$OUT/with-agreement.oci.tar" | tee "$OUT/with-agreement.json"
