#!/bin/sh
# Resolves the ranges of pyproject.toml to exact versions with hashes, for every supported Python and platform.
# usage: requirements/lock.sh [path of uv]      No index address is written into the result.
set -eu
uv=${1:-uv}
cd "$(dirname "$0")/.."
compile() {
  out=$1; shift
  UV_CUSTOM_COMPILE_COMMAND="make lock" "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-annotate --upgrade --output-file "requirements/$out" "$@"
}
printf 'hatchling>=1.27\n' | compile build.txt -
printf 'pip>=25\n' | compile image.txt -   # what installs the others in an image whose base has no pip
compile client.txt pyproject.toml
compile server.txt pyproject.toml --extra server
compile party-test.txt pyproject.toml --group party-test
compile dev.txt pyproject.toml --extra server --extra pandas --group dev
# What is measured is what a room runs: versions as in server.txt, which are also those of dev.txt.
compile bench.txt pyproject.toml --extra server --group bench --constraint requirements/build.txt --constraint requirements/dev.txt
