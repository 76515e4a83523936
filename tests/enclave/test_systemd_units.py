"""The units for people who run a room under systemd, judged by systemd itself. They were never started here."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "enclave/cvm/systemd"
EXPOSURE_MAX = 20  # of 100, as systemd-analyze counts


@pytest.mark.parametrize("unit", ["vesica.service", "vesica-tsm-broker.service"])
def test_systemd_finds_little_that_a_unit_leaves_open(unit):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", UNITS / unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "name", ["LimitCORE=0", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict"]
)
def test_what_a_room_must_not_be_without_is_in_its_unit(name):
    assert name in (UNITS / "vesica.service").read_text().splitlines()
