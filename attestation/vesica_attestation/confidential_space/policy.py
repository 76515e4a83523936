"""What a relying party accepts of a Confidential Space workload: the table ``[confidential_space]`` of a policy.

Source of names and values: Confidential Space documentation, "Attestation assertions", "Workload metadata variables"
and "Launch policies".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from vesica_attestation._table import LIST_MAX, TEXT_CHARACTERS_MAX, Table
from vesica_attestation.confidential_space.keys import TokenKey, read_jwks
from vesica_attestation.errors import PolicyInvalid

DIGEST_BYTES: Final = 32
AGE_SECONDS_MAX: Final = 24 * 60 * 60
AUDIENCE_CHARACTERS_MAX: Final = 512
TDX_MODEL: Final = "GCP_INTEL_TDX"
NOT_CONFIDENTIAL: Final = "GCP_SHIELDED_VM"


@dataclass(frozen=True)
class ConfidentialSpacePolicy:
    """What a token must say. None: accepted unread. An empty set refuses everything.

    launch_digests: SHA-256 of accepted container images. commands: accepted command lines, whole, program first; the
    operator of the machine can change the tail of it (tee-cmd) where the image lets him, and then
    ``allow_cmd_override`` must be set as well. env_overrides: variables that the operator may have set (tee-env-…),
    with their values; others refuse. restart_policies: a restarted room has new keys and an empty ledger. audience:
    what the room asks the token for. max_age_seconds: since the token was issued, at most. hardware_models,
    support_attributes: accepted models; all the attributes that the image of the operating system must have.
    tdx_tcb_statuses: accepted states of the platform where it is TDX. project_ids, zones, instance_ids: accepted
    machines. software_version_min: of the operating system's image. jwks: keys for OIDC tokens; none: refuse those.
    allow_monitoring: let the operator watch the workload, such as how much memory it takes, which tells of sizes.
    allow_insecure_debug: accept debug images, whose operator is root inside.
    """

    launch_digests: frozenset[bytes]
    commands: frozenset[tuple[str, ...]]
    audience: str
    max_age_seconds: int
    hardware_models: frozenset[str]
    support_attributes: frozenset[str]
    tdx_tcb_statuses: frozenset[str] = frozenset()
    env_overrides: Mapping[str, str] = field(default_factory=dict)
    restart_policies: frozenset[str] = frozenset({"Never"})
    project_ids: frozenset[str] | None = None
    zones: frozenset[str] | None = None
    instance_ids: frozenset[str] | None = None
    software_version_min: int | None = None
    jwks: tuple[TokenKey, ...] = ()
    allow_cmd_override: bool = False
    allow_monitoring: bool = False
    allow_insecure_debug: bool = False


def read_policy(table: Table) -> ConfidentialSpacePolicy:
    """The policy of a table.

    Raises PolicyInvalid, naming the place.
    """
    allow_insecure_debug = table.flag("allow_insecure_debug")
    models = _models(table)
    policy = ConfidentialSpacePolicy(
        launch_digests=table.digests("launch_digests", DIGEST_BYTES),
        commands=_commands(table),
        audience=_audience(table),
        max_age_seconds=table.integer("max_age_seconds", least=1, most=AGE_SECONDS_MAX),
        hardware_models=models,
        # No debug image has an attribute; whoever accepts those may ask for none.
        support_attributes=table.texts("support_attributes", least=0 if allow_insecure_debug else 1),
        tdx_tcb_statuses=table.texts("tdx_tcb_statuses") if TDX_MODEL in models else frozenset(),
        env_overrides=_env_overrides(table),
        restart_policies=_optional(table, "restart_policies") or frozenset({"Never"}),
        project_ids=_optional(table, "project_ids"),
        zones=_optional(table, "zones"),
        instance_ids=_optional(table, "instance_ids"),
        software_version_min=table.integer("swversion_min") if "swversion_min" in table else None,
        jwks=read_jwks(table.take("jwks"), table.place("jwks")) if "jwks" in table else (),
        allow_cmd_override=table.flag("allow_cmd_override"),
        allow_monitoring=table.flag("allow_monitoring"),
        allow_insecure_debug=allow_insecure_debug,
    )
    table.nothing_else()
    return policy


def _models(table: Table) -> frozenset[str]:
    models = table.texts("hwmodels")
    if NOT_CONFIDENTIAL in models:
        raise PolicyInvalid(table.place("hwmodels"), f"{NOT_CONFIDENTIAL} is no confidential hardware")
    return models


def _audience(table: Table) -> str:
    audience = table.take("audience")
    if not isinstance(audience, str) or not 0 < len(audience) <= AUDIENCE_CHARACTERS_MAX:
        raise PolicyInvalid(table.place("audience"), f"must be a text of 1 to {AUDIENCE_CHARACTERS_MAX} characters")
    return audience


def _commands(table: Table) -> frozenset[tuple[str, ...]]:
    lines = table.take("commands")
    if not isinstance(lines, list) or not 0 < len(lines) <= LIST_MAX or not all(map(_is_command, lines)):
        raise PolicyInvalid(
            table.place("commands"), 'must be a list of command lines, each a list of texts: [["/program", "argument"]]'
        )
    return frozenset(map(tuple, lines))


def _is_command(line: object) -> bool:
    return isinstance(line, list) and 0 < len(line) <= LIST_MAX and all(map(_is_text, line)) and bool(line[0])


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= TEXT_CHARACTERS_MAX


def _env_overrides(table: Table) -> dict[str, str]:
    if "env_overrides" not in table:
        return {}
    inner = table.table("env_overrides")
    return {name: _variable(inner, name) for name in inner.names()}


def _variable(inner: Table, name: str) -> str:
    value = inner.take(name)
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX:
        raise PolicyInvalid(inner.place(name), "must be a text, the value of the variable")
    return value


def _optional(table: Table, name: str) -> frozenset[str] | None:
    return table.texts(name) if name in table else None
