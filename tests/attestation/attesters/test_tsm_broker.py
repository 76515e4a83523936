"""The broker of hardware reports: a real process with a real socket, over a mounted fake of configfs-tsm."""

import json
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import contextmanager

import pytest

from support.attesters import quote, quote_report_data, snp, snp_driver, snp_report_data, tdx_driver
from support.tsm import Faults, Tsm
from vesica_attestation import _configfs_tsm, _tsm_socket
from vesica_attestation.attester import Supplies, Surroundings, choose
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import Kind
from vesica_attestation.sev_snp.attester import SevSnpAttester

REPORT, _ = snp("genoa-v5")
DATA = snp_report_data(REPORT)


@contextmanager
def broker(reports, place):
    """A broker of its own process; its socket is its descriptor 3, as systemd hands it over."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen()
    shell = f'exec "$0" -m vesica_attestation.tsm_broker --reports "$1" 3<&{listener.fileno()}'
    command = ["bash", "-c", shell, sys.executable, str(reports)]
    with listener, subprocess.Popen(command, pass_fds=[listener.fileno()]) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture
def brokered(mount, tmp_path):
    """Starts a broker over a fake kernel; gives its socket."""
    started = []

    def start(tsm):
        place = tmp_path / f"broker{len(started)}"
        context = broker(mount(tsm), place)
        context.__enter__()
        started.append(context)
        return place

    yield start
    for context in started:
        context.__exit__(None, None, None)


def ask(place, request: bytes) -> dict:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(place))
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        found = b""
        while piece := client.recv(2**16):
            found += piece
    return json.loads(found) if found else {}


def test_a_report_through_the_broker_is_the_report_that_the_kernel_gives(mount, brokered):
    through = SevSnpAttester(place=brokered(Tsm(snp_driver("genoa-v5")))).attest(DATA)
    assert through == SevSnpAttester(place=mount(Tsm(snp_driver("genoa-v5")))).attest(DATA)


def test_auto_finds_the_tee_behind_the_broker(brokered, tmp_path):
    nowhere = {"nsm": tmp_path / "no", "tpm": tmp_path / "no", "confidential_space": tmp_path / "no", "dstack": ()}
    snp_place, tdx_place = brokered(Tsm(snp_driver("genoa-v5"))), brokered(Tsm(tdx_driver("v4-uptodate")))
    assert choose("auto", Supplies(), Surroundings(tsm_reports=snp_place, **nowhere)).kind is Kind.SEV_SNP
    supplies = Supplies(collateral=lambda _: b"{}")
    assert choose("auto", supplies, Surroundings(tsm_reports=tdx_place, **nowhere)).kind is Kind.TDX


def test_the_room_then_needs_the_socket_and_not_configfs(brokered):
    place = brokered(Tsm(snp_driver("genoa-v5")))
    needs = SevSnpAttester(place=place).needs
    assert (needs.sockets, needs.entries) == ({place}, frozenset())


@pytest.mark.parametrize("size", [1, 63, 65, 4096, 2**20])
def test_anything_but_64_bytes_gets_no_report(brokered, size):
    tsm = Tsm(snp_driver("genoa-v5"))
    place = brokered(tsm)
    try:
        answer = ask(place, bytes(size))
    except (BrokenPipeError, ConnectionResetError):
        answer = {}
    assert "outblob" not in answer
    assert ask(place, b"")["provider"] == "sev_guest"  # and it goes on


def test_a_client_that_says_nothing_is_cut_off_and_the_next_is_served(brokered):
    place = brokered(Tsm(snp_driver("genoa-v5")))
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(place))
        silent.settimeout(30)
        assert ask(place, DATA)["provider"] == "sev_guest"
        assert silent.recv(1) == b""


def test_a_client_that_is_gone_before_the_answer_does_no_harm(brokered):
    place = brokered(Tsm(snp_driver("genoa-v5")))
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(place))
            client.sendall(DATA)
    assert ask(place, b"")["provider"] == "sev_guest"


def test_several_at_once_each_get_a_report_over_their_own_data(brokered):
    tsm = Tsm(snp_driver("genoa-v5"))
    place = brokered(tsm)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(place, DATA))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["provider"] for answer in answers] == ["sev_guest"] * 8
    assert len(tsm.made) == 16  # one entry to see who makes reports, one for each report
    assert tsm.entries == {}


def test_a_kernel_without_a_tee_is_told_as_it_is_without_a_broker(brokered):
    with pytest.raises(AttesterUnavailable, match="no TEE's guest driver has registered"):
        SevSnpAttester(place=brokered(Tsm(None))).attest(DATA)


def test_another_tee_than_asked_for_is_refused(brokered):
    attester = SevSnpAttester(place=brokered(Tsm(tdx_driver("v4-uptodate"))))
    for ask_it in (attester.probe, lambda: attester.attest(quote_report_data(quote("v4-uptodate")))):
        with pytest.raises(AttesterUnavailable, match="speaks for 'tdx_guest' here, not for 'sev_guest'"):
            ask_it()


def test_another_privilege_level_cannot_be_asked_for(brokered):
    with pytest.raises(AttesterUnavailable, match="own privilege level"):
        SevSnpAttester(place=brokered(Tsm(snp_driver("genoa-v5"))), privlevel=2).attest(DATA)


def test_errors_of_the_kernel_come_through(brokered):
    tsm = Tsm(snp_driver("genoa-v5"), Faults(errors={"mkdir": deque([13, 13])}))
    with pytest.raises(AttesterUnavailable, match="not permitted"):
        SevSnpAttester(place=brokered(tsm)).attest(DATA)


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{}", b"\xff", b'{"provider": 1, "outblob": "", "auxblob": ""}', b'{"provider": "x"}',
     b'{"provider": "x", "outblob": "!", "auxblob": ""}', b'{"provider": "x", "outblob": "", "auxblob": "", "y": 1}',
     b"[" * 100_000, b"x" * (_tsm_socket.ANSWER_BYTES_MAX + 1)],
)  # fmt: skip
def test_whatever_a_broken_broker_answers_is_an_error_of_the_attester(tmp_path, answer):
    place = tmp_path / "broken"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(2**16):
                    pass
                try:
                    connection.sendall(answer)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(AttesterUnavailable):
            _configfs_tsm.require_provider(place, Kind.SEV_SNP, "sev_guest")
        thread.join()


def test_a_broker_that_is_gone_is_an_error_of_the_attester(tmp_path):
    place = tmp_path / "left"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
    with pytest.raises(AttesterUnavailable, match="cannot be asked"):
        _configfs_tsm.require_provider(place, Kind.SEV_SNP, "sev_guest")


def test_a_broker_without_a_socket_says_how_it_is_started(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "vesica_attestation.tsm_broker", "--reports", tmp_path],
        capture_output=True, text=True, check=False, close_fds=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "descriptor 3" in done.stderr
