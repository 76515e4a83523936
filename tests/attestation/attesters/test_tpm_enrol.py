"""The CA for attestation keys: it certifies only what it has proven, on real TPMs in software."""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support import swtpm
from support import tpm_evidence as make
from vesica_attestation import tpm
from vesica_attestation._tpm.commands import Tpm, TpmError
from vesica_attestation._tpm.constants import RH_ENDORSEMENT
from vesica_attestation._tpm.device import opened
from vesica_attestation.errors import Refused
from vesica_attestation.policy import parse_policy
from vesica_attestation.tpm.abi import parse_public
from vesica_attestation.tpm.attester import ENROLLED, TpmAttester
from vesica_enclave.tpm_enrol import enrolment
from vesica_enclave.tpm_enrol.__main__ import main
from vesica_enclave.tpm_enrol.authority import EnrolmentRefused, open_authority, require_known, require_manufactured
from vesica_enclave.tpm_enrol.credential import make_credential
from vesica_enclave.tpm_enrol.enrolment import ATTESTATION_TEMPLATE, ENDORSEMENT_TEMPLATE

pytestmark = pytest.mark.skipif(bool(swtpm.why_not()), reason=f"{swtpm.why_not()}: apt-get install swtpm")
NOW = datetime.now(UTC)
DATA = bytes(range(64))
ENDORSEMENT_USAGE = x509.ObjectIdentifier("2.23.133.8.1")


def no_sleep(_: float) -> None:
    """Retries come at once."""


@contextmanager
def running(folder: Path):
    folder.mkdir()
    with swtpm.serving(folder) as place, opened(place) as exchange:
        yield Tpm(exchange, no_sleep)


def endorsement_key(device: Tpm) -> rsa.RSAPublicKey:
    with device.primary(RH_ENDORSEMENT, ENDORSEMENT_TEMPLATE) as (_, public):
        return rsa.RSAPublicNumbers(65537, int.from_bytes(public[-256:], "big")).public_key()


def accept(_: rsa.RSAPublicKey) -> None:
    """Any endorsement key."""


# The command


def test_the_command_enrols_a_state_that_lies_in_a_folder_and_what_it_prints_makes_a_policy(tmp_path, capsys):
    state = tmp_path / "state"
    state.mkdir()
    assert main(["--tpm", str(state), "--ca-dir", str(tmp_path / "ca")]) == 0
    printed = capsys.readouterr().out
    with swtpm.serving(state) as place:
        with opened(place) as exchange:
            for pcr, digest in make.EVENTS:
                swtpm.extend(exchange, pcr, digest)
        evidence = TpmAttester(device=place, event_logs=()).attest(DATA)
    pcrs = "".join(f'{index} = ["{evidence.many("pcrs")[index].hex()}"]\n' for index in (4, 11, 12, 13))
    policy = parse_policy(f"[tpm]\nallow_trusted_hypervisor = true\n{printed}\n[tpm.pcrs]\n{pcrs}".encode()).tpm
    assert {"ca_certificate", "attestation_key"} <= tpm.verify(evidence, DATA, policy, datetime.now(UTC)).pinned


def test_the_ca_is_made_once_its_key_is_its_owners_alone_and_a_second_machine_has_another_key(tmp_path, capsys):
    printed = []
    for name in ("one", "two", "two"):
        (tmp_path / name).mkdir(exist_ok=True)
        assert main(["--tpm", str(tmp_path / name), "--ca-dir", str(tmp_path / "ca"), "--days", "7"]) == 0
        printed.append(capsys.readouterr().out)
    authorities = {text.splitlines()[1] for text in printed}
    keys = [text.splitlines()[2] for text in printed]
    assert len(authorities) == 1
    assert keys[0] != keys[1] == keys[2]  # enrolled again, a TPM keeps its key
    assert (tmp_path / "ca" / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_tpm_that_is_only_reached_and_not_ours_must_be_vouched_for(tmp_path, capsys):
    (tmp_path / "state").mkdir()
    with swtpm.serving(tmp_path / "state") as place:
        assert main(["--tpm", str(place), "--ca-dir", str(tmp_path / "ca")]) == 1
    assert "nothing says that this is a TPM" in capsys.readouterr().err
    assert not (tmp_path / "ca").exists()


def test_a_state_that_is_in_use_or_is_none_is_an_error_in_one_line(tmp_path, capsys):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "tpm2-00.permall").write_bytes(b"x" * 100)
    assert main(["--tpm", str(tmp_path / "state"), "--ca-dir", str(tmp_path / "ca")]) == 1
    assert main(["--tpm", str(tmp_path / "none"), "--ca-dir", "ca", "--manufacturer-ca", "x"]) == 1
    assert capsys.readouterr().err.count("\n") == 2


def test_help_shows_how_it_is_called():
    command = [sys.executable, "-m", "vesica_enclave.tpm_enrol", "--help"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "--tpm PLACE --ca-dir DIR" in shown


# Whose TPM


def test_an_endorsement_key_known_from_elsewhere_is_compared(tmp_path, capsys):
    (tmp_path / "state").mkdir()
    with swtpm.serving(tmp_path / "state") as place:
        with opened(place) as exchange:
            known = endorsement_key(Tpm(exchange, no_sleep))
        pem = tmp_path / "ek.pem"
        pem.write_bytes(known.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        command = ["--tpm", str(place), "--ca-dir", str(tmp_path / "ca"), "--known-endorsement-key", str(pem)]
        assert main(command) == 0
        other = make.ec_key(3).public_key()
        for wrong in (other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), b"x"):
            pem.write_bytes(wrong)
            assert main(command) == 1
    assert "another endorsement key" in capsys.readouterr().err


def manufactured(key, issuer, **changes) -> x509.Certificate:
    fields = {
        "basic": x509.BasicConstraints(ca=False, path_length=None),
        "key_usage": make.usage("key_encipherment"),
        "extra": ((x509.ExtendedKeyUsage([ENDORSEMENT_USAGE]), False),),
    }
    holder = type("Holder", (), {"public_key": lambda self: key})()
    return make.issue("an endorsement key", issuer, holder, **{**fields, **changes}).certificate


@pytest.fixture(scope="module")
def endorsement():
    return rsa.generate_private_key(65537, 2048).public_key()


def test_a_manufacturers_certificate_is_accepted_with_and_without_its_root_and_others_beside(endorsement):
    root = make.authority("a manufacturer")
    between = make.authority("between", root, number=2)
    certificate = manufactured(endorsement, between)
    for given in ([root, between], [between, root], [between], [make.authority("another", number=5), between, root]):
        assert require_manufactured(certificate, endorsement, [one.certificate for one in given], make.AT)


@pytest.mark.parametrize(
    "changes",
    [
        {"key_usage": make.usage("digital_signature")},
        {"key_usage": None},
        {"extra": ((x509.ExtendedKeyUsage([make.AIK]), False),)},
        {"days": (-20, -10)},
        {"days": (10, 20)},
    ],
    ids=["signing", "silent", "attestation key", "expired", "to come"],
)
def test_a_certificate_that_is_of_no_endorsement_key_or_not_of_today_is_refused(endorsement, changes):
    root = make.authority("a manufacturer")
    with pytest.raises(EnrolmentRefused):
        require_manufactured(manufactured(endorsement, root, **changes), endorsement, [root.certificate], make.AT)


def test_a_certificate_of_another_maker_or_another_key_or_by_a_namesake_is_refused(endorsement):
    root, namesake = make.authority("a manufacturer"), make.authority("a manufacturer", number=2)
    certificate = manufactured(endorsement, root)
    for issuers in ([], [make.authority("another").certificate], [namesake.certificate]):
        with pytest.raises(EnrolmentRefused):
            require_manufactured(certificate, endorsement, issuers, make.AT)
    other = rsa.generate_private_key(65537, 2048).public_key()
    with pytest.raises(EnrolmentRefused, match="another endorsement key"):
        require_manufactured(certificate, other, [root.certificate], make.AT)


def test_a_tpm_set_up_by_swtpms_own_manufacturer_is_enrolled_and_one_of_another_is_not(tmp_path, capsys):
    """swtpm_localca plays the manufacturer: a root, an issuer, and a certificate in the TPM's NV memory."""
    if shutil.which("swtpm_localca") is None:
        pytest.skip("swtpm_localca is not installed: apt-get install swtpm-tools")
    state = tmp_path / "state"
    issuers = localca(tmp_path / "maker", state)
    command = ["--ca-dir", str(tmp_path / "ca"), "--manufacturer-ca", str(issuers)]
    with swtpm.serving(state) as place:
        assert main(["--tpm", str(place), *command]) == 0
        assert "certified under" in capsys.readouterr().out
        issuers.write_bytes(make.authority("a CA").certificate.public_bytes(Encoding.PEM))
        assert main(["--tpm", str(place), *command]) == 1
        assert "endorsement key's certificate" in capsys.readouterr().err
    bare = tmp_path / "bare"
    bare.mkdir()
    with swtpm.serving(bare) as place:
        assert main(["--tpm", str(place), *command]) == 1
    assert "has no certificate" in capsys.readouterr().err


def localca(folder: Path, state: Path) -> Path:
    """Sets up a TPM's state with a certificate of its endorsement key. Gives the manufacturer's CA certificates."""
    folder.mkdir()
    state.mkdir()
    files = {"signingkey": "key.pem", "issuercert": "issuer.pem", "certserial": "serial"}
    lines = [f"statedir = {folder}", *(f"{name} = {folder / file}" for name, file in files.items())]
    (folder / "ca.conf").write_text("\n".join(lines) + "\n")
    (folder / "ca.options").write_text("--platform-manufacturer Vesica\n--platform-version 1\n--platform-model test\n")
    (folder / "setup.conf").write_text(
        f"create_certs_tool = {shutil.which('swtpm_localca')}\ncreate_certs_tool_config = {folder / 'ca.conf'}\n"
        f"create_certs_tool_options = {folder / 'ca.options'}\n"
    )
    command = [
        "swtpm_setup",
        "--tpm2",
        "--tpmstate",
        str(state),
        "--create-ek-cert",
        "--config",
        str(folder / "setup.conf"),
    ]
    subprocess.run([*command, "--pcr-banks", "sha256"], check=True, capture_output=True)
    bundle = folder / "issuers.pem"
    issuers = [*sorted(folder.glob("*cert.pem")), folder / "issuer.pem"]
    bundle.write_bytes(b"".join(path.read_bytes() for path in issuers))
    return bundle


# That both keys are in one TPM


def test_a_credential_opens_only_in_the_tpm_that_has_both_keys(tmp_path):
    with running(tmp_path / "one") as one, running(tmp_path / "two") as two:
        target = endorsement_key(two)
        with (
            one.primary(RH_ENDORSEMENT, ENDORSEMENT_TEMPLATE) as (endorsement, _),
            one.primary(RH_ENDORSEMENT, ATTESTATION_TEMPLATE) as (handle, public),
        ):
            name = parse_public(public).name
            right = make_credential(endorsement_key_of(one, endorsement), name, b"secret", bytes(32))
            assert enrolment._activate(one, handle, endorsement, *right) == b"secret"
            for key, other in ((target, name), (endorsement_key_of(one, endorsement), b"\0\x0b" + bytes(32))):
                with pytest.raises(TpmError):
                    enrolment._activate(one, handle, endorsement, *make_credential(key, other, b"secret", bytes(32)))


def endorsement_key_of(device: Tpm, handle: int) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(65537, int.from_bytes((device.read_public(handle) or b"")[-256:], "big")).public_key()


def test_an_attestation_key_in_another_tpm_than_the_accepted_endorsement_key_is_refused(tmp_path):
    """A rogue machine shows the endorsement key of an honest TPM beside a key of its own."""
    with running(tmp_path / "honest") as honest, running(tmp_path / "rogue") as rogue:
        with honest.primary(RH_ENDORSEMENT, ENDORSEMENT_TEMPLATE) as (_, shown):
            pass

        class Between(Tpm):
            @contextmanager
            def primary(self, hierarchy, template):
                with super().primary(hierarchy, template) as (handle, public):
                    yield handle, shown if template == ENDORSEMENT_TEMPLATE else public

        never_certified(Between(rogue._exchange, no_sleep), ATTESTATION_TEMPLATE, TpmError)


def never_certified(device: Tpm, template: bytes, error, match: str | None = None) -> None:
    with pytest.raises(error, match=match), enrolment.proven_key(device, accept, template):
        raise AssertionError("it was certified")


def test_a_tpm_that_answers_with_another_secret_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(enrolment, "_activate", lambda *_: bytes(32))
    with running(tmp_path / "one") as device:
        never_certified(device, ATTESTATION_TEMPLATE, EnrolmentRefused, "does not have the keys")


@pytest.mark.parametrize("bit", [4, 16])
def test_a_key_that_no_verifier_would_accept_is_not_certified(tmp_path, bit):
    attributes = (make.ATTRIBUTES & ~(1 << bit)).to_bytes(4, "big")
    template = ATTESTATION_TEMPLATE[:4] + attributes + ATTESTATION_TEMPLATE[8:]
    with running(tmp_path / "one") as device:
        never_certified(device, template, (Refused, TpmError))


def test_an_endorsement_key_that_is_not_accepted_ends_it_before_anything_is_made(tmp_path):
    def reject(_: rsa.RSAPublicKey) -> None:
        raise EnrolmentRefused("not this one")

    with running(tmp_path / "one") as device:
        with pytest.raises(EnrolmentRefused, match="not this one"), enrolment.proven_key(device, reject):
            raise AssertionError("it was certified")
        assert device.read_public(ENROLLED.handle) is None


@pytest.mark.parametrize("change", [lambda public: public[:4] + b"\0\3\0\xb0" + public[8:], lambda public: public[:-1]])
def test_an_endorsement_key_of_another_form_than_asked_for_is_refused(change):
    with pytest.raises(EnrolmentRefused):
        enrolment._modulus(change(ENDORSEMENT_TEMPLATE[:-256] + b"\xff" * 256))


def test_no_certificate_outlives_the_cas(tmp_path):
    authority = open_authority(tmp_path / "ca", NOW)
    key = parse_public(make.public_area(make.ec_key(1)))
    for days, until in ((36500, authority.certificate.not_valid_after_utc), (7, NOW + timedelta(days=7))):
        assert abs(authority.certify(key, days, NOW).not_valid_after_utc - until) < timedelta(seconds=2)


def test_a_ca_folder_with_half_a_ca_or_anothers_key_is_refused(tmp_path):
    open_authority(tmp_path / "a", NOW)
    open_authority(tmp_path / "b", NOW)
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(EnrolmentRefused, match="not the key of"):
        open_authority(tmp_path / "a", NOW)
    (tmp_path / "b" / "ca.pem").write_bytes(b"x")
    with pytest.raises(EnrolmentRefused, match="cannot be read"):
        open_authority(tmp_path / "b", NOW)
    (tmp_path / "b" / "ca.pem").unlink()
    with pytest.raises(OSError, match="No such file"):
        open_authority(tmp_path / "b", NOW)


def test_what_is_known_may_be_a_certificate_and_must_be_one_key(endorsement):
    root = make.authority("a manufacturer")
    require_known(endorsement, manufactured(endorsement, root).public_bytes(Encoding.PEM))
    with pytest.raises(EnrolmentRefused):
        require_known(endorsement, root.certificate.public_bytes(Encoding.PEM))
