"""SEV-SNP launch digests. What is computed is the library's affair; here is that all that matters goes into it."""

import dataclasses

import pytest

from support.image_files import firmware
from vesica_images import snp
from vesica_images.files import FileInvalid

MACHINE = snp.Machine(2, "EPYC-v4")
LINE = "console=ttyS0"


@pytest.fixture
def digest(tmp_path):
    def compute(machine=MACHINE, line=LINE, **changes):
        contents = {"ovmf.fd": firmware(), "vmlinuz": b"a kernel", "initrd.img": b"an initial file system", **changes}
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        boot = (tmp_path / "vmlinuz", tmp_path / "initrd.img", line)
        return snp.launch_digest(tmp_path / "ovmf.fd", boot, machine)

    return compute


def test_a_launch_digest_is_48_bytes_and_the_same_each_time(digest):
    assert len(digest()) == 48
    assert digest() == digest()


def test_the_value_is_the_one_that_the_command_of_the_library_printed(digest):
    """Of `sev-snp-measure --mode snp` 0.0.13 with these files: the wrapper changes nothing on the way."""
    assert (
        digest().hex()
        == "338fcea32ddb5d21aef3b484d21c8acb7797782991ad7b9040950551a06eb3c7f314a6521d7ebadea42417a44185864a"
    )


def test_firmware_kernel_initial_file_system_command_line_and_machine_all_change_it(digest):
    values = [
        digest(),
        digest(**{"ovmf.fd": firmware(fill=b"\x91")}),
        digest(vmlinuz=b"another"),
        digest(**{"initrd.img": b"another"}),
        digest(line=LINE + " init=/bin/sh"),
        digest(machine=dataclasses.replace(MACHINE, vcpus=3)),
        digest(machine=dataclasses.replace(MACHINE, vcpu_type="EPYC-Genoa")),
    ]
    assert len(set(values)) == len(values)


def test_firmware_that_measures_no_kernel_is_refused(digest):
    with pytest.raises(FileInvalid, match="AmdSev"):
        digest(**{"ovmf.fd": firmware(snp=False)})


@pytest.mark.parametrize("junk", [b"", b"x", bytes(0x4000), firmware()[:0x3000]])
def test_what_is_no_firmware_is_refused(digest, junk):
    with pytest.raises(FileInvalid):
        digest(**{"ovmf.fd": junk})


def test_a_file_that_is_not_there_is_named(tmp_path):
    (tmp_path / "ovmf.fd").write_bytes(firmware())
    boot = (tmp_path / "no-kernel", tmp_path / "no-initrd", LINE)
    with pytest.raises(FileInvalid, match="no-kernel"):
        snp.launch_digest(tmp_path / "ovmf.fd", boot, MACHINE)


@pytest.mark.parametrize("machine", [snp.Machine(0, "EPYC-v4"), snp.Machine(513, "EPYC-v4"), snp.Machine(1, "Xeon")])
def test_a_machine_that_is_not_known_is_named_with_those_that_are(digest, machine):
    with pytest.raises(ValueError, match="EPYC-Milan"):
        digest(machine=machine)
