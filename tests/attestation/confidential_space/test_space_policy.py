"""The policy decides: what it does not name is refused, what it misspells is an error."""

from dataclasses import replace
from datetime import timedelta

import pytest

from support import space_tokens as make
from support.space_tokens import ISSUED_AT, NONCE, REPORT_DATA
from vesica_attestation import confidential_space
from vesica_attestation._table import Table
from vesica_attestation.confidential_space import ConfidentialSpacePolicy, nonce_text, read_policy
from vesica_attestation.confidential_space.policy import AGE_SECONDS_MAX
from vesica_attestation.errors import PolicyInvalid, Refused
from vesica_attestation.evidence import Evidence, Kind

POLICY = ConfidentialSpacePolicy(
    launch_digests=frozenset({make.IMAGE}),
    commands=frozenset({make.COMMAND}),
    audience=make.AUDIENCE,
    max_age_seconds=300,
    hardware_models=frozenset({"GCP_AMD_SEV"}),
    support_attributes=frozenset({"STABLE"}),
)
TABLE = {
    "launch_digests": ["d1" * 32],
    "commands": [list(make.COMMAND)],
    "audience": "vesica",
    "max_age_seconds": 300,
    "hwmodels": ["GCP_AMD_SEV"],
    "support_attributes": ["STABLE"],
}
SPACE = "submods__confidential_space"
CONTAINER = "submods__container"
TDX = {"hwmodel": "GCP_INTEL_TDX", "tdx": {"gcp_attester_tcb_status": "UpToDate"}}
TDX_POLICY = replace(
    POLICY, hardware_models=frozenset({"GCP_INTEL_TDX"}), tdx_tcb_statuses=frozenset({"UpToDate", "SWHardeningNeeded"})
)


@pytest.fixture
def appraise(google):
    def run(policy=POLICY, at=ISSUED_AT, report_data=REPORT_DATA, drop=(), **changes):
        token = google.token(make.claims_of(drop, **changes))
        return confidential_space.verify(Evidence(Kind.CONFIDENTIAL_SPACE, {"token": token}), report_data, policy, at)

    return run


@pytest.fixture
def refusal(appraise):
    def run(*arguments, **changes) -> str:
        with pytest.raises(Refused) as caught:
            appraise(*arguments, **changes)
        return caught.value.check

    return run


def test_nonce_text_is_86_characters_that_name_64_bytes():
    assert nonce_text(REPORT_DATA) == NONCE
    assert len(NONCE) == 86
    assert len({nonce_text(bytes([first]) + bytes(63)) for first in range(256)}) == 256


def test_token_with_report_data_as_its_nonce_is_accepted(appraise):
    proved = appraise()
    assert proved.claims["launch_digest"] == make.IMAGE.hex()
    assert proved.claims["command"] == list(make.COMMAND)
    assert {"launch_digest", "command", "cmd_override", "debug_status", "monitored"} <= proved.pinned
    assert not {"project_id", "zone", "instance_id", "software_version", "tdx_tcb_status"} & proved.pinned


def test_report_data_may_stand_among_other_nonces_but_once(appraise, refusal):
    assert appraise(eat_nonce=["other", NONCE])
    assert appraise(eat_nonce=[NONCE])
    assert refusal(eat_nonce=[NONCE, NONCE]) == "report-data"
    assert refusal(eat_nonce=["other"]) == "report-data"
    assert refusal(eat_nonce=[]) == "report-data"
    assert refusal(drop=("eat_nonce",)) == "report-data"


@pytest.mark.parametrize(
    "nonce", [NONCE[:-1], NONCE + "=", NONCE + "A", NONCE.lower(), REPORT_DATA.hex(), "", " " + NONCE]
)
def test_any_other_nonce_is_refused(refusal, nonce):
    assert refusal(eat_nonce=nonce) == "report-data"


def test_any_other_report_data_is_refused(refusal):
    for place in range(64):
        other = REPORT_DATA[:place] + bytes([REPORT_DATA[place] ^ 1]) + REPORT_DATA[place + 1 :]
        assert refusal(report_data=other) == "report-data"


@pytest.mark.parametrize(
    "issuer",
    [
        "https://portal.trustauthority.intel.com",
        "https://accounts.google.com",
        "https://confidentialcomputing.googleapis.com/",
        "http://confidentialcomputing.googleapis.com",
    ],
)
def test_another_issuer_is_refused(refusal, issuer):
    assert refusal(iss=issuer) == "issuer"


@pytest.mark.parametrize("audience", ["https://sts.googleapis.com", "Vesica", "vesica ", "vesica2"])
def test_token_for_another_audience_is_refused(refusal, audience):
    assert refusal(aud=audience) == "audience"


@pytest.mark.parametrize("status", ["enabled", "enable", "disabled", "Disabled-since-boot", "disabled-since-boot "])
def test_any_debug_status_but_disabled_since_boot_is_refused(refusal, status):
    assert refusal(dbgstat=status) == "debug"


def test_debug_where_allowed_is_named_in_the_result(appraise, refusal):
    policy = replace(POLICY, allow_insecure_debug=True)
    proved = appraise(policy, dbgstat="enabled")
    assert proved.claims["warning"].startswith("INSECURE")
    assert "debug_status" not in proved.pinned
    assert refusal(policy, dbgstat="enabled", drop=(f"{SPACE}__support_attributes",)) == "support-attributes"


def test_machine_without_secure_boot_is_refused(refusal):
    assert refusal(secboot=False) == "secure-boot"


@pytest.mark.parametrize("changes", [{"swname": "GCE"}, {"swname": "confidential_space"}, {"oemid": 11128}])
def test_another_operating_system_is_refused(refusal, changes):
    assert refusal(**changes) == "software"


@pytest.mark.parametrize("model", ["GCP_AMD_SEV_ES", "GCP_INTEL_TDX", "GCP_SHIELDED_VM", "gcp_amd_sev"])
def test_hardware_that_the_policy_does_not_list_is_refused(refusal, model):
    assert refusal(hwmodel=model) == "hardware-model"


def test_shielded_vm_is_refused_even_if_listed(refusal):
    policy = replace(POLICY, hardware_models=frozenset({"GCP_SHIELDED_VM"}))
    assert refusal(policy, hwmodel="GCP_SHIELDED_VM") == "hardware-model"


def test_all_listed_support_attributes_are_needed(appraise, refusal):
    attributes = f"{SPACE}__support_attributes"
    both = replace(POLICY, support_attributes=frozenset({"STABLE", "LATEST"}))
    assert appraise(both)
    assert refusal(both, **{attributes: ["STABLE", "USABLE"]}) == "support-attributes"
    assert refusal(**{attributes: ["USABLE"]}) == "support-attributes"
    assert refusal(**{attributes: ["EXPERIMENTAL"]}) == "support-attributes"
    assert refusal(**{attributes: []}) == "support-attributes"
    assert refusal(**{attributes: None}) == "support-attributes"
    assert refusal(drop=(attributes,)) == "support-attributes"


def test_tdx_platform_needs_a_listed_status(appraise, refusal):
    assert "tdx_tcb_status" in appraise(TDX_POLICY, **TDX).pinned
    assert refusal(TDX_POLICY, **TDX | {"tdx": {"gcp_attester_tcb_status": "OutOfDate"}}) == "tcb"
    assert refusal(TDX_POLICY, hwmodel="GCP_INTEL_TDX") == "tcb"
    assert refusal(replace(TDX_POLICY, tdx_tcb_statuses=frozenset()), **TDX) == "tcb"
    assert refusal(tdx={"gcp_attester_tcb_status": "OutOfDate"}) == "tcb"


def test_old_operating_system_is_refused_where_there_is_a_floor(appraise, refusal):
    policy = replace(POLICY, software_version_min=260301)
    assert "software_version" in appraise(policy).pinned
    assert refusal(policy, swversion=["260300"]) == "version"
    assert appraise(swversion=["1"])


def test_watched_memory_is_refused_unless_allowed(appraise, refusal):
    watched = {f"{SPACE}__monitoring_enabled": {"memory": True, "cpu": False}}
    assert refusal(**watched) == "monitoring"
    proved = appraise(replace(POLICY, allow_monitoring=True), **watched)
    assert proved.claims["monitored"] == ["memory"]
    assert "monitored" not in proved.pinned
    assert appraise(drop=(f"{SPACE}__monitoring_enabled",))


def test_another_image_is_refused(refusal):
    assert refusal(**{f"{CONTAINER}__image_digest": "sha256:" + "d2" * 32}) == "launch-digest"
    assert refusal(replace(POLICY, launch_digests=frozenset())) == "launch-digest"


def test_digest_in_the_reference_or_id_counts_for_nothing(refusal):
    right = "sha256:" + make.IMAGE.hex()
    changes = {f"{CONTAINER}__image_reference": f"r@{right}", f"{CONTAINER}__image_id": right}
    assert refusal(**changes, **{f"{CONTAINER}__image_digest": "sha256:" + "d2" * 32}) == "launch-digest"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["/usr/local/bin/vesica"],
        ["/usr/local/bin/vesica", "serve", "--insecure"],
        ["/bin/sh", "-c", "/usr/local/bin/vesica serve"],
        ["/usr/local/bin/vesica serve"],
        ["serve", "/usr/local/bin/vesica"],
    ],
)
def test_command_line_that_the_policy_does_not_list_is_refused(refusal, command):
    assert refusal(**{f"{CONTAINER}__args": command}) == "command"


def test_token_without_a_command_line_is_refused(refusal):
    assert refusal(drop=(f"{CONTAINER}__args",)) == "command"
    assert refusal(replace(POLICY, commands=frozenset())) == "command"


def test_command_that_the_operator_overrode_is_refused_unless_allowed_and_the_whole_line_listed(appraise, refusal):
    overridden = {f"{CONTAINER}__cmd_override": ["serve"]}
    allowing = replace(POLICY, allow_cmd_override=True)
    assert refusal(**overridden) == "command"
    assert appraise(allowing, **overridden).claims["cmd_override"] == ["serve"]
    other = {f"{CONTAINER}__cmd_override": ["demo"], f"{CONTAINER}__args": ["/usr/local/bin/vesica", "demo"]}
    assert refusal(allowing, **other) == "command"
    assert appraise(**{f"{CONTAINER}__cmd_override": []})


def test_variable_that_the_operator_set_is_refused_unless_listed_with_its_value(appraise, refusal):
    overrides = f"{CONTAINER}__env_override"
    policy = replace(POLICY, env_overrides={"AGREEMENT": "a.toml", "EMPTY": ""})
    assert refusal(**{overrides: {"LD_PRELOAD": "/tmp/x.so"}}) == "environment"
    assert refusal(**{overrides: {"EMPTY": ""}}) == "environment"
    assert appraise(policy, **{overrides: {"AGREEMENT": "a.toml"}}).claims["env_override"] == ["AGREEMENT=a.toml"]
    assert appraise(policy, **{overrides: {"AGREEMENT": "a.toml", "EMPTY": ""}})
    assert appraise(policy)
    assert refusal(policy, **{overrides: {"AGREEMENT": "b.toml"}}) == "environment"
    assert refusal(policy, **{overrides: {"AGREEMENT": "a.toml", "PATH": "/tmp"}}) == "environment"
    assert refusal(policy, **{overrides: {"agreement": "a.toml"}}) == "environment"


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "never"])
def test_restart_policy_other_than_never_is_refused_unless_listed(appraise, refusal, policy):
    assert refusal(**{f"{CONTAINER}__restart_policy": policy}) == "restart-policy"
    listed = replace(POLICY, restart_policies=frozenset({policy}))
    assert appraise(listed, **{f"{CONTAINER}__restart_policy": policy})
    assert refusal(listed) == "restart-policy"


@pytest.mark.parametrize(
    ("field", "claim", "check"),
    [
        ("project_ids", "project_id", "project"),
        ("zones", "zone", "zone"),
        ("instance_ids", "instance_id", "instance"),
    ],
)
def test_machine_that_the_policy_pins_must_be_listed(appraise, refusal, field, claim, check):
    right = {"project_id": "p", "zone": "z", "instance_id": "42"}[claim]
    assert claim in appraise(replace(POLICY, **{field: frozenset({right, "other"})})).pinned
    assert refusal(replace(POLICY, **{field: frozenset({"other"})})) == check
    assert refusal(replace(POLICY, **{field: frozenset()})) == check


def test_times_are_judged_at_the_given_time_and_not_by_a_clock(appraise, refusal):
    now = int(ISSUED_AT.timestamp())
    assert appraise(at=ISSUED_AT + timedelta(seconds=300))
    assert refusal(at=ISSUED_AT + timedelta(seconds=300, microseconds=1)) == "age"
    assert appraise(at=ISSUED_AT - timedelta(seconds=60))
    assert refusal(at=ISSUED_AT - timedelta(seconds=61)) == "not-yet"
    assert refusal(nbf=now + 61) == "not-yet"
    assert refusal(iat=now + 61) == "not-yet"
    assert refusal(exp=now) == "expired"
    assert appraise(exp=now + 1)
    assert refusal(exp=now - 10, iat=now - 20, nbf=now - 20) == "expired"
    assert refusal(iat=now - 301, nbf=now - 301) == "age"


def test_token_that_never_expires_is_still_too_old(refusal):
    hour = timedelta(hours=1)
    assert refusal(exp=253_402_300_799, at=ISSUED_AT + hour) == "age"


def test_policy_is_read(google):
    jwks = make.jwks_of(google.leaf.key, "k")
    table = TABLE | {
        "hwmodels": ["GCP_INTEL_TDX"],
        "tdx_tcb_statuses": ["UpToDate"],
        "env_overrides": {"A": "b"},
        "restart_policies": ["OnFailure"],
        "project_ids": ["p"],
        "zones": ["z"],
        "instance_ids": ["42"],
        "swversion_min": 260301,
        "jwks": jwks,
        "allow_cmd_override": True,
        "allow_monitoring": True,
    }
    policy = read_policy(Table("confidential_space", table))
    assert replace(policy, jwks=()) == ConfidentialSpacePolicy(
        launch_digests=frozenset({make.IMAGE}),
        commands=frozenset({make.COMMAND}),
        audience="vesica",
        max_age_seconds=300,
        hardware_models=frozenset({"GCP_INTEL_TDX"}),
        support_attributes=frozenset({"STABLE"}),
        tdx_tcb_statuses=frozenset({"UpToDate"}),
        env_overrides={"A": "b"},
        restart_policies=frozenset({"OnFailure"}),
        project_ids=frozenset({"p"}),
        zones=frozenset({"z"}),
        instance_ids=frozenset({"42"}),
        software_version_min=260301,
        allow_cmd_override=True,
        allow_monitoring=True,
    )
    assert [key.key_id for key in policy.jwks] == ["k"]
    as_text = read_policy(Table("confidential_space", table | {"jwks": make.as_json(jwks).decode()}))
    assert as_text == policy


def test_least_policy_accepts_only_never_restarted_unwatched_production_workloads():
    assert read_policy(Table("confidential_space", TABLE)) == POLICY


@pytest.mark.parametrize("name", TABLE)
def test_policy_without_a_required_field_is_invalid(name):
    with pytest.raises(PolicyInvalid, match=name):
        read_policy(Table("confidential_space", {other: value for other, value in TABLE.items() if other != name}))


def test_policy_for_tdx_must_say_which_statuses_it_accepts():
    with pytest.raises(PolicyInvalid, match="tdx_tcb_statuses"):
        read_policy(Table("confidential_space", TABLE | {"hwmodels": ["GCP_INTEL_TDX", "GCP_AMD_SEV"]}))


def test_only_a_policy_that_allows_debug_may_ask_for_no_support_attributes():
    with pytest.raises(PolicyInvalid, match="support_attributes"):
        read_policy(Table("confidential_space", TABLE | {"support_attributes": []}))
    policy = read_policy(Table("confidential_space", TABLE | {"support_attributes": [], "allow_insecure_debug": True}))
    assert policy.support_attributes == frozenset()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("launch_digests", ["d1" * 48]),
        ("launch_digests", ["sha256:" + "d1" * 32]),
        ("commands", []),
        ("commands", [[]]),
        ("commands", [[""]]),
        ("commands", ["/usr/local/bin/vesica serve"]),
        ("commands", ["/usr/local/bin/vesica", "serve"]),
        ("commands", [["a", 1]]),
        ("audience", ""),
        ("audience", ["vesica"]),
        ("audience", "a" * 513),
        ("max_age_seconds", 0),
        ("max_age_seconds", AGE_SECONDS_MAX + 1),
        ("max_age_seconds", 60.0),
        ("hwmodels", []),
        ("hwmodels", ["GCP_AMD_SEV", "GCP_SHIELDED_VM"]),
        ("tdx_tcb_statuses", ["UpToDate"]),
        ("env_overrides", ["A=b"]),
        ("env_overrides", {"A": 1}),
        ("restart_policies", []),
        ("instance_ids", [42]),
        ("swversion_min", "260301"),
        ("allow_cmd_override", "yes"),
        ("allow_debug", True),
        ("jwks", []),
        ("jwks", {"keys": []}),
        ("jwks", "{"),
        ("jwks", "https://confidentialcomputing.googleapis.com/jwks"),
    ],
)
def test_policy_that_says_something_else_is_invalid(name, value):
    with pytest.raises(PolicyInvalid, match=f"confidential_space.{name}"):
        read_policy(Table("confidential_space", TABLE | {name: value}))


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "EC"},
        {"kty": "oct", "k": "AAAA"},
        {"alg": "RS512"},
        {"use": "enc"},
        {"kid": ""},
        {"kid": None},
        {"e": "Aw"},
        {"e": "AAEAAQ"},
        {"n": "AQAB"},
        {"n": "!"},
        {"n": None},
        {"d": "AQAB"},
        {"x5u": "https://evil.example"},
    ],
)
def test_supplied_key_that_is_not_a_plain_public_rsa_key_is_invalid(google, change):
    jwks = make.jwks_of(google.leaf.key, "k")
    jwks["keys"][0].update(change)
    with pytest.raises(PolicyInvalid, match="jwks"):
        read_policy(Table("confidential_space", TABLE | {"jwks": jwks}))


def test_supplied_keys_with_one_id_are_invalid(google):
    keys = make.jwks_of(google.leaf.key, "k")["keys"] + make.jwks_of(google.root.key, "k")["keys"]
    with pytest.raises(PolicyInvalid, match="twice"):
        read_policy(Table("confidential_space", TABLE | {"jwks": {"keys": keys}}))
