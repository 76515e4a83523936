# A room, and nothing else: Python, the locked wheels, Vesica. No compiler, no package manager, no user but one without rights.
#
#   docker build -t vesica .
#
# With a public base this is for trying things out. The image whose digest parties compare is built by enclave/oci/image.sh, which
# makes the base from a lock of Debian packages, gives the wheels along, and lets nothing in from the network.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# `wheels*` is there only when wheels were downloaded before; else pip fetches them. Their hashes are checked either way.
COPY requirements/image.txt requirements/build.txt requirements/server.txt wheels* /wheels/
# With a base that has no pip, and with wheels at hand: PIP="python3 /wheels/pip-….whl/pip" and PIP_NO_INDEX=1.
ARG PIP="python3 -m pip"
ARG PIP_NO_INDEX=
ENV PIP_FIND_LINKS=/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PIP_NO_COMPILE=1 PIP_REQUIRE_VIRTUALENV=0 PYTHONDONTWRITEBYTECODE=1 SOURCE_DATE_EPOCH=1767225600
RUN python3 -m venv --without-pip /build \
 && ${PIP} --python /build/bin/python3 install --require-hashes --only-binary :all: --no-deps -r /wheels/build.txt \
 && python3 -m venv --without-pip /opt/vesica \
 && ${PIP} --python /opt/vesica/bin/python3 install --require-hashes --only-binary :all: --no-deps -r /wheels/server.txt
WORKDIR /source
COPY pyproject.toml LICENSE ./
COPY src src
COPY attestation attestation
COPY routes routes
COPY enclave/vesica_enclave enclave/vesica_enclave
COPY enclave/oci/finish.sh /finish.sh
# The README is the long description of the wheel and no part of what runs: a change of it must not change the image.
RUN touch README.md \
 && /build/bin/python3 -m hatchling build --target wheel --directory /dist \
 && ${PIP} --python /opt/vesica/bin/python3 install --no-index --no-deps /dist/*.whl \
 && sh /finish.sh /opt/vesica \
 && /opt/vesica/bin/python3 -I -c "import vesica_enclave.serve"

FROM ${BASE_IMAGE}
COPY --from=build /opt/vesica /opt/vesica
ENV PATH=/opt/vesica/bin:/usr/local/bin:/usr/bin:/bin HOME=/nonexistent LANG=C.UTF-8
# A number, because a base may have no such name. Nobody else is meant to be in here.
USER 10001:10001
WORKDIR /
EXPOSE 8443
# Port and path of the command below. The certificate is the room's own: who must trust it verifies evidence.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python3", "-I", "-m", "vesica_enclave.healthcheck", "https://127.0.0.1:8443/healthz"]
ENTRYPOINT ["vesica"]
CMD ["serve", "/run/vesica/agreement.toml", "--host", "0.0.0.0", "--port", "8443"]
