# shellcheck shell=bash
# Sourced by every script here: what could make two builds differ is set, whatever the caller's environment says.
# ROOT: the repository. CACHE: where downloads are kept; it saves time and never changes a result.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034
CACHE=${VESICA_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vesica}
PYTHON=${PYTHON:-python3}
export LC_ALL=C TZ=UTC PYTHONPATH="$ROOT/enclave" PYTHONDONTWRITEBYTECODE=1
export SOURCE_DATE_EPOCH=1767225600 # 2026-01-01: the one time that files in the image have
umask 022

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
fail() { say "$*"; exit 1; }
need() { # need TOOL PACKAGE...: says what to install
  local tool=$1; shift
  command -v "$tool" >/dev/null || fail "$tool is needed (Debian: apt-get install $*)"
}
