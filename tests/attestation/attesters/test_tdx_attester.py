"""The TDX attester, through a mounted fake of configfs-tsm that gives out real quotes; and dstack's, through its
socket."""

import errno
import json
from collections import deque

import pytest

from support.attesters import (
    EVIDENCE,
    TDX_AT,
    collateral,
    quote,
    quote_report_data,
    snp_driver,
    tdx_driver,
)  # fmt: skip
from support.platform import chunked, serving, whole
from support.tsm import Entry, Faults, Tsm
from vesica_attestation import tdx
from vesica_attestation._table import Table
from vesica_attestation.dstack.attester import DstackAttester
from vesica_attestation.errors import AttesterUnavailable, Refused
from vesica_attestation.evidence import Kind, from_json
from vesica_attestation.tdx.attester import TdxAttester

QUOTE = quote("v4-uptodate")
DATA = quote_report_data(QUOTE)


def policy(value: bytes) -> tdx.TdxPolicy:
    """Accepts the machine that a quote of version 4 is from."""
    body = value[48:]
    registers = {f"rtmr{at}": [body[328 + 48 * at : 376 + 48 * at].hex()] for at in range(4)}
    return tdx.read_policy(
        Table(
            "tdx",
            {
                "launch_digests": [body[136:184].hex()],
                "tcb_statuses": ["UpToDate"],
                "minimum_tcb_evaluation_number": 1,
                "collateral_age_days_max": 30,
                "mrconfigid": [body[184:232].hex()],
                **registers,
            },
        )
    )


def test_a_real_quote_given_out_by_the_kernel_survives_json_and_is_accepted_by_the_verifier(mount):
    evidence = TdxAttester(collateral, place=mount(Tsm(tdx_driver("v4-uptodate")))).attest(DATA)
    assert evidence.kind is Kind.TDX
    assert from_json(evidence.to_json()) == evidence
    assert tdx.verify(evidence, DATA, policy(QUOTE), TDX_AT).claims
    with pytest.raises(Refused, match="report-data"):
        tdx.verify(evidence, bytes(64), policy(QUOTE), TDX_AT)


@pytest.mark.parametrize("piece", [1, 100, 4096, 10_000])
def test_padding_is_kept_as_it_came_however_short_the_reads(mount, piece):
    padded = quote("v4-gcp-padded-8000")
    tsm = Tsm(tdx_driver("v4-gcp-padded-8000"), Faults(piece_bytes_max=piece))
    evidence = TdxAttester(collateral, place=mount(tsm)).attest(bytes(64))
    assert evidence.part("quote") == padded
    assert len(padded) == 8000


def test_only_the_inblob_is_written_and_the_entry_is_removed(mount):
    tsm = Tsm(tdx_driver("v4-uptodate"))
    seen: list[Entry] = []
    tsm.faults.rival = seen.append
    TdxAttester(collateral, place=mount(tsm)).attest(DATA)
    assert [entry.commits for entry in seen] == [[("inblob", DATA)]]
    assert tsm.entries == {}


def test_collateral_is_asked_for_with_the_quote_and_without_any_there_is_no_evidence(mount):
    place = mount(Tsm(tdx_driver("v4-uptodate")))
    asked = []
    evidence = TdxAttester(lambda value: (asked.append(value), b"{}")[1], place=place).attest(DATA)
    assert asked == [QUOTE]
    assert evidence.part("collateral") == b"{}"
    with pytest.raises(AttesterUnavailable, match="collateral"):
        TdxAttester(None, place=place).attest(DATA)


def test_a_rival_write_starts_the_report_anew(mount):
    tsm = Tsm(tdx_driver("v4-uptodate"))
    tsm.faults.rival = lambda entry: entry.store_inblob(DATA) if len(tsm.made) == 1 else None
    TdxAttester(collateral, place=mount(tsm), sleep=lambda _: None).attest(DATA)
    assert len(tsm.made) == 2


def test_a_quoting_enclave_that_does_not_answer_is_an_error(mount):
    """The guest driver says EIO for a host that failed, EINTR and ETIMEDOUT for one that did not come to an end."""
    for number in (errno.EIO, errno.ETIMEDOUT):
        tsm = Tsm(tdx_driver("v4-uptodate"), Faults(errors={"outblob": deque([number])}))
        with pytest.raises(AttesterUnavailable, match=errno.errorcode[number]):
            TdxAttester(collateral, place=mount(tsm)).attest(DATA)
        assert tsm.entries == {}


def test_sev_snp_behind_configfs_is_an_error(mount):
    one = TdxAttester(collateral, place=mount(Tsm(snp_driver("genoa-v5"))))
    for ask in (one.probe, lambda: one.attest(DATA)):
        with pytest.raises(AttesterUnavailable, match="'sev_guest' here, not for 'tdx_guest'"):
            ask()


@pytest.mark.parametrize("name", ["sgx-not-tdx", "v4-trailing-bytes"])
def test_a_quote_that_no_verifier_reads_is_not_handed_out(mount, name):
    driver = tdx_driver("v4-uptodate")
    driver.report = lambda inblob, level: (quote(name), b"")
    with pytest.raises(AttesterUnavailable, match="no verifier reads"):
        TdxAttester(collateral, place=mount(Tsm(driver))).attest(DATA)


def test_a_quote_about_other_report_data_is_not_handed_out(mount):
    driver = tdx_driver("v4-uptodate")
    driver.report = lambda inblob, level: (QUOTE, b"")
    with pytest.raises(AttesterUnavailable, match="about something else"):
        TdxAttester(collateral, place=mount(Tsm(driver))).attest(bytes(64))


DSTACK = (EVIDENCE / "dstack" / "tdx-2026" / "quote.bin").read_bytes()
EVENTS = (EVIDENCE / "dstack" / "tdx-2026" / "event_log.json").read_bytes()
DSTACK_DATA = quote_report_data(DSTACK)
ANSWER = {
    "quote": DSTACK.hex(),
    "event_log": EVENTS.decode(),
    "report_data": DSTACK_DATA.hex(),
    "vm_config": "{}",
}


def dstack(address, seconds_max=5.0):
    return DstackAttester(collateral, (address.parent / "absent.sock", address), seconds_max)


@pytest.mark.parametrize("way", [lambda body: whole(200, body), chunked], ids=["whole", "chunked"])
def test_dstacks_real_quote_and_event_log_come_through_and_replay(tmp_path, way):
    with serving(tmp_path / "dstack.sock", way(json.dumps(ANSWER).encode())) as seen:
        evidence = dstack(seen.address).attest(DSTACK_DATA)
    (asked,) = seen.requests
    assert (asked.method, asked.target) == ("POST", "/GetQuote")
    assert asked.document == {"report_data": DSTACK_DATA.hex()}
    assert evidence.kind is Kind.TDX
    assert evidence.part("quote") == DSTACK
    assert evidence.part("event_log") == EVENTS
    assert from_json(evidence.to_json()) == evidence
    replayed = tdx.replay(evidence.part("event_log"), DSTACK[48 + 472 : 48 + 520])
    assert replayed.compose_hash.hex().startswith("86b0e55f")


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_guest_agent_that_refuses_is_an_error(tmp_path, status):
    with serving(tmp_path / "dstack.sock", whole(status, b'{"error": "secret path"}')) as seen:
        with pytest.raises(AttesterUnavailable, match=f"HTTP {status}") as caught:
            dstack(seen.address).attest(DSTACK_DATA)
        assert "secret" not in str(caught.value)


ODD = {
    "empty": b"",
    "not JSON": b"<html>",
    "a list": b"[]",
    "a number": b"7",
    "no quote": json.dumps(ANSWER | {"quote": None}).encode(),
    "odd hex": json.dumps(ANSWER | {"quote": "abc"}).encode(),
    "no log": json.dumps({"quote": "00"}).encode(),
    "a log that is no text": json.dumps(ANSWER | {"event_log": []}).encode(),
    "half of a character": json.dumps(ANSWER | {"event_log": "\ud800"}).encode(),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
def test_an_answer_without_quote_and_event_log_is_an_error(tmp_path, body):
    why = "no quote and event log"
    with serving(tmp_path / "dstack.sock", whole(200, body)) as seen, pytest.raises(AttesterUnavailable, match=why):
        dstack(seen.address).attest(DSTACK_DATA)


def test_dstacks_quote_about_something_else_or_cut_off_is_not_handed_out(tmp_path):
    good, short = whole(200, json.dumps(ANSWER).encode()), json.dumps(ANSWER | {"quote": DSTACK[:600].hex()}).encode()
    with serving(tmp_path / "a.sock", good) as seen, pytest.raises(AttesterUnavailable, match="about something else"):
        dstack(seen.address).attest(bytes(64))
    with (
        serving(tmp_path / "b.sock", whole(200, short)) as seen,
        pytest.raises(AttesterUnavailable, match="no verifier reads"),
    ):
        dstack(seen.address).attest(DSTACK_DATA)


def test_without_a_dstack_socket_or_collateral_there_is_no_evidence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AttesterUnavailable, match="no dstack socket"):
        dstack(tmp_path / "file").probe()
    with serving(tmp_path / "dstack.sock", whole(200, json.dumps(ANSWER).encode())) as seen:
        dstack(seen.address).probe()
        with pytest.raises(AttesterUnavailable, match="collateral"):
            DstackAttester(None, (seen.address,)).attest(DSTACK_DATA)
