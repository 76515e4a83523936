"""TDX evidence for tests: the real files, and policies that accept what a test has."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.fake_intel import FakeIntel
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, Kind
from vesica_attestation.tdx import TdxPolicy, authentic
from vesica_attestation.tdx.abi import TdReport

EVIDENCE = Path(__file__).parents[1] / "data" / "evidence"
UP_TO_DATE_AT = datetime(2025, 6, 25, tzinfo=UTC)
TODAY = datetime(2026, 11, 21, tzinfo=UTC)
ZERO = frozenset({bytes(48)})


def real(*path: str) -> bytes:
    """A file of real evidence."""
    return EVIDENCE.joinpath(*path).read_bytes()


def evidence(quote: bytes, collateral: bytes | None, event_log: bytes | None = None) -> Evidence:
    """TDX evidence of these parts."""
    parts = {"quote": quote, "collateral": collateral, "event_log": event_log}
    return Evidence(Kind.TDX, {name: part for name, part in parts.items() if part is not None})


def policy_for(report: TdReport, **changes: object) -> TdxPolicy:
    """The narrowest policy that accepts this report on an up-to-date platform, with changes."""
    rtmr0, rtmr1, rtmr2, rtmr3 = (frozenset({value}) for value in report.rtmrs)
    policy = TdxPolicy(
        launch_digests=frozenset({report.mrtd}),
        tcb_statuses=frozenset({"UpToDate"}),
        minimum_tcb_evaluation_number=17,
        collateral_age_days_max=30,
        rtmr0=rtmr0, rtmr1=rtmr1, rtmr2=rtmr2, rtmr3=rtmr3,
    )  # fmt: skip
    return replace(policy, **changes)


def trust(monkeypatch: pytest.MonkeyPatch, intel: FakeIntel) -> None:
    """Puts a fake Intel's root in the place of the embedded one, for one test."""
    monkeypatch.setattr(authentic, "INTEL_SGX_ROOT", intel.root)


def flipped(data: bytes, bit: int) -> bytes:
    """The same with one bit changed; bit 0 is the lowest of the first byte."""
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def refusal(call: object) -> str:
    """The check of the Refused that a call raises; any other end fails the test."""
    with pytest.raises(Refused) as refused:
        call()  # type: ignore[operator]  # a lambda
    assert refused.value.kind == "tdx"
    return refused.value.check
