"""Which drivers go into the initial file system, and in which order."""

import lzma

import pytest

from vesica_images.vm import drivers
from vesica_images.vm.drivers import DriverMissing


def put(place, name: str, depends: str) -> None:
    content = b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0intree=Y\0"
    (place / f"{name}.ko.xz").write_bytes(lzma.compress(content))


def test_a_driver_comes_after_those_it_needs_and_each_once(tmp_path):
    put(tmp_path, "dm-verity", "dm-bufio,dm-mod")
    put(tmp_path, "dm-bufio", "dm-mod")
    put(tmp_path, "dm-mod", "")
    put(tmp_path, "unwanted", "")
    found = [name for name, _ in drivers.in_order(tmp_path, ["dm-verity", "dm_mod"])]
    assert found == ["dm_mod", "dm_bufio", "dm_verity"]


def test_drivers_are_stored_as_the_kernel_loads_them(tmp_path):
    put(tmp_path, "x", "")
    assert drivers.in_order(tmp_path, ["x"])[0][1].startswith(b"\x7fELF")


def test_a_driver_that_is_not_there_is_an_error_and_not_left_out(tmp_path):
    put(tmp_path, "x", "y")
    with pytest.raises(DriverMissing, match="y"):
        drivers.in_order(tmp_path, ["x"])
