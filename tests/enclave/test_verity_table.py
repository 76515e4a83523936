"""Where a VM takes the identity of its root file system from, and how it finds the disk."""

import struct
from pathlib import Path

import pytest

from vesica_init import initrd, verity
from vesica_init.verity import Tree, VerityInvalid

HASH = "ab" * 32
LINE = f"console=ttyS0 quiet roothash={HASH} vesica.blocks=30000"


def test_root_hash_and_size_come_from_the_measured_command_line():
    assert verity.from_command_line(LINE) == Tree(HASH, 30000)


@pytest.mark.parametrize(
    "line",
    [
        "",
        f"roothash={HASH}",
        "vesica.blocks=1",
        f"roothash={HASH[:-1]} vesica.blocks=1",
        f"roothash={HASH.upper()} vesica.blocks=1",
        f"roothash={HASH} vesica.blocks=0",
        f"roothash={HASH} vesica.blocks=-1",
        f"roothash={HASH} vesica.blocks=1e3",
        f"roothash={HASH} vesica.blocks={2**28 + 1}",
        f"{LINE} roothash={HASH}",
        f"{LINE} roothash={'0' * 64}",
        f"{LINE} vesica.blocks=1",
    ],
)
def test_a_command_line_that_does_not_name_one_tree_stops_the_machine(line):
    with pytest.raises(VerityInvalid):
        verity.from_command_line(line)


def test_a_block_that_does_not_fit_panics_the_kernel():
    table = Tree(HASH, 7).table(Path("/dev/vda2"), Path("/dev/vda3"))
    assert table == f"1 /dev/vda2 /dev/vda3 4096 4096 7 0 sha256 {HASH} - 1 panic_on_corruption"


def test_the_request_to_the_kernel_is_as_long_as_it_says_and_ends_in_a_nul():
    request = verity._load(Tree(HASH, 7), Path("/dev/vda2"), Path("/dev/vda3"))
    size, start, targets = struct.unpack_from("=III", request, 12)
    assert (size, start, targets) == (len(request), 312, 1)
    first, sectors, _, following, kind = struct.unpack_from("=QQiI16s", request, 312)
    assert (first, sectors, kind.rstrip(b"\0")) == (0, 56, b"verity")
    assert following == len(request) - 312
    assert request.endswith(b"\0")


def test_partitions_are_found_by_their_names(tmp_path):
    for name, text in {
        "sda": "DEVNAME=sda\nDEVTYPE=disk\n",
        "sda1": "DEVNAME=sda1\nPARTNAME=vesica-boot\n",
        "sda2": "DEVNAME=sda2\nPARTNAME=vesica-root\n",
        "sda3": "DEVNAME=sda3\nPARTNAME=vesica-verity\n",
        "sdb2": "DEVNAME=sdb2\nPARTNAME=vesica-root\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "uevent").write_text(text)
    found = initrd.wait_for_partitions(("vesica-root", "vesica-verity"), tmp_path)
    assert found == [Path("/dev/sda2"), Path("/dev/sda3")]
