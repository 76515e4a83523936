"""The VM's part of ``make enclave-test``: built twice, booted and used, tried from inside, damaged."""

import filecmp
import json
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vesica_attestation.binding import Binding
from vesica_attestation.errors import Refused
from vesica_attestation.evidence import from_json
from vesica_attestation.policy import parse_policy
from vesica_attestation.verifier import verify
from vesica_images import pcr
from vesica_images.check import parties
from vesica_images.check.parties import OVERLAP, Parties
from vesica_images.check.site import REPOSITORY, CheckFailed, Site
from vesica_images.vm import machine
from vesica_images.vm.machine import Machine

VESICA: Final = (sys.executable, "-m", "vesica")
IN_VM: Final = REPOSITORY / "enclave/vesica_images/check/in_vm.py"
HEALTHY_SECONDS_MAX: Final = 600
OFF_SECONDS_MAX: Final = 900
# What a build must not depend on: another path, day, zone, language; files that are made for their owner only.
_OTHERWISE: Final = {
    "TZ": "Pacific/Auckland",
    "LC_ALL": "C.UTF-8",
    "SOURCE_DATE_EPOCH": "1",
    "LD_PRELOAD": "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "FAKETIME": "2031-02-03 04:05:06",
}
_UMASK: Final = 0o077
_FAR: Final = 60  # a release at epsilon 1 is further off once in 10^26
# Exit codes of the command line.
_ATTESTATION_REFUSED: Final = 8
_POLICY_INVALID: Final = 3
# How whoever runs a machine adds to the kernel's command line without touching the image (systemd-stub(7)).
_EXTRA_WORDS: Final = "io.systemd.stub.kernel-cmdline-extra"
_WORDS: Final = "vesica.added=1"
_OF_ADDED_WORDS: Final = 12


@dataclass(frozen=True)
class Stage:
    """What one boot needs. launch: the medium. tpm: the state of an enrolled TPM. ca_digest: of who enrolled it."""

    two: Parties
    launch: Path
    tpm: Path
    ca_digest: str

    def running(self, disk: Path, *options: str) -> AbstractContextManager[Machine]:
        """A machine that boots this disk, with this launch medium and TPM."""
        return machine.running(disk, self.launch, self.two.folder / "machine", tpm_state=self.tpm, options=options)


def image(site: Site) -> Path:
    """The folder of the first build."""
    return site.work / "vm"


def built_twice(site: Site) -> str:
    """Two builds, the second on another path, day, and so on, give the same bytes."""
    first, second = image(site), site.work / "elsewhere/again"
    _build(site, first, {}, -1)
    _build(site, second, _OTHERWISE, _UMASK)
    names = sorted(str(path.relative_to(first)) for path in first.rglob("*") if path.is_file())
    _, different, missing = filecmp.cmpfiles(first, second, names, shallow=False)
    if different or missing:
        raise CheckFailed(f"two builds differ: {', '.join(different + missing)}")
    shutil.rmtree(second.parent)
    size = (first / "vesica.img").stat().st_size // 2**20
    return f"{len(names)} files the same; disk of {size} MiB, roothash {_root_hash(site)}"


def _build(site: Site, out: Path, environment: dict[str, str], umask: int) -> None:
    shutil.rmtree(out, ignore_errors=True)
    options = ("--cache", site.cache, "--selftest", IN_VM)
    environment = {**environment, "PYTHONPATH": str(REPOSITORY / "enclave")}
    command = (sys.executable, "-m", "vesica_images.vm.build", site.root, out, *options)
    site.run(*command, environment=environment, umask=umask)


def _root_hash(site: Site) -> str:
    found = re.search(r"roothash=([0-9a-f]{64})", (image(site) / "cmdline").read_text())
    if found is None:
        raise CheckFailed("the command line names no root hash")
    return found[1]


def results(site: Site) -> dict[str, str]:
    """What identifies the image, as anybody can compute it who has built the same."""
    registers = pcr.unified_kernel((image(site) / "vesica.efi").read_bytes())
    return {"vm_roothash": _root_hash(site), **{f"vm_pcr{number}": value.hex() for number, value in registers.items()}}


def room(site: Site) -> str:
    """One boot: evidence is appraised, two parties submit, a release comes out, and its receipts hold offline."""
    stage = _stage(site, "room")
    two, folder = stage.two, stage.two.folder
    _policy(site, stage, image(site), "policy.toml")
    with stage.running(image(site) / "vesica.img") as running:
        seconds = running.wait_until_healthy(HEALTHY_SECONDS_MAX)
        _client(site, two, "verify", running.url, *_terms(two), "--output", folder / "kept")
        refused = _refused_policies(site, stage, running)
        for party in parties.NAMES:
            _client(site, two, "submit", running.url, folder / f"{party}.csv", *_terms(two), party=party)
        release = json.loads(_client(site, two, "release", running.url, "--epsilon", "1", "--json"))
        _client(site, two, "close", running.url, "--yes", party="bob")
        _client(site, two, "receipts", running.url, "--output", folder / "receipts", party="bob")
        errors = re.findall(r"^\S+T\S+ error .*", running.said(), re.MULTILINE)
    if errors:
        raise CheckFailed(f"the room logged {len(errors)} errors, the first: {errors[0]}")
    # The machine is off: nobody is left to ask.
    _client(site, two, "receipt", "verify", folder / "receipts", *_terms(two))
    refused.append(_refused_nonce(folder))
    if abs(release["value"] - OVERLAP) > _FAR:
        raise CheckFailed(f"the release says {release['value']}, with {OVERLAP} rows on both lists")
    return (
        f"/healthz {seconds:.0f} s after power-on; quote as predicted; released {release['value']}; receipts hold "
        f"offline; refused: {', '.join(refused)}"
    )


def _refused_policies(site: Site, stage: Stage, running: Machine) -> list[str]:
    """The same room, appraised by policies that name something else. Raises CheckFailed if one accepts it."""
    text = (stage.two.folder / "policy.toml").read_text()
    refused = []
    for register in (4, 11, 12, 13):
        first = re.compile(rf'^({register} = \[")(.)', re.MULTILINE)
        other = first.sub(lambda it: it[1] + ("1" if it[2] == "0" else "0"), text)
        refused.append(_refused(site, stage, running, f"PCR {register}", other))
    other = text.replace(stage.ca_digest, "00" * 32)
    refused.append(_refused(site, stage, running, "CA", other))
    untrusting = text.replace("allow_trusted_hypervisor", "# ")
    refused.append(_refused(site, stage, running, "trust in the host", untrusting, code=_POLICY_INVALID))
    return refused


def _refused(
    site: Site, stage: Stage, running: Machine, what: str, policy: str, *, code: int = _ATTESTATION_REFUSED
) -> str:
    """Says what was refused. Raises CheckFailed if it was not, or for another reason."""
    folder = stage.two.folder
    if policy == (folder / "policy.toml").read_text():
        raise CheckFailed(f"the policy with another {what} is the same policy")
    other = folder / "other.toml"
    other.write_text(policy)
    words = ("verify", running.url, "--policy", other, *_terms(stage.two), "--json")
    told = _client(site, stage.two, *words, expected=(code,))
    _note(site, [f"refused for another {what}: {told}"])
    return what


def _refused_nonce(folder: Path) -> str:
    """The evidence that was accepted, shown to somebody who asked with another nonce."""
    kept = {name: json.loads((folder / f"kept/{name}.json").read_text()) for name in ("evidence", "binding")}
    shown = Binding(**{name: bytes.fromhex(value) for name, value in kept["binding"].items()})
    policy, at = parse_policy((folder / "policy.toml").read_bytes()), datetime.now(UTC)
    evidence = from_json(kept["evidence"])
    verify(evidence, shown.report_data(), policy, at)
    try:
        verify(evidence, replace(shown, nonce=bytes(32)).report_data(), policy, at)
    except Refused as refusal:
        return f"nonce ({refusal.check})"
    raise CheckFailed("evidence over another nonce was accepted")


def tried_from_inside(site: Site) -> str:
    """The image with a self-test, started with words that the image did not bring along.

    What must fail in there fails, and a crash leaves nothing. Policies refuse both: by the shipped image's policy it is
    another image, by its own it was given another command line.
    """
    stage = _stage(site, "selftest")
    two, place = stage.two, image(site) / "selftest"
    _policy(site, stage, image(site), "policy.toml")
    shipped = (two.folder / "policy.toml").read_text()
    _policy(site, stage, place, "policy.toml")
    with stage.running(place / "vesica.img", "-smbios", f"type=11,value={_EXTRA_WORDS}={_WORDS}") as running:
        running.wait_until_healthy(HEALTHY_SECONDS_MAX)
        _refused(site, stage, running, "image", shipped)
        _client(site, two, "verify", running.url, *_terms(two), expected=(_ATTESTATION_REFUSED,))
        running.wait_until_said("selftest: waiting for a submission", HEALTHY_SECONDS_MAX)
        # With curl, which verifies nothing: no policy of a party accepts this machine.
        site.run("curl", "-ksSf", "-H", f"@{two.folder / 'alice.auth'}", "-H", "Content-Type: text/csv",
                 "--data-binary", f"@{two.folder / 'alice.csv'}", f"{running.url}/submissions")  # fmt: skip
        running.wait_until_off(OFF_SECONDS_MAX)
        said = running.said()
    lines = [line.partition("selftest: ")[2] for line in said.splitlines() if "selftest: " in line]
    _note(site, lines)
    failed = [line for line in lines if line.startswith("FAILED")]
    passed = [line for line in lines if line.startswith("ok ")]
    if failed or "done" not in lines or not passed:
        raise CheckFailed("in the machine: " + ("; ".join(failed) or "the checks did not come to their end"))
    if "the room ended with status -11 and no core dump" not in said:
        raise CheckFailed("the room did not crash, or left a core dump")
    _compare_registers(lines, place / "vesica.efi")
    return f"{len(passed)} checks; a room that crashed left nothing; refused: another image, words on the command line"


def _compare_registers(lines: Sequence[str], unified: Path) -> None:
    """PCRs as the kernel shows them: all as predicted, but for the one that tells of the added words."""
    found = dict(line.split()[1:] for line in lines if line.startswith("pcr "))
    if not any(line.startswith("command line ") and _WORDS in line for line in lines):
        raise CheckFailed("the added words did not come to the kernel: nothing was tried")
    for number, value in pcr.unified_kernel(unified.read_bytes()).items():
        same = found.get(str(number)) == value.hex()
        if same == (number == _OF_ADDED_WORDS):
            raise CheckFailed(f"PCR {number} is {found.get(str(number))} in the machine, predicted was {value.hex()}")


def flipped_bit(site: Site) -> str:
    """One bit of the disk is another: the kernel stops before a room is."""
    stage = _stage(site, "flipped")
    damaged = stage.two.folder / "damaged.img"
    machine.flip_a_bit(image(site) / "vesica.img", damaged)
    with stage.running(damaged) as running:
        seconds = running.wait_until_off(OFF_SECONDS_MAX)
        said = running.said()
    damaged.unlink()
    if "Kernel panic - not syncing: dm-verity device corrupted" not in said or "is ready at" in said:
        raise CheckFailed("the machine did not stop for the damaged disk")
    return f"kernel panic {seconds:.0f} s after power-on"


def _stage(site: Site, name: str) -> Stage:
    """Two parties in a folder of their own, a launch medium for their room, and an enrolled TPM for its machine."""
    folder = site.work / "vm-runs" / name
    shutil.rmtree(folder, ignore_errors=True)
    two = parties.made(folder, VESICA, site.run)
    (folder / "launch.toml").write_text(f'[network]\naddress = "{machine.ADDRESS}"\n\n[room]\nattester = "tpm"\n')
    launch, tpm = folder / "launch.img", folder / "tpm"
    site.run("tar", "--format=ustar", "--directory", folder, "-cf", launch, "launch.toml", "agreement.toml")
    tpm.mkdir()
    site.run("swtpm_setup", "--tpm2", "--tpmstate", tpm, "--create-ek-cert", "--pcr-banks", "sha256")
    told = site.run(sys.executable, "-m", "vesica_enclave.tpm_enrol", "--tpm", tpm, "--ca-dir", folder / "ca")
    digest = re.search(r'ca_certificate_digests = \["([0-9a-f]{64})"\]', told)
    if digest is None:
        raise CheckFailed(f"the enrolment names no CA: {told}")
    return Stage(two, launch, tpm, digest[1])


def _policy(site: Site, stage: Stage, built: Path, name: str) -> None:
    """A party's policy: the values computed from an image's files, and the two terms that no file determines."""
    folder = stage.two.folder
    values, draft = folder / "reference-values.json", folder / "draft.toml"
    draft.unlink(missing_ok=True)
    site.run(sys.executable, "-m", "vesica_images.measure", built, "--output", values)
    site.run(*VESICA, "policy", "new", "--reference-values", values, "--kind", "tpm", "--output", draft)
    text = draft.read_text()
    for line, filled in (
        ("# allow_trusted_hypervisor = true", "allow_trusted_hypervisor = true"),
        ('# ca_certificate_digests = "FILL IN"', f'ca_certificate_digests = ["{stage.ca_digest}"]'),
    ):
        if line not in text:
            raise CheckFailed(f"the drafted policy has no line {line}")
        text = text.replace(line, filled)
    (folder / name).write_text(text)


def _client(site: Site, two: Parties, *words: str | Path, party: str = "alice", expected: Sequence[int] = (0,)) -> str:
    """What a party's command says."""
    environment = {
        "HOME": str(two.folder),
        "XDG_STATE_HOME": str(two.folder),
        "VESICA_POLICY": str(two.folder / "policy.toml"),
        "VESICA_TOKEN": (two.folder / f"{party}.token").read_text(),
    }
    return site.run(*VESICA, *words, environment=environment, expected=expected)


def _terms(two: Parties) -> tuple[str | Path, ...]:
    return ("--agreement", two.agreement)


def _note(site: Site, lines: Sequence[str]) -> None:
    with site.log.open("a", encoding="utf-8") as log:
        log.writelines(f"{line}\n" for line in lines)


STEPS: Final = (
    ("VM: built twice", built_twice),
    ("VM: a room, attested", room),
    ("VM: tried from inside", tried_from_inside),
    ("VM: one bit flipped", flipped_bit),
)
