"""Reference values of whole builds: from files to ``reference-values.json``, with the command."""

import dataclasses
import hashlib
import json

import pytest

from support.image_files import firmware, kernel, oci_layout, tar, unified
from vesica_attestation.reference_values import parse
from vesica_images import eif, measure, pcr, snp, tdx, verity
from vesica_images.files import FileInvalid
from vesica_images.reference_values import Files, collect

MACHINES = (snp.Machine(4, "EPYC-v4"), snp.Machine(2, "EPYC-v4"))
ROOT = b"".join(bytes([number]) * 4096 for number in range(3))
LINE = f"console=ttyS0 roothash={verity.root_of([ROOT[place : place + 4096] for place in (0, 4096, 8192)]).hex()}"


def contents():
    enclave = eif.Enclave(b"a kernel", "console=ttyS0", (b"boot", b"application"), b"{}")
    initrd = b"an initial file system"
    return {
        "image": tar(oci_layout()),
        "unified": unified(cmdline=LINE.encode(), initrd=initrd),
        "root": ROOT,
        "enclave": eif.write(enclave),
        "kernel": kernel(),
        "initrd": initrd,
        "command_line": LINE.encode(),
        "snp_firmware": firmware(),
        "tdx_firmware": firmware(),
    }


@pytest.fixture
def files(tmp_path):
    """The files of a build, and a way to write some of them otherwise. None: not there."""

    def write(**changes):
        for name, content in {**contents(), **changes}.items():
            path = tmp_path / measure.NAMES[name]
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
        paths = {name: tmp_path / file for name, file in measure.NAMES.items()}
        return Files(**{name: path for name, path in paths.items() if path.exists()})

    return write


def test_every_value_is_the_one_that_its_module_computes(files):
    values = collect(files(), MACHINES)
    assert values.tpm == pcr.unified_kernel(contents()["unified"])
    assert values.verity.hex() == LINE.rpartition("=")[2]
    assert values.nitro == eif.pcrs(eif.parse(contents()["enclave"]))
    assert values.tdx.mrtd == tdx.mrtd(firmware())
    assert values.tdx.rtmr2 == tdx.rtmr2(b"an initial file system", LINE)
    assert [launch.vcpus for launch in values.sev_snp] == [2, 4]
    assert values.confidential_space.command == ("vesica", "serve")
    for name, source in values.sources.items():
        content = contents()[name]
        assert (source.size, source.sha256) == (len(content), hashlib.sha256(content).digest())


def test_what_is_not_there_is_not_measured(files):
    nothing = dict.fromkeys(contents())
    values = collect(files(**{**nothing, "enclave": contents()["enclave"]}))
    assert list(values.sources) == ["enclave"]
    assert (values.tpm, values.sev_snp, values.tdx, values.verity, values.confidential_space) == (None,) * 5


def test_a_direct_boot_without_firmware_gives_no_value_and_names_no_file(files):
    values = collect(files(snp_firmware=None, tdx_firmware=None))
    assert (values.sev_snp, values.tdx) == (None, None)
    assert not {"kernel", "initrd", "command_line"} & set(values.sources)


def test_nothing_to_measure_is_an_error_that_says_what_is_needed(files):
    with pytest.raises(FileInvalid, match="tdx_firmware and kernel"):
        collect(files(**dict.fromkeys(contents())))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("kernel", kernel(b"another")),
        ("initrd", b"another"),
        ("command_line", LINE.replace("ttyS0", "ttyS1").encode()),
        ("root", bytes(4096)),
        ("unified", unified(cmdline=b"console=ttyS0", initrd=b"an initial file system")),
    ],
)
def test_files_of_different_builds_are_refused(files, name, content):
    with pytest.raises(FileInvalid, match="another"):
        collect(files(**{name: content}), MACHINES)


@pytest.mark.parametrize("words", ["roothash={} roothash={}", "roothash=00", "x=1", "roothash={} vesica.blocks=4"])
def test_a_command_line_must_name_the_root_file_system_once_and_right(files, words):
    line = words.format(*[LINE.rpartition("=")[2]] * 2).encode()
    with pytest.raises(FileInvalid, match="another root"):
        collect(files(unified=None, command_line=line), MACHINES)


def test_a_command_line_that_names_the_number_of_blocks_too_is_fine(files):
    line = f"{LINE} vesica.blocks=3".encode()
    assert collect(files(unified=None, command_line=line), MACHINES).verity is not None


def test_a_folder_is_no_source(files, tmp_path):
    (tmp_path / "layout").mkdir()
    for name, content in oci_layout().items():
        (tmp_path / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "layout" / name).write_bytes(content)
    with pytest.raises(FileInvalid, match="archive"):
        collect(dataclasses.replace(files(), image=tmp_path / "layout"), MACHINES)


def test_the_command_writes_the_same_bytes_wherever_the_files_are(files, tmp_path, capsys):
    files()
    for number in (1, 2):
        folder = tmp_path / f"copy{number}"
        folder.mkdir()
        for name in measure.NAMES.values():
            (folder / name).write_bytes((tmp_path / name).read_bytes())
        assert measure.main([str(folder), "--snp", "2:EPYC-v4", "--output", str(tmp_path / f"{number}.json")]) == 0
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    values = parse((tmp_path / "1.json").read_bytes())
    told = capsys.readouterr().out
    assert values.tpm[11].hex() in told
    assert values.sev_snp[0].launch_digest.hex() in told
    assert values.nitro[2].hex() in told


def test_without_an_output_the_command_prints_the_values(files, tmp_path, capsys):
    files()
    assert measure.main([str(tmp_path), "--snp", "2:EPYC-v4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1


@pytest.mark.parametrize(
    "options",
    [["--snp", "2:Xeon"], ["--output", "/nowhere/there"], ["--kernel", "/nowhere/there"], ["--snp", "999:EPYC-v4"]],
)
def test_what_goes_wrong_is_told_and_nothing_is_written(files, tmp_path, capsys, options):
    files()
    assert measure.main([str(tmp_path), *options]) == 1
    assert capsys.readouterr().err.startswith("vesica_images.measure: ")


def test_the_same_name_in_two_folders_is_refused(files, tmp_path, capsys):
    files()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "vmlinuz").write_bytes(b"x")
    assert measure.main([str(tmp_path), str(tmp_path / "other")]) == 1
    assert "more than one folder" in capsys.readouterr().err
