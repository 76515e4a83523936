"""What the first process in a VM makes of a launch medium: the room's command line, and nothing that it cannot say."""

import importlib

import pytest

from vesica.cli.main import main
from vesica_init import launch, services


def asked(**files: bytes) -> launch.Launch:
    return launch.Launch({"agreement.toml": b"", **files}, None, 443, "sev-snp")


def test_the_room_is_started_as_an_option_can_say_it_and_no_other_way():
    argv = services.room(asked(), "0.0.0.0").argv
    assert list(argv[1:]) == [
        "serve", "/run/vesica/agreement.toml", "--host", "0.0.0.0", "--port", "443", "--attester=sev-snp",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("tdx-collateral.json", "--tdx-collateral"),
        ("snp-certificate", "--snp-certificate"),
        ("tpm-certificates.pem", "--tpm-certificates"),
    ],
)
def test_what_is_handed_in_is_passed_on_by_its_option(name, option):
    argv = services.room(asked(**{name: b"x"}), "0.0.0.0").argv
    assert argv[-2:] == (option, f"/run/vesica/{name}")


def test_the_command_line_knows_every_option_that_is_used(capsys):
    files = {name: b"x" for name in launch.FILE_BYTES_MAX if name != "launch.toml"}
    argv = services.room(asked(**files), "0.0.0.0").argv
    importlib.import_module("vesica_enclave.serve")
    # It parses, and then ends because there is no such file here.
    assert main(list(argv[1:])) == 3
    assert "/run/vesica/agreement.toml" in capsys.readouterr().err


def test_what_is_laid_cannot_be_written_by_the_room(tmp_path):
    services.lay({"agreement.toml": b"x"}, tmp_path / "room")
    assert (tmp_path / "room/agreement.toml").stat().st_mode & 0o777 == 0o444
    assert (tmp_path / "room").stat().st_mode & 0o022 == 0
