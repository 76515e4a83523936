"""Initial file systems, with the kernel's own second opinion: cpio."""

import os
import re
import shutil
import subprocess
import time

import pytest

from vesica_images.vm import newc
from vesica_images.vm.newc import File, Folder, Link

ENTRIES = {
    "init": File(b"#!/x\n", executable=True),
    "lib": Link("usr/lib"),
    "proc": Folder(),
    "usr/lib/odd": File(b"12345"),
    "usr/lib/empty": File(b""),
}


def unpacked(archive: bytes, target) -> None:
    """Unpacks with cpio, or, where there is none, with bsdtar."""
    tool = next((tool for tool in ("cpio", "bsdtar") if shutil.which(tool)), None)
    if tool is None:
        pytest.skip("neither cpio nor bsdtar is here")
    command = ["cpio", "-idm", "--quiet"] if tool == "cpio" else ["bsdtar", "-xf", "-"]
    subprocess.run(command, input=archive, cwd=target, check=True)


def test_another_program_unpacks_what_was_packed(tmp_path):
    unpacked(newc.archive(ENTRIES), tmp_path)
    assert (tmp_path / "init").read_bytes() == b"#!/x\n"
    assert os.access(tmp_path / "init", os.X_OK)
    assert (tmp_path / "lib").readlink().as_posix() == "usr/lib"
    assert (tmp_path / "lib/odd").read_bytes() == b"12345"
    assert (tmp_path / "lib/empty").read_bytes() == b""
    assert (tmp_path / "proc").is_dir()
    assert not os.access(tmp_path / "lib/odd", os.X_OK)


def test_the_same_content_gives_the_same_bytes_in_any_order_and_at_any_time(monkeypatch):
    first = newc.archive(ENTRIES)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert newc.archive(dict(reversed(ENTRIES.items()))) == first


def test_a_folder_comes_before_what_is_in_it():
    names = re.findall(rb"070701[0-9A-F]{104}([^\0]+)\0", newc.archive(ENTRIES))
    assert names == [b"init", b"lib", b"proc", b"usr", b"usr/lib", b"usr/lib/empty", b"usr/lib/odd", b"TRAILER!!!"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", ".", "a/"])
def test_a_path_that_is_not_plainly_inside_is_refused(path):
    with pytest.raises(ValueError, match="plain relative path"):
        newc.archive({path: File(b"")})


@pytest.mark.parametrize("order", [1, -1])
def test_nothing_can_be_below_a_link(order):
    entries = [("lib", Link("usr/lib")), ("lib/x", File(b""))][::order]
    with pytest.raises(ValueError, match="no folder"):
        newc.archive(dict(entries))


def test_a_folder_on_disk_is_packed_as_it_is_without_owners_and_times(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/run").write_bytes(b"x")
    (tmp_path / "a/run").chmod(0o700)
    (tmp_path / "a/link").symlink_to("/absolute")
    assert newc.of_folder(tmp_path, "rootfs/") == {
        "rootfs/a": Folder(),
        "rootfs/a/b": Folder(),
        "rootfs/a/link": Link("/absolute"),
        "rootfs/a/run": File(b"x", executable=True),
    }


def test_a_device_or_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no plain file"):
        newc.of_folder(tmp_path)
