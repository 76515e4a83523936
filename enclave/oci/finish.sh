#!/bin/sh
# usage: finish.sh VENV     Runs while the image is built: takes from the virtual environment what no room needs, compiles the rest.
set -eu
venv=$1
cd "$venv"

# Scripts but for ours; tests, headers and stubs of libraries.
find bin -type f ! -name vesica -delete
find . -depth -type d \( -name tests -o -name include \) -path '*/site-packages/numpy/*' -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.a' -o -name '*.h' -o -name '*.c' \) -path '*/site-packages/*' -delete
# pip notes where each wheel came from: a path of this build.
find . -name direct_url.json -delete
find . -name RECORD -delete
# -I: variables of the environment (PYTHONPATH and the like) say nothing about which code runs.
sed -i '1s/$/ -I/' bin/vesica
find . -depth -type d -name __pycache__ -exec rm -rf {} +
"$venv/bin/python3" -I -m compileall -q -j 1 --invalidation-mode unchecked-hash lib
