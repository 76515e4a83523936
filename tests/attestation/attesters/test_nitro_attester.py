"""The Nitro attester, through a fake ioctl that finds its buffers as the kernel does, and a fake AWS behind it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import cbor2
import pytest

from support.attesters import EVIDENCE
from support.nitro_documents import MADE_AT, PCR0, FakeAws, fake_aws
from support.nsm import Nsm
from vesica_attestation import nitro
from vesica_attestation._table import Table
from vesica_attestation.binding import Binding
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Kind, from_json
from vesica_attestation.nitro import authentic
from vesica_attestation.nitro.attester import NitroAttester

NULL = Path("/dev/null")
DATA = bytes(range(64))


def module(aws: FakeAws) -> Nsm:
    """A module that does what it is asked, as AWS's does."""

    def answer(request: bytes) -> bytes:
        asked = cbor2.loads(request)["Attestation"]
        assert set(asked) == {"user_data", "nonce", "public_key"}
        return cbor2.dumps({"Attestation": {"document": aws.document(**asked)}})

    return Nsm(answer)


def answering(answer: bytes | Callable[[bytes], bytes]) -> NitroAttester:
    return NitroAttester(NULL, Nsm(answer if callable(answer) else lambda _: answer).ioctl)


def test_what_the_module_signs_for_a_binding_is_accepted_by_the_verifier(monkeypatch):
    monkeypatch.setattr(authentic, "ROOT", fake_aws().root.certificate)
    data = Binding(b"n" * 32, b"t" * 32, b"h" * 32, b"r" * 32, b"a" * 32).report_data()
    evidence = NitroAttester(NULL, module(fake_aws()).ioctl).attest(data)
    assert evidence.kind is Kind.NITRO
    assert from_json(evidence.to_json()) == evidence
    policy = nitro.read_policy(Table("nitro", {"launch_digests": [PCR0.hex()], "max_age_seconds": 60}))
    assert nitro.verify(evidence, data, policy, MADE_AT).claims
    with pytest.raises(Refused, match="report-data"):
        nitro.verify(evidence, bytes(64), policy, MADE_AT)


def test_the_request_is_one_ioctl_on_the_device_and_the_device_is_closed():
    nsm = module(fake_aws())
    NitroAttester(NULL, nsm.ioctl).attest(DATA)
    (request,) = nsm.requests
    assert request == cbor2.dumps({"Attestation": {"user_data": DATA, "nonce": None, "public_key": None}})
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(nsm.descriptors[0])


def test_the_device_is_closed_when_the_ioctl_fails():
    def fail(_: bytes) -> bytes:
        raise OSError(errno.ETIMEDOUT, "slow")

    nsm = Nsm(fail)
    with pytest.raises(AttesterUnavailable, match="ETIMEDOUT"):
        NitroAttester(NULL, nsm.ioctl).attest(DATA)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(nsm.descriptors[0])


@pytest.mark.parametrize("error", ["InvalidArgument", "BufferTooSmall", "InternalError", "InputTooLarge"])
def test_the_modules_refusals_are_errors_by_name(error):
    with pytest.raises(AttesterUnavailable, match=f"refused: {error}"):
        answering(cbor2.dumps({"Error": error})).attest(DATA)


GOOD = cbor2.dumps({"Attestation": {"document": fake_aws().document()}})
ODD = {
    "empty": b"",
    "not CBOR": b"\xff" * 10,
    "another answer": cbor2.dumps({"DescribeNSM": {"document": b"x"}}),
    "another field": cbor2.dumps({"Attestation": {"documents": b"x"}}),
    "two answers": cbor2.dumps({"Attestation": {"document": b"x"}, "Error": "InternalError"}),
    "two fields": cbor2.dumps({"Attestation": {"document": b"x", "more": b"y"}}),
    "text": cbor2.dumps({"Attestation": {"document": "x"}}),
    "an empty document": cbor2.dumps({"Attestation": {"document": b""}}),
    "more behind it": GOOD + b"\0",
    "a bare word": cbor2.dumps("Attestation"),
    "a wordy error": cbor2.dumps({"Error": "x" * 65}),
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD.keys())
def test_an_answer_of_another_form_is_an_error(answer):
    with pytest.raises(AttesterUnavailable):
        answering(answer).attest(DATA)


def test_an_answer_cut_off_anywhere_is_an_error():
    for size in range(0, len(GOOD), 7):
        with pytest.raises(AttesterUnavailable):
            answering(GOOD[:size]).attest(DATA)


def test_an_answer_larger_than_the_room_is_cut_by_the_kernel_and_is_an_error():
    huge = cbor2.dumps({"Attestation": {"document": bytes(0x4000)}})
    with pytest.raises(AttesterUnavailable, match="cut off"):
        answering(huge).attest(DATA)


def test_a_kernel_that_claims_to_have_written_more_than_there_is_room_for_is_an_error():
    def ioctl(descriptor: int, number: int, argument: bytearray) -> int:
        argument[24:32] = (0x3001).to_bytes(8, "little")
        return 0

    with pytest.raises(AttesterUnavailable, match="more than there is room for"):
        NitroAttester(NULL, ioctl).attest(DATA)


@pytest.mark.parametrize("name", ["prod-2022-nonce", "prod-2022-pcr8", "debug-2025"])
def test_a_real_document_that_is_about_something_else_is_not_handed_out(name):
    real = (EVIDENCE / "nitro" / name / "document.cose").read_bytes()
    with pytest.raises(AttesterUnavailable, match="about something else"):
        answering(cbor2.dumps({"Attestation": {"document": real}})).attest(DATA)


def test_a_document_that_no_verifier_reads_is_not_handed_out():
    with pytest.raises(AttesterUnavailable, match="no verifier reads"):
        answering(cbor2.dumps({"Attestation": {"document": b"\x84"}})).attest(DATA)


def test_outside_an_enclave_there_is_no_evidence(tmp_path):
    (tmp_path / "nsm").write_bytes(b"")
    for path in (tmp_path / "none", tmp_path / "nsm"):
        with pytest.raises(AttesterUnavailable, match="no device"):
            NitroAttester(path).probe()
    with pytest.raises(AttesterUnavailable, match="ENOENT"):
        NitroAttester(tmp_path / "none").attest(DATA)
    with pytest.raises(AttesterUnavailable, match="ENOTTY"):  # the real ioctl, on a device that is no NSM
        NitroAttester(NULL).attest(DATA)


@pytest.mark.parametrize("size", [0, 32, 65])
def test_report_data_of_another_length_is_a_bug(size):
    with pytest.raises(ValueError, match="64 bytes"):
        answering(GOOD).attest(bytes(size))
