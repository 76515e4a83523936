"""Evidence of our own making, right in all but one thing: each is refused, by the check that is there for it."""

import hashlib
import struct
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support import tpm_evidence as make
from support.fake_amd import rsa_key
from support.tpm_evidence import AT, ECDSA, ENDORSEMENT, OWNER, REPORT_DATA, RSAPSS, RSASSA, FakeTpm, ec_key
from vesica_attestation import tpm
from vesica_attestation._tpm.quote import extra_data
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Evidence, from_json
from vesica_attestation.tpm import WARNING, TpmPolicy


@pytest.fixture
def fake() -> FakeTpm:
    return FakeTpm()


def refused(word: str, evidence: Evidence, policy: TpmPolicy, at=AT, report_data: bytes = REPORT_DATA) -> str:
    with pytest.raises(Refused) as caught:
        tpm.verify(evidence, report_data, policy, at)
    assert (caught.value.kind, caught.value.check) == ("tpm", word)
    return caught.value.detail


def test_right_evidence_is_accepted_and_says_what_it_is_and_what_was_pinned(fake):
    evidence = fake.evidence()
    assert from_json(evidence.to_json()) == evidence
    proved = tpm.verify(evidence, REPORT_DATA, fake.policy(), AT)
    assert proved.claims["warning"] == WARNING
    assert proved.claims["extra_data"] == hashlib.sha256(REPORT_DATA).hexdigest()
    assert proved.claims["attestation_key"] == make.name_of(fake.public).hex()
    assert proved.claims["attestation_key.subject"] == "CN=an attestation key"
    assert (proved.claims["reset_count"], proved.claims["restart_count"]) == (3, 1)
    assert proved.claims["launched.programs"] == [make.IMAGE.hex(), make.KERNEL.hex()]
    assert proved.claims["launched.sections"] == [
        f".linux {make.KERNEL.hex()}", f".initrd {hashlib.sha256(b'an initial file system').hexdigest()}",
    ]  # fmt: skip
    assert proved.pinned == {"extra_data", "ca_certificate", "pcr.4", "pcr.7", "pcr.11", "pcr.12", "pcr.13"}
    assert proved.pinned <= set(proved.claims)


@pytest.mark.parametrize(
    ("key", "scheme"),
    [
        (rsa_key(7), RSASSA), (rsa_key(7), RSAPSS), (ec_key(7), ECDSA), (ec_key(7, ec.SECP384R1), ECDSA),
    ],
    ids=["rsassa", "rsapss", "p256", "p384"],
)  # fmt: skip
@pytest.mark.parametrize("hierarchy", [ENDORSEMENT, OWNER])
def test_each_algorithm_and_both_hierarchies_are_accepted(key, scheme, hierarchy):
    fake = FakeTpm(key, scheme, hierarchy)
    claims = tpm.verify(fake.evidence(), REPORT_DATA, fake.policy(), AT).claims
    # For keys of the owner's hierarchy a TPM disguises its counts.
    assert ("reset_count" in claims) == (hierarchy == ENDORSEMENT)


def test_every_bit_of_the_report_data_is_bound(fake):
    evidence = fake.evidence()
    for bit in range(512):
        other = bytearray(REPORT_DATA)
        other[bit // 8] ^= 1 << bit % 8
        refused("report-data", evidence, fake.policy(), report_data=bytes(other))


@pytest.mark.parametrize(
    "extra", [b"", REPORT_DATA, extra_data(REPORT_DATA)[:-1], extra_data(REPORT_DATA) + b"\0", bytes(32)]
)
def test_other_extra_data_is_refused(fake, extra):
    refused("report-data", fake.evidence(quote={"extra": extra}), fake.policy())


# The CA and the certificate


def test_a_ca_that_the_policy_does_not_name_is_refused(fake):
    other = FakeTpm(ca=make.authority("a CA", number=2))
    assert other.ca.digest.hex() in refused("root", other.evidence(), fake.policy())
    refused("root", fake.evidence(), fake.policy(ca_certificate_digests=frozenset()))


def test_the_pinned_ca_behind_a_certificate_that_it_did_not_issue_is_refused(fake):
    forger = make.authority("a CA", number=2)
    refused("chain", fake.evidence(certificates=(make.leaf(forger, fake.key).der, fake.ca.der)), fake.policy())
    refused("chain", fake.evidence(certificates=(make.leaf(None, fake.key).der, fake.ca.der)), fake.policy())


def test_no_chain_and_the_ca_alone_are_refused(fake):
    refused("chain", fake.evidence(drop=["certificates"]), fake.policy())
    refused("chain", fake.evidence(certificates=(fake.ca.der,)), fake.policy())


def test_a_leaf_that_the_policy_names_for_a_ca_is_refused(fake):
    own = make.leaf(None, fake.key)
    trusting = fake.policy(ca_certificate_digests=frozenset({own.digest}))
    refused("chain", fake.evidence(certificates=(own.der,)), trusting)
    refused("chain", fake.evidence(certificates=(own.der, own.der)), trusting)
    refused("chain", fake.evidence(certificates=(make.leaf(own, fake.key).der, own.der)), trusting)


@pytest.mark.parametrize(
    "changes",
    [
        {"basic": x509.BasicConstraints(ca=False, path_length=None)},
        {"basic": None},
        {"key_usage": make.usage("digital_signature")},
        {"key_usage": None},
    ],
)
def test_a_pinned_certificate_that_is_no_authority_is_refused(changes):
    fake = FakeTpm(ca=make.authority("a CA", **changes))
    refused("chain", fake.evidence(), fake.policy())


def test_an_intermediate_between_is_accepted_and_may_be_pinned_itself(fake):
    between = make.authority("between", fake.ca, number=3)
    chain = (make.leaf(between, fake.key).der, between.der)
    assert tpm.verify(fake.evidence(certificates=(*chain, fake.ca.der)), REPORT_DATA, fake.policy(), AT)
    pinned = fake.policy(ca_certificate_digests=frozenset({between.digest}))
    assert tpm.verify(fake.evidence(certificates=chain), REPORT_DATA, pinned, AT)
    refused("root", fake.evidence(certificates=(*chain, fake.ca.der)), pinned)
    refused("chain", fake.evidence(certificates=(*chain, between.der, fake.ca.der)), fake.policy())
    refused("chain", fake.evidence(certificates=(*chain[:1], fake.ca.der)), fake.policy())
    refused("chain", fake.evidence(certificates=(*chain[::-1], fake.ca.der)), fake.policy())


def test_a_path_longer_than_the_ca_allows_is_refused():
    fake = FakeTpm(ca=make.authority("a CA", basic=x509.BasicConstraints(ca=True, path_length=0)))
    between = make.authority("between", fake.ca, number=3)
    refused(
        "chain", fake.evidence(certificates=(make.leaf(between, fake.key).der, between.der, fake.ca.der)), fake.policy()
    )


@pytest.mark.parametrize("days", [(-20, -1), (1, 10)])
def test_a_certificate_outside_of_its_time_is_refused(fake, days):
    refused("validity", fake.evidence(certificates=fake.certificates(days=days)), fake.policy())
    expired = FakeTpm(ca=make.authority("a CA", days=days))
    refused("validity", expired.evidence(), expired.policy())


def test_evidence_of_today_is_refused_when_its_certificates_have_ended(fake):
    refused("validity", fake.evidence(), fake.policy(), at=AT + timedelta(days=11))


@pytest.mark.parametrize(
    "changes",
    [
        {"basic": x509.BasicConstraints(ca=True, path_length=None)},
        {"key_usage": None},
        {"key_usage": make.usage("key_encipherment")},
        {"extra": ((x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.1")]), False),)},
        {"extra": ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),)},
        {"extra": ((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0"), True),)},
    ],
    ids=["authority", "no key usage", "endorsement", "endorsement key", "client", "critical"],
)
def test_a_certificate_for_another_use_is_refused(fake, changes):
    refused("chain", fake.evidence(certificates=fake.certificates(**changes)), fake.policy())


@pytest.mark.parametrize(
    "key",
    [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1()), dsa.generate_private_key(2048)],
    ids=["ed25519", "secp256k1", "dsa"],
)
def test_a_certificate_of_a_key_that_no_tpm_here_has_is_refused(fake, key):
    refused("attestation-key", fake.evidence(certificates=(make.leaf(fake.ca, key).der, fake.ca.der)), fake.policy())


def reissued(fake: FakeTpm, before: bytes, after: bytes) -> bytes:
    """The right certificate with some bytes of what is signed exchanged, signed by the CA as it then is."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "QQQQ")])
    right = make.leaf(fake.ca, fake.key, subject=name).certificate.tbs_certificate_bytes
    assert right.count(before) == 1
    assert len(before) == len(after)
    tbs = right.replace(before, after)
    signature = fake.ca.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    body = tbs + algorithm + b"\x03" + bytes([len(signature) + 1]) + b"\0" + signature
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    ("word", "before", "after"),
    [
        ("format", b"QQQQ", b"\xff\xfe\xff\xfe"),
        # Keys of an unknown algorithm, on an unknown curve, and that are no point.
        ("attestation-key", bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d027f")),
        ("attestation-key", bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f")),
        ("attestation-key", b"\x03\x42\0\x04", b"\x03\x42\0\x05"),
    ],
)
def test_what_is_read_late_in_a_certificate_and_cannot_be_is_refused_too(fake, word, before, after):
    certificates = (reissued(fake, before, after), fake.ca.der)
    refused(word, fake.evidence(certificates=certificates), fake.policy())


def test_a_certificate_as_google_makes_them_and_one_as_the_tcg_wants_them_are_accepted(fake):
    info = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.1.21"), b"\x30\0")
    google = fake.certificates(extra=((info, False),))
    names = [
        x509.NameAttribute(x509.ObjectIdentifier(f"2.23.133.2.{number}"), text)
        for number, text in ((1, "id:00001014"), (2, "swtpm"), (3, "id:20191023"))
    ]
    alternative = x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(names))])
    tcg = fake.certificates(
        extra=((x509.ExtendedKeyUsage([make.AIK]), True), (alternative, True)), subject=x509.Name([]), basic=None
    )
    for certificates in (google, tcg):
        assert tpm.verify(fake.evidence(certificates=certificates), REPORT_DATA, fake.policy(), AT)


def test_a_certificate_of_another_key_is_refused(fake):
    refused(
        "attestation-key", fake.evidence(certificates=(make.leaf(fake.ca, ec_key(8)).der, fake.ca.der)), fake.policy()
    )
    # The same forgery the other way about: the forger's key, public area, quote and signature; the honest certificate.
    forger = FakeTpm(ec_key(8), ca=fake.ca)
    refused("attestation-key", forger.evidence(certificates=fake.certificates()), fake.policy())


@pytest.mark.parametrize("name", ["000b" + "11" * 32, "11" * 34])
def test_a_key_that_the_policy_does_not_name_is_refused(fake, name):
    refused("attestation-key", fake.evidence(), fake.policy(attestation_keys=frozenset({bytes.fromhex(name)})))
    refused("attestation-key", fake.evidence(), fake.policy(attestation_keys=frozenset()))
    named = fake.policy(attestation_keys=frozenset({make.name_of(fake.public)}))
    assert "attestation_key" in tpm.verify(fake.evidence(), REPORT_DATA, named, AT).pinned


# The key's public area


@pytest.mark.parametrize("bit", [1, 4, 5, 16, 18])
def test_a_key_that_is_not_restricted_or_may_leave_or_came_from_outside_is_refused(fake, bit):
    public = make.public_area(fake.key, attributes=make.ATTRIBUTES & ~(1 << bit))
    refused("attestation-key", fake.evidence(attestation_key=public), fake.policy())


@pytest.mark.parametrize("bit", [bit for bit in range(32) if bit not in {1, 2, 4, 5, 6, 7, 10, 16, 18}])
def test_a_key_that_does_more_than_sign_or_has_unknown_attributes_is_refused(fake, bit):
    public = make.public_area(fake.key, attributes=make.ATTRIBUTES | 1 << bit)
    refused("attestation-key", fake.evidence(attestation_key=public), fake.policy())


def test_an_unrestricted_key_that_shows_a_restricted_ones_public_area_is_refused(fake):
    """Its holder has an honest TPM quote with it: that names the key as it is."""
    real = make.public_area(fake.key, attributes=make.ATTRIBUTES & ~(1 << 16))
    shown = fake.public
    refused(
        "attestation-key", fake.evidence(attestation_key=shown, quote={"signer": make.qualified(real)}), fake.policy()
    )


@pytest.mark.parametrize("parent", [0x4000000C, 0x40000007, 0x40000000])
def test_a_key_of_the_platform_or_of_no_lasting_hierarchy_is_refused(fake, parent):
    signer = make.qualified(fake.public, parent)
    refused("attestation-key", fake.evidence(quote={"signer": signer}), fake.policy())


def test_a_quote_that_names_a_key_plainly_or_under_a_parent_is_refused(fake):
    under = b"\0\x0b" + hashlib.sha256(make.qualified(b"a parent") + make.name_of(fake.public)).digest()
    for signer in (make.name_of(fake.public), under, b"\0\x0b" + bytes(32)):
        refused("attestation-key", fake.evidence(quote={"signer": signer}), fake.policy())


@pytest.mark.parametrize("signer", [b"", b"\0\x0b" + bytes(31), b"\0\x0c" + bytes(32), bytes(4), b"\0\x04" + bytes(20)])
def test_a_signers_name_of_another_form_is_refused(fake, signer):
    refused("format", fake.evidence(quote={"signer": signer}), fake.policy())


@pytest.mark.parametrize(
    ("word", "changes"),
    [
        ("algorithm", {"name_algorithm": 0x0004}),
        ("algorithm", {"kind": 0x0001}),
        ("algorithm", {"kind": 0x0008}),
        ("format", {"policy": bytes(20)}),
        ("format", {"symmetric": 0x0006}),
        ("algorithm", {"scheme": 0x0010}),
        ("algorithm", {"scheme": 0x001A}),
        ("algorithm", {"scheme": RSASSA}),
        ("algorithm", {"digest": 0x0004}),
        ("algorithm", {"digest": 0x000C}),
        ("algorithm", {"curve": 5}),
        ("algorithm", {"curve": 1}),
        ("algorithm", {"derivation": 0x0020}),
        ("format", {"point": (1, 1)}),
        ("format", {"point": (0, 0)}),
    ],
)
def test_a_public_area_of_another_form_is_refused(fake, word, changes):
    refused(word, fake.evidence(attestation_key=make.public_area(fake.key, **changes)), fake.policy())


@pytest.mark.parametrize(
    ("word", "changes"),
    [
        ("algorithm", {"bits": 1024}),
        ("format", {"bits": 3072}),
        ("algorithm", {"exponent": 3}),
        ("algorithm", {"exponent": 1}),
        ("format", {"modulus": b"\x7f" + bytes(254) + b"\1"}),
        ("format", {"modulus": b"\xff" * 255 + b"\2"}),
        ("format", {"modulus": b"\xff" * 128}),
        ("algorithm", {"scheme": ECDSA}),
        ("algorithm", {"digest": 0x0004}),
    ],
)
def test_an_rsa_public_area_of_another_form_is_refused(word, changes):
    fake = FakeTpm(rsa_key(7), RSASSA)
    refused(word, fake.evidence(attestation_key=make.public_area(fake.key, **changes)), fake.policy())


# The quote


@pytest.mark.parametrize("bank", [0x0004, 0x000C, 0x000D])
def test_a_quote_over_another_bank_is_refused(fake, bank):
    selection = struct.pack(">IHB", 1, bank, 3) + b"\xff\xff\xff"
    size = {0x0004: 20, 0x000C: 48, 0x000D: 64}[bank]
    quoted = fake.evidence(quote={"selection": selection, "digest": hashlib.sha256(bytes(24 * size)).digest()})
    refused("pcr-selection", quoted, fake.policy())


@pytest.mark.parametrize(
    "selection",
    [
        "00000001000b03000000", "00000001000b03efffff", "00000001000b03ffff7f", "00000001000b0210ff",
        "00000001000b03100800", "00000000", "00000002000b03ffffff000403ffffff", "00000001000b04ffffffff",
        "00000002000b03ffffff000b03ffffff",
    ],
)  # fmt: skip
def test_a_quote_over_fewer_or_other_pcrs_is_refused(fake, selection):
    """Not over PCR 4; over none; over the policy's alone; of two banks."""
    with pytest.raises(Refused) as caught:
        tpm.verify(fake.evidence(quote={"selection": bytes.fromhex(selection)}), REPORT_DATA, fake.policy(), AT)
    assert caught.value.check in {"pcr-selection", "format"}


def test_a_quote_over_pcr_4_alone_with_the_other_values_beside_it_is_refused(fake):
    chosen = hashlib.sha256(fake.pcrs[4]).digest()
    quote = {"selection": bytes.fromhex("00000001000b03100000"), "digest": chosen}
    refused("pcr-selection", fake.evidence(quote=quote), fake.policy())


@pytest.mark.parametrize(
    ("word", "quote"),
    [
        ("tpm-magic", {"magic": b"\xffTCH"}), ("tpm-magic", {"magic": bytes(4)}),
        ("tpm-type", {"kind": 0x8017}), ("tpm-type", {"kind": 0x8014}), ("tpm-type", {"kind": 0x8019}),
        ("format", {"safe": 2}), ("format", {"digest": bytes(20)}), ("format", {"digest": b""}),
        ("pcr-digest", {"digest": bytes(32)}), ("format", {"extra": bytes(65)}),
    ],
)  # fmt: skip
def test_a_message_that_is_no_quote_is_refused(fake, word, quote):
    refused(word, fake.evidence(quote=quote), fake.policy())


def test_a_quote_with_bytes_behind_it_is_refused(fake):
    message = fake.evidence().part("quote_message") + b"\0"
    refused("trailing-bytes", fake.evidence(quote_message=message), fake.policy())


def test_a_machine_that_sends_better_pcrs_than_it_booted_is_refused(fake):
    worse = FakeTpm(events=(*make.EVENTS[:-1], (4, b"\x66" * 32)))
    honest = worse.evidence()
    refused("pcr", honest, fake.policy())
    refused("pcr-digest", replace(honest, parts={**honest.parts, "pcrs": fake.pcrs}), fake.policy())


@pytest.mark.parametrize("index", [4, 7, 11, 12, 13])
def test_each_pcr_of_the_policy_is_compared(fake, index):
    assert f"PCR {index}" in refused(
        "pcr", fake.evidence(), fake.policy(pcrs={**fake.policy().pcrs, index: frozenset({b"\x11" * 32})})
    )
    # A command line from outside, an extension: measured, and enough to be refused.
    refused("pcr", FakeTpm(events=(*make.EVENTS, (index, b"\x66" * 32))).evidence(), fake.policy())


@pytest.mark.parametrize("pcrs", [(), (bytes(32),) * 23, (bytes(32),) * 25, (bytes(33),) + (bytes(32),) * 23])
def test_another_number_or_size_of_pcrs_is_refused(fake, pcrs):
    refused("format", fake.evidence(pcrs=pcrs), fake.policy())


def test_moving_bytes_from_one_pcr_to_the_next_is_refused(fake):
    pcrs = list(fake.pcrs)
    pcrs[0], pcrs[1] = pcrs[0] + pcrs[1][:1], pcrs[1][1:]
    refused("format", fake.evidence(pcrs=tuple(pcrs)), fake.policy())


@pytest.mark.parametrize(
    "indices", [(), (4,), (7,), (11,), (9,), (8, 9), (11, 12, 13), (4, 7), (4, 9), (4, 11), (4, 11, 12), (4, 8, 11)]
)
def test_a_policy_that_does_not_pin_what_booted_refuses_even_where_nobody_read_it_from_a_file(fake, indices):
    pcrs = {index: frozenset({fake.pcrs[index]}) for index in indices}
    refused("pcr", fake.evidence(), fake.policy(pcrs=pcrs))


def test_pcr_11_can_be_brought_to_its_value_by_another_system_and_pcr_4_tells(fake):
    """What firmware starts is in PCR 4 before it runs. All the rest it can extend itself, into the right values."""
    impostor = FakeTpm(events=((4, make.CALLING), (4, make.FOUR_ZEROS), (4, b"\x66" * 32), *make.EVENTS))
    assert impostor.pcrs[11] == fake.pcrs[11]
    assert "PCR 4" in refused("pcr", impostor.evidence(), fake.policy())


# The signature


def test_a_signature_by_another_key_over_another_message_or_by_another_scheme_is_refused(fake):
    message = fake.evidence().part("quote_message")
    refused("tpm-signature", fake.evidence(quote_signature=make.sign(ec_key(8), message)), fake.policy())
    refused("tpm-signature", fake.evidence(quote_signature=make.sign(fake.key, message + b"\0")), fake.policy())
    refused("algorithm", fake.evidence(quote_signature=make.sign(rsa_key(7), message)), fake.policy())
    pss = FakeTpm(rsa_key(7), RSAPSS)
    other = make.sign(rsa_key(7), pss.evidence().part("quote_message"), RSASSA)
    refused("algorithm", pss.evidence(quote_signature=other), pss.policy())
    # Said to be of the key's own scheme, made by the other.
    relabelled = struct.pack(">H", RSAPSS) + other[2:]
    refused("tpm-signature", pss.evidence(quote_signature=relabelled), pss.policy())


@pytest.mark.parametrize("head", ["0018 0004", "0018 000c", "001a 000b", "0005 000b", "0010", "0010 000b"])
def test_a_signature_of_another_algorithm_is_refused(fake, head):
    signature = fake.evidence().part("quote_signature")
    changed = fake.evidence(quote_signature=bytes.fromhex(head) + signature[4:])
    with pytest.raises(Refused) as caught:
        tpm.verify(changed, REPORT_DATA, fake.policy(), AT)
    assert caught.value.check == "algorithm"


def test_a_signature_of_zeros_or_with_bytes_behind_it_is_refused(fake):
    head = struct.pack(">HH", ECDSA, make.SHA256)
    for r, s in ((b"", b""), (bytes(32), bytes(32)), (b"\1", b""), (b"\xff" * 32, b"\xff" * 32)):
        refused("tpm-signature", fake.evidence(quote_signature=head + make.sized(r) + make.sized(s)), fake.policy())
    signature = fake.evidence().part("quote_signature")
    refused("trailing-bytes", fake.evidence(quote_signature=signature + b"\0"), fake.policy())


# All of it


@pytest.mark.parametrize("name", ["quote_message", "quote_signature", "pcrs", "attestation_key", "certificates"])
def test_a_part_that_is_missing_or_of_another_shape_is_refused(fake, name):
    evidence = fake.evidence()
    part = evidence.parts[name]
    for wrong in (None, part[0] if isinstance(part, tuple) else (part,)):
        parts = {key: value for key, value in evidence.parts.items() if key != name}
        with pytest.raises(Refused) as caught:
            tpm.verify(
                replace(evidence, parts=parts if wrong is None else parts | {name: wrong}),
                REPORT_DATA,
                fake.policy(),
                AT,
            )
        assert caught.value.check in {"format", "chain"}


@pytest.mark.parametrize("name", ["hcl_report", "td_quote", "Event_log", "ak"])
def test_a_part_that_nobody_reads_is_refused(fake, name):
    refused("format", fake.evidence(**{name: b"x"}), fake.policy())


def test_every_part_cut_off_at_every_length_is_refused(fake):
    evidence = fake.evidence()
    for name, part in evidence.parts.items():
        if isinstance(part, bytes):
            for size in range(len(part)):
                with pytest.raises(Refused):
                    tpm.verify(
                        replace(evidence, parts={**evidence.parts, name: part[:size]}), REPORT_DATA, fake.policy(), AT
                    )
    for place, certificate in enumerate(evidence.many("certificates")):
        for size in range(len(certificate)):
            chain = [*evidence.many("certificates")]
            chain[place] = certificate[:size]
            with pytest.raises(Refused):
                tpm.verify(
                    replace(evidence, parts={**evidence.parts, "certificates": tuple(chain)}),
                    REPORT_DATA,
                    fake.policy(),
                    AT,
                )


def test_every_flipped_bit_is_refused_but_for_those_of_the_log_that_no_hash_covers(fake):
    log = make.event_log()
    evidence = fake.evidence()
    for name in ("quote_message", "quote_signature", "attestation_key"):
        for bit in range(8 * len(evidence.part(name))):
            with pytest.raises(Refused):
                tpm.verify(with_part(evidence, name, flipped(evidence.part(name), bit)), REPORT_DATA, fake.policy(), AT)
    right = tpm.verify(evidence, REPORT_DATA, fake.policy(), AT)
    for bit in range(8 * len(log)):
        try:
            changed = {**evidence.parts, "event_log": flipped(log, bit)}
            proved = tpm.verify(replace(evidence, parts=changed), REPORT_DATA, fake.policy(), AT)
        except Refused:
            continue
        assert proved == right  # its type, its description: nothing that is shown


def with_part(evidence: Evidence, name: str, part) -> Evidence:
    return replace(evidence, parts={**evidence.parts, name: part})


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_flipped_bit_of_the_certificates_is_refused_or_leaves_the_same_claims(fake):
    evidence = fake.evidence()
    right = tpm.verify(evidence, REPORT_DATA, fake.policy(), AT)
    first, ca = evidence.many("certificates")
    # The library does not mind a bit string that says of its last bits, zeros, that they do not count.
    unused = first.index(b"\x00\x30", len(first) - 76)
    for bit in range(8 * len(first)):
        changed = replace(evidence, parts={**evidence.parts, "certificates": (flipped(first, bit), ca)})
        if bit // 8 == unused:
            with suppress(Refused):
                assert tpm.verify(changed, REPORT_DATA, fake.policy(), AT) == right
            continue
        with pytest.raises(Refused):
            tpm.verify(changed, REPORT_DATA, fake.policy(), AT)
    for bit in range(0, 8 * len(ca), 7):
        changed = {**evidence.parts, "certificates": (first, flipped(ca, bit))}
        refused_or_format(replace(evidence, parts=changed), fake.policy())


def refused_or_format(evidence: Evidence, policy: TpmPolicy) -> None:
    with pytest.raises(Refused) as caught:
        tpm.verify(evidence, REPORT_DATA, policy, AT)
    assert caught.value.check in {"root", "format"}


def test_a_name_made_to_act_on_a_terminal_stays_text(fake):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x\x1b[2J\n# y")])
    evidence = fake.evidence(certificates=fake.certificates(subject=subject))
    from vesica.cli.verify_command import text

    shown = tpm.verify(evidence, REPORT_DATA, fake.policy(), AT).claims["attestation_key.subject"]
    assert "\x1b" not in text(shown)
