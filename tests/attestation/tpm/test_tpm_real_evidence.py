"""Evidence of a real boot, recorded (data/README.md says how): it is read, adds up, and any change to it is refused."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.reference import reference_values
from vesica_attestation.draft import draft_policy
from vesica_attestation.draft_reference import FILL_IN, draft_from_reference_values
from vesica_attestation.errors import PolicyInvalid, Refused
from vesica_attestation.evidence import Evidence, Kind, from_json
from vesica_attestation.policy import Policy, parse_policy
from vesica_attestation.tpm.event_log import parse_log
from vesica_attestation.verifier import verify

EVIDENCE = from_json(json.loads((Path(__file__).parent / "data" / "ovmf-unified-kernel.json").read_text()))
AT = datetime(2026, 12, 1, tzinfo=UTC)
REPORT_DATA = bytes(range(64))
# Computed from the files of the image alone, before the boot was looked at.
PREDICTED = {
    4: "08cdb03878872e8bbde0fe1671e4d239f90e81ab17b9584e4adcac8f336f5982",
    11: "56b94d68c0f1fa9f9632d55e755b6baa362ac712773e82883310a3adceaea51b",
    12: "00" * 32,
    13: "00" * 32,
}
AUTHORITY = "f1928b4632c2935bb967dbe3826f674cdb27d3a2a2c8fb04d43487c8c9633041"
KEY = "000b63750d698ecfafc533d0736ea6c896993ba8a85131f2a4393d4bcef06fbead08"


def policy(**changes: str) -> Policy:
    pcrs = {**{str(index): value for index, value in PREDICTED.items()}, **changes}
    lines = "".join(f'{index} = ["{value}"]\n' for index, value in pcrs.items())
    return parse_policy(
        f'[tpm]\nallow_trusted_hypervisor = true\nca_certificate_digests = ["{AUTHORITY}"]\n'
        f'attestation_keys = ["{KEY}"]\n[tpm.pcrs]\n{lines}'.encode()
    )


def appraise(evidence: Evidence = EVIDENCE, at: datetime = AT, report_data: bytes = REPORT_DATA, **changes: str):
    return verify(evidence, report_data, policy(**changes), at)


def with_part(name: str, part) -> Evidence:
    return replace(EVIDENCE, parts={**EVIDENCE.parts, name: part})


def refused(evidence: Evidence) -> None:
    with pytest.raises(Refused):
        appraise(evidence)


def test_it_is_accepted_by_what_the_files_predict_and_shows_what_was_launched():
    result = appraise()
    claims = result.proved.claims
    image, kernel = claims["launched.programs"]
    assert image == "8ff0340a4b7510d4a5c91eff2318dd96de08558160346dd170c38ae9c17e1e62"
    assert kernel == "c830f84c0c40deb7d49de5df2f4c1c471b7e7678d992d7ebb6a1c29b61fb2a7a"
    assert [section.split()[0] for section in claims["launched.sections"]] == [
        ".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat",
    ]  # fmt: skip
    assert f".cmdline {hashlib.sha256(b'console=ttyS0 quiet panic=-1').hexdigest()}" in claims["launched.sections"]
    assert claims["attestation_key.hierarchy"] == "endorsement"
    assert (result.insecure, result.confidential) == (False, False)
    assert result.as_ear()["submods"]["tpm"]["ear.status"] == "warning"


def test_the_log_gives_every_pcr_of_the_firmware_and_not_linuxs_own():
    log = parse_log(EVIDENCE.part("event_log"))
    assert log.replayed() == {pcr: EVIDENCE.many("pcrs")[pcr] for pcr in (*range(8), 9, 11)}
    assert any(EVIDENCE.many("pcrs")[10])


@pytest.mark.parametrize("index", ["4", "11", "12", "13", "7", "0"])
def test_another_value_of_any_pcr_is_refused(index):
    with pytest.raises(Refused, match=f"PCR {index}"):
        appraise(**{index: "11" * 32})


def test_another_nonce_key_or_agreement_and_another_time_are_refused():
    with pytest.raises(Refused, match="report-data"):
        appraise(report_data=bytes(64))
    for at in (datetime(2026, 11, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)):
        with pytest.raises(Refused, match="validity"):
            appraise(at=at)


def test_cut_off_at_any_length_it_is_refused():
    for name, part in EVIDENCE.parts.items():
        if isinstance(part, bytes):
            for size in range(0, len(part), 1 + len(part) // 400):
                refused(with_part(name, part[:size]))


def test_with_any_part_left_out_but_the_log_it_is_refused():
    for name in set(EVIDENCE.parts) - {"event_log"}:
        refused(replace(EVIDENCE, parts={key: part for key, part in EVIDENCE.parts.items() if key != name}))
    assert appraise(replace(EVIDENCE, parts={key: part for key, part in EVIDENCE.parts.items() if key != "event_log"}))


def test_a_flipped_bit_anywhere_is_refused_or_is_in_what_no_hash_covers_and_changes_nothing_shown():
    right = appraise().proved
    for name, part in EVIDENCE.parts.items():
        if not isinstance(part, bytes):
            continue
        for bit in range(0, 8 * len(part), 1 if len(part) < 400 else 37):
            changed = bytearray(part)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                assert appraise(with_part(name, bytes(changed))).proved == right
            except Refused:
                continue
            assert name == "event_log"


def test_every_pcr_altered_or_exchanged_with_its_neighbour_is_refused():
    pcrs = EVIDENCE.many("pcrs")
    for index in range(24):
        refused(with_part("pcrs", (*pcrs[:index], b"\1" * 32, *pcrs[index + 1 :])))
        if index and pcrs[index] != pcrs[index - 1]:
            swapped = [*pcrs]
            swapped[index - 1 : index + 1] = [pcrs[index], pcrs[index - 1]]
            refused(with_part("pcrs", tuple(swapped)))


@pytest.mark.parametrize("shown", [None, (EVIDENCE, AT)], ids=["from files alone", "with evidence"])
def test_the_policy_of_reference_values_accepts_it_once_its_reader_added_the_ca_and_the_trust(shown):
    computed = reference_values(tpm={index: bytes.fromhex(value) for index, value in PREDICTED.items()})
    text = draft_from_reference_values(computed, Kind.TPM, shown)
    with pytest.raises(PolicyInvalid, match="allow_trusted_hypervisor"):
        parse_policy(text.encode())
    text = text.replace("# allow_trusted", "allow_trusted")
    text = text.replace(f'# ca_certificate_digests = "{FILL_IN}"', f'ca_certificate_digests = ["{AUTHORITY}"]')
    assert verify(EVIDENCE, REPORT_DATA, parse_policy(text.encode()), AT).proved
    other = reference_values(tpm={**{index: bytes.fromhex(value) for index, value in PREDICTED.items()}, 4: b"\1" * 32})
    told = draft_from_reference_values(other, Kind.TPM, (EVIDENCE, AT))
    assert "OF ANOTHER BUILD: it differs in 4" in told


def test_its_draft_pins_a_unified_kernel_image():
    text = draft_policy(EVIDENCE, AT).replace("# allow_trusted", "allow_trusted")
    drafted = parse_policy(text.encode()).tpm
    assert drafted is not None
    assert {index: {value.hex() for value in values} for index, values in drafted.pcrs.items()} == {
        index: {value} for index, value in PREDICTED.items()
    }
