"""PCRs predicted from files, against systemd-measure, and against what a TPM held after real boots."""

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.image_files import kernel, program, unified
from vesica_images import pcr, pe
from vesica_images.files import FileInvalid

ZERO = bytes(32)

# Printed by `systemd-measure calculate --bank=sha256 --phase=:` of Debian's systemd 252.39 and 257.13 for these files.
SMALL = {
    ".linux": b"a kernel",
    ".osrel": b"ID=vesica\n",
    ".cmdline": b"console=ttyS0 roothash=00",
    ".initrd": b"an initial file system",
    ".ucode": b"microcode",
    ".splash": b"a splash",
    ".dtb": b"a tree",
    ".uname": b"6.12.0",
    ".sbat": b"sbat,1,x\n",
    ".pcrpkey": b"a key",
}
MEASURED = {
    252: "2930ec52ee7892279fddeebaab4de5a642ef2778477da38210f062ba3ba52093",
    257: "b87874a5163c985ad9b7a35f776ad26a6f3851a5a4cb58ea4e575b0b34aa301e",
}

# What swtpm held after boots of 2026-11-26: QEMU 10.0.2 (TCG, q35), Debian's OVMF 2025.02, Linux 6.12.95 (Debian's
# cloud kernel) in unified images that ukify 257.13 made of Debian's stubs. Digests are of the files that were booted.
KERNEL = "c830f84c0c40deb7d49de5df2f4c1c471b7e7678d992d7ebb6a1c29b61fb2a7a"
BOOTED = {
    ".linux": "fadf27c4528461030ddff1d20e6622f76e1e007f7c64796f5ad9b71e37267a6f",
    ".osrel": hashlib.sha256(b"ID=vesica\nNAME=test\n").hexdigest(),
    ".cmdline": hashlib.sha256(b"console=ttyS0 quiet panic=-1").hexdigest(),
    ".initrd": "8bd48805e4d29a393df6c6d16528058c60920a0e996c14d3644bf11b830f3212",
    ".uname": hashlib.sha256(b"6.12.95").hexdigest(),
}
BOOTS = {
    252: (
        "412a80ac37d6372701281c85d4a4ffb58d0246835d95aac63fe88549975d09ba",
        None,
        "fa0a846377de65de0463a37b03078b2becd8200b3019762f969238ca47876e81",
        "c9ed5c3c081841b68812dce18f66676bc2d3b40ba4e1002b87a17999b4830ecb",
    ),
    257: (
        "f72681b9bf5436dd8790698ee2b9533f8be8a74c56cc8d4eea3d76686f02c5c2",
        "3e12e299ecf5788c054a005d84e3152bdfb322e9866d3f37fd7951288b39a0bf",
        "e2d97051ac5737bc16793cd638ceca3f9c1fb1b4bb0cb9d7819e6bf10685d1a4",
        "6710cc29ed79f6c525a82fad22edf57db1a4634fbc9b78d7e46ff837f1870863",
    ),
    262: (
        "da6d42d0deaf0184bc0c4ea51d3c74124e1baad66c202d4150d19e2791aeee56",
        "476d938257bbc99cd15ce3f7f7075b47afd35899985b82c2e80d02923f6df2dc",
        "9d401ea65c349a5b20dea917c93ee1c8790945bf4d8ecc95a1656f4b7ef6219b",
        "da0c9109edc767aa10547a6e2bbf7297ba38549a0def4733ad10a68a9b19cf2c",
    ),
}


@pytest.mark.parametrize("version", MEASURED)
def test_pcr_11_is_what_systemd_measure_prints(version):
    contents = [(name, hashlib.sha256(SMALL[name]).digest()) for name in pcr.STUBS[version].sections]
    assert pcr.pcr11(contents).hex() == MEASURED[version]


@pytest.mark.parametrize("version", BOOTS)
def test_pcr_4_and_11_are_what_a_tpm_held_after_a_boot(version):
    image, sbat, held_4, held_11 = BOOTS[version]
    stub = pcr.STUBS[version]
    digests = {**BOOTED, ".sbat": sbat}
    contents = [(name, bytes.fromhex(digests[name])) for name in stub.sections if name in digests]
    programs = [image, KERNEL] if stub.kernel_in_pcr4 else [image]
    assert pcr.pcr11(contents).hex() == held_11
    assert pcr.pcr4(map(bytes.fromhex, programs)).hex() == held_4


def test_what_a_kernel_measures_of_its_command_line_is_what_the_event_log_of_a_direct_boot_says():
    options = pcr.load_options("console=ttyS0 quiet panic=-1")
    initrd = bytes.fromhex(BOOTED[".initrd"])
    held = "cba51202ddcdee5a5c44e344214028c1516d1b32f61aff31dae200a92fa2160d"
    assert pcr.replay([hashlib.sha256(options).digest(), initrd]).hex() == held


def test_a_whole_image_gives_what_its_parts_give():
    image = unified()
    sections = {section.name: section.content for section in pe.sections(image)}
    contents = [
        (name, hashlib.sha256(sections[name]).digest())
        for name in (".linux", ".osrel", ".cmdline", ".initrd", ".uname", ".sbat")
    ]
    assert pcr.unified_kernel(image) == {
        4: pcr.pcr4([pe.authenticode(image), pe.authenticode(kernel())]),
        11: pcr.pcr11(contents),
        12: ZERO,
        13: ZERO,
    }


@pytest.mark.parametrize("section", ["osrel", "cmdline", "initrd", "uname", "sbat"])
def test_any_section_that_is_measured_changes_pcr_4_and_11(section):
    before, after = pcr.unified_kernel(unified()), pcr.unified_kernel(unified(**{section: b"another"}))
    assert before[4] != after[4]
    assert before[11] != after[11]


def test_another_kernel_changes_pcr_4_and_11():
    before, after = pcr.unified_kernel(unified()), pcr.unified_kernel(unified(linux=kernel(b"another kernel")))
    assert before[4] != after[4]
    assert before[11] != after[11]


def test_another_stub_with_the_same_payload_changes_pcr_4():
    before, after = pcr.unified_kernel(unified()), pcr.unified_kernel(unified(text=b"another stub"))
    assert before[4] != after[4]
    assert before[11] == after[11]


def test_moving_bytes_from_one_section_to_the_next_changes_pcr_11():
    one, other = unified(osrel=b"ab", cmdline=b"c"), unified(osrel=b"a", cmdline=b"bc")
    assert pcr.unified_kernel(one)[11] != pcr.unified_kernel(other)[11]


def test_a_section_left_out_is_another_value_than_an_empty_one():
    assert pcr.unified_kernel(unified(uname=None))[11] != pcr.unified_kernel(unified(uname=b""))[11]


@pytest.mark.parametrize("name", ["profile", "dtbauto", "hwids", "efifw"])
def test_what_only_some_machines_measure_is_refused(name):
    with pytest.raises(FileInvalid, match=name):
        pcr.unified_kernel(unified(**{name: b"x"}))


@pytest.mark.parametrize("version", [251, 253, 254, 256, 258, 261, 263])
def test_a_stub_whose_measuring_was_not_looked_at_is_refused(version):
    with pytest.raises(FileInvalid, match="not looked at"):
        pcr.unified_kernel(unified(version))


@pytest.mark.parametrize(
    "magic", [None, b"", b"#### LoaderInfo: systemd-boot 257 ####", b"#### LoaderInfo: systemd-stub"]
)
def test_a_program_that_names_no_stub_is_refused(magic):
    with pytest.raises(FileInvalid, match="no version"):
        pcr.unified_kernel(unified(sdmagic=magic))


def test_a_section_that_stands_twice_is_refused():
    sections = [(section.name, section.content) for section in pe.sections(unified())]
    with pytest.raises(FileInvalid, match="two sections"):
        pcr.unified_kernel(program([*sections, (".cmdline", b"init=/bin/sh")]))


def test_a_kernel_alone_is_no_unified_image():
    with pytest.raises(FileInvalid, match="unified"):
        pcr.unified_kernel(kernel())


def test_a_direct_boot_depends_on_kernel_initial_file_system_and_command_line():
    values = {
        tuple(pcr.direct_boot(kernel(program_), initrd, line).items())
        for program_, initrd, line in itertools.product((b"a", b"b"), (b"c", b"d"), ("e", "f"))
    }
    assert len(values) == 8


@given(st.permutations([bytes([number]) * 32 for number in range(4)]))
def test_the_order_of_events_matters(digests):
    ordered = [bytes([number]) * 32 for number in range(4)]
    assert (pcr.replay(digests) == pcr.replay(ordered)) == (digests == ordered)


def test_a_register_takes_only_digests_of_its_own_algorithm():
    with pytest.raises(ValueError, match="another algorithm"):
        pcr.extend(bytes(32), bytes(48))
