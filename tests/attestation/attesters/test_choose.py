"""Which attester a room uses: by name, or the first that is there; software only where it is asked for."""

import itertools
from pathlib import Path

import pytest

from support import fuse, swtpm
from support.attesters import collateral, snp, snp_driver, snp_report_data, tdx_driver
from support.azure_vtpm import AzureVtpm, Clock, Devices
from support.platform import serving, whole
from support.tsm import Provider, Tsm
from vesica_attestation._tpm.device import opened
from vesica_attestation.attester import NAMES, Supplies, Surroundings, choose, from_file
from vesica_attestation.azure.attester import AzureAttester
from vesica_attestation.confidential_space.attester import ConfidentialSpaceAttester
from vesica_attestation.dstack.attester import DstackAttester
from vesica_attestation.errors import AttesterUnavailable
from vesica_attestation.evidence import Kind
from vesica_attestation.nitro.attester import NitroAttester
from vesica_attestation.sev_snp.attester import SevSnpAttester
from vesica_attestation.software import InsecureSoftwareAttester
from vesica_attestation.tdx.attester import TdxAttester
from vesica_attestation.tpm.attester import ENROLLED, TpmAttester

ORDER = ["confidential-space", "dstack", "nitro", "azure", "sev-snp", "tdx"]
CLASSES = {
    "confidential-space": ConfidentialSpaceAttester,
    "dstack": DstackAttester,
    "nitro": NitroAttester,
    "azure": AzureAttester,
    "sev-snp": SevSnpAttester,
    "tdx": TdxAttester,
}
SUPPLIES = Supplies(collateral=collateral)


def nowhere(tmp_path: Path, **there: Path) -> Surroundings:
    """A machine with nothing on it but what is named."""
    none = tmp_path / "none"
    places = {"tsm_reports": none, "nsm": none, "tpm": none, "confidential_space": none, "dstack": (none,)}
    return Surroundings(**places | there)


@pytest.fixture
def everything(tmp_path, mount):
    """A machine with all of it; ``without`` takes names away."""
    if fuse.why_not() or swtpm.why_not():
        pytest.skip("needs FUSE and swtpm")
    (tmp_path / "swtpm").mkdir()
    (tmp_path / "dev").mkdir()
    with (
        swtpm.running(tmp_path / "swtpm") as tpm,
        serving(tmp_path / "cs.sock", whole(500, b"")),
        serving(tmp_path / "dstack.sock", whole(500, b"")),
        fuse.mounted(Devices(AzureVtpm(tpm, 1, lambda _: b"", Clock()).exchange), tmp_path / "dev"),
    ):
        places = {name: mount(Tsm(driver)) for name, driver in (("snp", snp_driver("genoa-v5")), ("tdx", TDX))}

        def without(*names: str) -> Surroundings:
            there = {
                "confidential_space": ("confidential-space", tmp_path / "cs.sock"),
                "dstack": ("dstack", (tmp_path / "none", tmp_path / "dstack.sock")),
                "nsm": ("nitro", Path("/dev/null")),
                "tpm": ("azure", tmp_path / "dev" / "tpmrm0"),
                "tsm_reports": ("sev-snp", places["snp"]),
            }
            kept = {place: path for place, (name, path) in there.items() if name not in names}
            if "sev-snp" in names and "tdx" not in names:
                kept["tsm_reports"] = places["tdx"]
            return nowhere(tmp_path, **kept)

        yield without


TDX = tdx_driver("v4-uptodate")


def test_the_names_are_these():
    assert set(NAMES) == {"auto", "insecure-software", "tpm", *ORDER}


@pytest.mark.parametrize("absent", [ORDER[:count] for count in range(len(ORDER))], ids=lambda names: f"no {names}")
def test_auto_takes_the_first_that_is_there_in_the_documented_order(everything, absent):
    chosen = choose("auto", SUPPLIES, everything(*absent))
    assert type(chosen) is CLASSES[ORDER[len(absent)]]


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(ORDER[:5], 2)))
def test_of_any_two_that_are_there_the_same_one_is_taken_each_time(everything, first, second):
    rest = [name for name in ORDER[:5] if name not in {first, second}]
    surroundings = everything(*rest, "tdx")
    for _ in range(3):
        assert type(choose("auto", SUPPLIES, surroundings)) is CLASSES[first]


def test_on_azure_the_vtpm_comes_before_configfs(everything):
    assert choose("auto", SUPPLIES, everything("confidential-space", "dstack", "nitro")).kind is Kind.AZURE


@pytest.mark.parametrize("name", ORDER)
def test_each_is_chosen_by_its_name(everything, name):
    chosen = choose(name, SUPPLIES, everything("sev-snp") if name == "tdx" else everything())
    assert type(chosen) is CLASSES[name]


@pytest.mark.parametrize("name", ["auto", *ORDER])
def test_where_there_is_no_hardware_nothing_is_chosen_least_of_all_software(tmp_path, name):
    with pytest.raises(AttesterUnavailable) as caught:
        choose(name, SUPPLIES, nowhere(tmp_path))
    assert "software" not in str(caught.value)


def test_auto_says_of_each_interface_why_it_is_not_used(tmp_path):
    with pytest.raises(AttesterUnavailable) as caught:
        choose("auto", SUPPLIES, nowhere(tmp_path))
    assert caught.value.kind == "auto"
    places = [caught.value.detail.index(f"{name}: ") for name in ORDER]
    assert places == sorted(places)


def test_a_plain_vtpm_is_chosen_by_its_name_and_never_found_by_auto(tmp_path):
    if swtpm.why_not():
        pytest.skip(f"{swtpm.why_not()}: apt-get install swtpm")
    state = tmp_path / "state"
    state.mkdir()
    with swtpm.serving(state) as place:
        with pytest.raises(AttesterUnavailable, match="no attestation key"):
            choose("tpm", Supplies(), nowhere(tmp_path, tpm=place))
        with opened(place) as exchange:
            swtpm.make_attestation_key(exchange, ENROLLED.handle)
        assert isinstance(choose("tpm", Supplies(), nowhere(tmp_path, tpm=place)), TpmAttester)
        with pytest.raises(AttesterUnavailable, match="no TEE was found here") as caught:
            choose("auto", Supplies(), nowhere(tmp_path, tpm=place))
    assert "tpm: " not in caught.value.detail


def test_on_this_machine_which_is_no_tee_auto_finds_nothing():
    with pytest.raises(AttesterUnavailable, match="no TEE was found here"):
        choose("auto", SUPPLIES)


def test_one_that_is_there_and_fails_is_not_passed_over_for_the_next(everything):
    chosen = choose("auto", SUPPLIES, everything())
    with pytest.raises(AttesterUnavailable, match="HTTP 500"):
        chosen.attest(bytes(64))


def test_software_is_chosen_by_its_full_name_only(tmp_path):
    assert isinstance(choose("insecure-software"), InsecureSoftwareAttester)
    for name in ("software", "insecure", "INSECURE-SOFTWARE", "", "none", "Auto", "sev_snp", "insecure-software "):
        with pytest.raises(ValueError, match="no attester is called"):
            choose(name, SUPPLIES, nowhere(tmp_path))


@pytest.mark.parametrize("name", ["tdx", "dstack", "auto"])
def test_tdx_without_collateral_is_refused_when_it_is_chosen_and_not_when_a_party_asks(everything, name):
    gone = {"tdx": ["sev-snp"], "dstack": [], "auto": ["confidential-space"]}[name]
    with pytest.raises(AttesterUnavailable, match="collateral") as caught:
        choose(name, Supplies(), everything(*gone))
    assert caught.value.kind == "tdx"


def test_another_tees_driver_is_none_that_auto_knows(tmp_path, mount):
    arm = Tsm(Provider("arm_cca_guest", lambda inblob, level: (b"", b""), levelled=False))
    with pytest.raises(AttesterUnavailable, match="speaks for 'arm_cca_guest' here, not for 'tdx_guest'"):
        choose("auto", SUPPLIES, nowhere(tmp_path, tsm_reports=mount(arm)))


def test_azures_configfs_without_a_driver_is_no_candidate(tmp_path, mount):
    """Azure's kernels have the folder, and answer ENXIO or ENODEV to mkdir."""
    with pytest.raises(AttesterUnavailable, match="no TEE's guest driver"):
        choose("auto", SUPPLIES, nowhere(tmp_path, tsm_reports=mount(Tsm(None))))


def test_a_supply_is_read_from_its_file_each_time_so_that_it_can_be_renewed(tmp_path, mount):
    report, certificate = snp("genoa-v5")
    path = tmp_path / "vcek.der"
    place = mount(Tsm(snp_driver("genoa-v5", auxblob=b"")))
    chosen = choose("auto", Supplies(certificate=from_file(path)), nowhere(tmp_path, tsm_reports=place))
    with pytest.raises(AttesterUnavailable, match="cannot be read"):
        chosen.attest(snp_report_data(report))
    for content in (b"old", certificate):
        path.write_bytes(content)
        assert chosen.attest(snp_report_data(report)).many("certificates") == (content,)


def test_a_supply_that_is_empty_or_too_large_is_an_error(tmp_path):
    path = tmp_path / "collateral.json"
    for content in (b"", b"x" * (128 * 1024 + 1)):
        path.write_bytes(content)
        with pytest.raises(AttesterUnavailable, match="is empty, or has more than"):
            from_file(path)(b"")
    with pytest.raises(AttesterUnavailable, match="cannot be read"):
        from_file(tmp_path)(b"")


def test_the_audience_reaches_the_launcher(tmp_path):
    with serving(tmp_path / "cs.sock", whole(500, b"")) as seen:
        surroundings = nowhere(tmp_path, confidential_space=seen.address)
        for supplies, audience in ((Supplies(), "vesica"), (Supplies(audience="https://us.example"), None)):
            with pytest.raises(AttesterUnavailable):
                choose("auto", supplies, surroundings).attest(bytes(64))
            assert seen.requests[-1].document["audience"] == (audience or "https://us.example")


def test_dstacks_socket_is_looked_for_where_its_releases_put_it(tmp_path):
    body = whole(200, b"{}")
    for place in range(2):
        folder = tmp_path / str(place)
        folder.mkdir()
        sockets = tuple(folder / name for name in ("first.sock", "second.sock"))
        with serving(sockets[place], body) as seen:
            chosen = choose("dstack", SUPPLIES, nowhere(tmp_path, dstack=sockets))
            with pytest.raises(AttesterUnavailable):
                chosen.attest(bytes(64))
            assert len(seen.requests) == 1
