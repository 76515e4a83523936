# Two commands for a newcomer: `make demo` and `make test`. Each sets up a virtual environment of its own first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := src attestation routes enclave tests bench

.PHONY: help demo test party lint bench lock reference-values image images image-lock enclave-test clean

help:            ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/'

demo: $(VENV)/.server    ## two parties, one room, on this machine: from agreement to release
	$(BIN)/vesica demo

test: $(VENV)/.dev       ## every test
	$(BIN)/python -m pytest -n 2 --dist loadfile

party: $(VENV)/.python   ## tests/party with the wheel alone, as a party installs it
	rm -rf $(VENV)/party && $(PYTHON) -m venv $(VENV)/party
	$(VENV)/party/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt -r requirements/party-test.txt
	$(VENV)/party/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir $(VENV)/party/wheel .
	$(VENV)/party/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(VENV)/party/wheel/vesica-*.whl
	$(VENV)/party/bin/python -m pytest -q tests/party

lint: $(VENV)/.dev       ## format, linters, types, import contracts
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck enclave/oci/*.sh .ci/run requirements/lock.sh

bench: $(VENV)/.bench    ## Vesica beside its peers, half an hour; SIZES=1e6,1e7 BENCH="--repetitions 1" for less
	$(VENV)/bench/bin/python -m bench $(if $(SIZES),--rows $(SIZES)) $(BENCH)

lock: $(VENV)/.dev       ## requirements/*.txt from the ranges in pyproject.toml
	$(BIN)/pip install --quiet uv
	./requirements/lock.sh $(BIN)/uv

reference-values: $(VENV)/.dev  ## what evidence must say, computed from the files of the builds under build/
	$(BIN)/python -m vesica_images.measure $(wildcard build/*/) --output build/reference-values.json

image:           ## the container image whose digest parties compare, in build/oci (Debian 12, root)
	./enclave/oci/image.sh build/oci

images: $(VENV)/.server         ## that image, its root file system, and the disk of a VM in build/cvm (Debian 12, root; installs what it needs)
	PYTHONPATH=enclave $(BIN)/python -m vesica_images.check tools
	$(MAKE) image
	./enclave/oci/rootfs.sh build/oci
	PYTHONPATH=enclave $(BIN)/python -m vesica_images.vm.build build/oci/rootfs build/cvm --cache "$${VESICA_CACHE:-$$HOME/.cache/vesica}"

image-lock:      ## enclave/oci/debian.lock anew, from the packages that this machine's apt knows today
	./enclave/oci/base.sh --refresh-lock

enclave-test: $(VENV)/.server   ## the images: built twice, compared, run hardened, used and attacked (Debian 12, root)
	PYTHONPATH=enclave $(BIN)/python -m vesica_images.check

clean:           ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Vesica needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.server: $(VENV)/.python requirements/server.txt requirements/build.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt -r requirements/server.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.bench: $(VENV)/.python requirements/bench.txt requirements/build.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)/bench
	$(VENV)/bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt -r requirements/bench.txt
	$(VENV)/bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.server requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
