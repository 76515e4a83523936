"""The launch medium: what an operator's tar makes of it, and what no operator gets through."""

import contextlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesica_init import launch
from vesica_init.launch import FILE_BYTES_MAX, LaunchInvalid

LAUNCH = b'[network]\naddress = "10.0.2.15/24"\n'
AGREEMENT = b'name = "x"\n'


def medium(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE, form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.type = len(content), kind
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def usual(text: bytes = LAUNCH) -> bytes:
    return medium(("launch.toml", text), ("agreement.toml", AGREEMENT))


@pytest.mark.parametrize("form", ["ustar", "gnu", "v7"])
def test_what_tar_writes_is_read_if_it_is_an_archive_with_a_magic(tmp_path, form):
    (tmp_path / "launch.toml").write_bytes(LAUNCH)
    (tmp_path / "agreement.toml").write_bytes(AGREEMENT)
    image = tmp_path / "launch.img"
    subprocess.run(
        ["tar", f"--format={form}", "-C", tmp_path, "-cf", image, "launch.toml", "agreement.toml"], check=True
    )
    if form == "v7":
        with pytest.raises(LaunchInvalid, match="ustar"):
            launch.read(image.read_bytes())
    else:
        assert launch.read(image.read_bytes()).files == {"agreement.toml": AGREEMENT}


def test_a_medium_says_where_the_room_is_and_nothing_about_how_it_is_run():
    text = b'[network]\naddress = "10.1.2.3/32"\ngateway = "10.1.2.1"\n[room]\nport = 443\nattester = "sev-snp"\n'
    found = launch.read(usual(text))
    assert found.network is not None
    assert (str(found.network.address), str(found.network.gateway)) == ("10.1.2.3/32", "10.1.2.1")
    assert (found.port, found.attester) == (443, "sev-snp")


def test_left_out_is_no_network_the_usual_port_and_no_choice_of_attester():
    found = launch.read(usual(b""))
    assert (found.network, found.port, found.attester) == (None, 8443, "auto")


@pytest.mark.parametrize(
    "text",
    [
        b"[room]\ntrusted_header = 'X-OBLV-User-Name'\n",
        b"[room]\ninsecure_plain_http = true\n",
        b"[room]\nallow_unhardened = true\n",
        b"[room]\nlog_level = 'debug'\n",
        b"[room]\nattester = '--allow-unhardened'\n",
        b"[room]\nattester = 'auto --allow-unhardened'\n",
        b"[room]\nattester = 'auto\\n'\n",
        b"[room]\nport = true\n",
        b"[room]\nport = 0\n",
        b"[room]\nport = 65536\n",
        b"room = 1\n",
        b"[network]\n",
        b"[network]\naddress = '10.0.0.1'\n",
        b"[network]\naddress = '::1/64'\n",
        b"[network]\naddress = 167772161\n",
        b"[network]\naddress = '10.0.0.1/24'\ngateway = 'router'\n",
        b"[network]\naddress = '10.0.0.1/24'\ndns = '8.8.8.8'\n",
        b"[environment]\nPYTHONPATH = '/tmp'\n",
        b"\xff\n",
        b"a = " + b"[" * 4000,
    ],
)
def test_what_could_weaken_a_room_or_is_not_known_is_refused(text):
    with pytest.raises(LaunchInvalid):
        launch.read(usual(text))


@pytest.mark.parametrize(
    "name", ["../etc/passwd", "/run/vesica/tsm.sock", "./launch.toml", "vesica", "launch.toml/x", ""]
)
def test_a_file_of_another_name_is_refused(name):
    with pytest.raises(LaunchInvalid):
        launch.read(medium(("launch.toml", LAUNCH), ("agreement.toml", AGREEMENT), (name, b"")))


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_only_plain_files_are_taken(kind):
    with pytest.raises(LaunchInvalid, match=r"plain file|none of"):
        launch.read(medium(("launch.toml", b""), kind=kind) + usual())


def test_a_file_twice_is_refused():
    with pytest.raises(LaunchInvalid, match="twice"):
        launch.read(medium(("launch.toml", LAUNCH), ("agreement.toml", AGREEMENT), ("agreement.toml", b"other")))


@pytest.mark.parametrize("name", FILE_BYTES_MAX)
def test_a_file_may_be_as_large_as_its_bound_and_no_larger(name):
    others = [(other, b"") for other in ("launch.toml", "agreement.toml") if other != name]
    filler = b"#" * FILE_BYTES_MAX[name]
    launch.read(medium(*others, (name, filler)))
    with pytest.raises(LaunchInvalid, match="more than"):
        launch.read(medium(*others, (name, filler + b"#")))


@pytest.mark.parametrize("missing", ["launch.toml", "agreement.toml"])
def test_both_files_must_be_there(missing):
    members = [("launch.toml", LAUNCH), ("agreement.toml", AGREEMENT)]
    with pytest.raises(LaunchInvalid, match=missing):
        launch.read(medium(*[member for member in members if member[0] != missing]))


def test_a_wrong_sum_is_refused():
    damaged = bytearray(usual())
    damaged[110] ^= 1  # the user's number, which nobody reads
    with pytest.raises(LaunchInvalid, match="sum"):
        launch.read(bytes(damaged))


def test_an_archive_that_is_cut_anywhere_is_refused():
    whole = usual()
    end = 4 * 512  # then zeros
    for cut in range(0, end + 1, 128):
        with pytest.raises(LaunchInvalid):
            launch.read(whole[:cut])


@given(st.binary(max_size=3000), st.integers(0, 2047))
def test_whatever_stands_on_a_medium_it_is_read_or_refused_and_never_a_crash(content, place):
    damaged = bytearray(usual())
    damaged[place : place + len(content)] = content
    with contextlib.suppress(LaunchInvalid):
        launch.read(bytes(damaged))


def test_the_one_disk_that_begins_with_a_launch_archive_is_taken(tmp_path):
    disks = [tmp_path / name for name in ("empty", "boot", "launch", "gone")]
    disks[0].write_bytes(b"")
    disks[1].write_bytes(b"\0" * 4096)
    disks[2].write_bytes(usual() + b"\0" * 2**20)
    assert launch.read(launch.find(disks)).files == {"agreement.toml": AGREEMENT}


def test_two_launch_disks_or_none_are_refused(tmp_path):
    one, two = Path(tmp_path, "one"), Path(tmp_path, "two")
    one.write_bytes(usual())
    two.write_bytes(usual())
    for disks in ([], [one, two]):
        with pytest.raises(LaunchInvalid, match="there must be 1"):
            launch.find(disks)


def test_no_more_than_the_bound_is_read_of_a_disk(tmp_path):
    disk = tmp_path / "large"
    disk.write_bytes(usual())
    with disk.open("r+b") as file:
        file.truncate(2**30)
    assert len(launch.find([disk])) == launch.MEDIUM_BYTES_MAX
