"""Coverage-guided fuzzing of what attesters read from a host: certificate tables, and answers of TPM, NSM and sockets.

    python bench/fuzz_attesters.py [SECONDS]

Only AttesterUnavailable or TpmError may come out. Needs atheris.
"""

import contextlib
import ctypes
import struct
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["vesica_attestation"]):
    from vesica_attestation._tpm.commands import Tpm, TpmError
    from vesica_attestation.dstack.attester import read_answer
    from vesica_attestation.errors import AttesterUnavailable
    from vesica_attestation.evidence import Kind
    from vesica_attestation.nitro.attester import NitroAttester
    from vesica_attestation.sev_snp.attester import as_der, certificate_table

DATA = bytes(64)


def no_sleep(_seconds: float) -> None:
    """Retries of a TPM that is not ready come at once."""


def table(data: bytes) -> None:
    """A host's certificate table, and what is in it."""
    for certificate in certificate_table(data, Kind.SEV_SNP).values():
        as_der(certificate, Kind.SEV_SNP)


def tpm(data: bytes) -> None:
    """A TPM's answer to each command; with its lengths put right, or every answer would end at the first check."""
    for tag in (0x8001, 0x8002):
        body = data if tag == 0x8001 else struct.pack(">I", len(data)) + data
        answer = struct.pack(">HII", tag, 10 + len(body), 0) + body
        one = Tpm(lambda _, answer=answer: answer, no_sleep)
        for call in (
            lambda one=one: one.nv_size(1),
            lambda one=one: one.nv_read(1, 64),
            lambda one=one: one.quote(1, b""),
            one.pcrs,
        ):
            with contextlib.suppress(TpmError):
                call()
    Tpm(lambda _: data, no_sleep).nv_size(1)


def nsm(data: bytes) -> None:
    """The security module's answer."""

    def ioctl(_descriptor: int, _number: int, argument: bytearray) -> int:
        address, room = struct.unpack_from("=QQ", argument, 16)
        size = min(len(data), room)
        ctypes.memmove(address, data, size)
        struct.pack_into("=Q", argument, 24, size)
        return 0

    NitroAttester(Path("/dev/null"), ioctl).attest(DATA)


def dstack(data: bytes) -> None:
    """The guest agent's answer, after HTTP."""
    read_answer(data)


TARGETS = (table, tpm, nsm, dstack)


def one_input(data: bytes) -> None:
    """The first byte chooses who reads the rest."""
    if data:
        with contextlib.suppress(AttesterUnavailable, TpmError):
            TARGETS[data[0] % len(TARGETS)](data[1:])


if __name__ == "__main__":
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=2048", "-print_final_stats=1"], one_input)
    atheris.Fuzz()
