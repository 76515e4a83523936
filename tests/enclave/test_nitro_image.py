"""The two ramdisks of an enclave's image, as AWS's init expects them."""

import re

import pytest

from vesica_images import eif
from vesica_images.vm import nitro


@pytest.fixture
def blobs(tmp_path):
    folder = tmp_path / "blobs"
    folder.mkdir()
    for name in ("bzImage", "init"):
        (folder / name).write_bytes(name.encode())
    (folder / "cmdline").write_text("reboot=k panic=30 pci=off\n")
    return folder


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "usr/bin/python3").write_bytes(b"python")
    return folder


def names(archive: bytes) -> list[str]:
    found = re.findall(rb"070701[0-9A-F]{104}([^\0]+)\0", archive)
    return [name.decode() for name in found if name != b"TRAILER!!!"]


def test_the_first_ramdisk_is_awss_init_and_the_driver_where_there_is_one(blobs):
    assert names(nitro.bootstrap(blobs)) == ["dev", "init"]
    (blobs / "nsm.ko").write_bytes(b"driver")
    assert names(nitro.bootstrap(blobs)) == ["dev", "init", "modules_load_order", "nsm.ko"]


def test_the_second_has_the_root_file_system_in_a_folder_and_the_command_beside_it(root):
    archive = nitro.application(root)
    assert names(archive) == [
        "cmd", "env", "rootfs", "rootfs/dev", "rootfs/proc", "rootfs/run", "rootfs/sys", "rootfs/tmp", "rootfs/usr",
        "rootfs/usr/bin", "rootfs/usr/bin/python3", "rootfs/var",
    ]  # fmt: skip
    assert b"/usr/bin/python3\n-ISB\n/usr/lib/vesica/nitro.py\n" in archive


def test_the_image_has_what_aws_boots_apart_from_ours_in_its_registers(blobs, root):
    first, second = nitro.bootstrap(blobs), nitro.application(root)
    enclave = eif.Enclave(b"bzImage", "reboot=k", (first, second), b"{}")
    (root / "usr/bin/python3").write_bytes(b"another")
    other = eif.Enclave(b"bzImage", "reboot=k", (first, nitro.application(root)), b"{}")
    before, after = eif.pcrs(enclave), eif.pcrs(other)
    assert before[1] == after[1]
    assert before[2] != after[2]
    assert before[0] != after[0]
