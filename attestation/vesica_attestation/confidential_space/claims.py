"""The claims of a token, each with its type. A claim of another type than the documented one refuses the token.

Source: Confidential Space documentation, "Attestation token claims" (top-level, submods, container and gce claims).
Claims that are not named here are Google's word too, and are not read; but ``submods.container`` must hold nothing
unknown, because that is where a way to change what runs would show.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind

TEXT_CHARACTERS_MAX: Final = 4096
ENTRIES_MAX: Final = 256
NONCES_MAX: Final = 6
TIME_MAX: Final = 253_402_300_799  # the end of the year 9999
_IMAGE_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_VERSION: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_CONTAINER: Final = frozenset(
    {
        "image_reference",
        "image_digest",
        "image_id",
        "image_signatures",
        "restart_policy",
        "args",
        "cmd_override",
        "env",
        "env_override",
    }
)


@dataclass(frozen=True)
class Claims:
    """What Google signed. Times: seconds since 1970, UTC.

    arguments: the whole command line of the container, program first. cmd_override, env_override: what of it the
    operator put in place of the image's own. monitored: what of the workload the operator may watch, such as
    "memory".
    """

    issuer: str
    audience: str
    issued_at: int
    not_before: int
    expires_at: int
    nonces: tuple[str, ...]
    oem_id: int
    secure_boot: bool
    debug_status: str
    hardware_model: str
    software_name: str
    software_version: int
    support_attributes: frozenset[str]
    monitored: frozenset[str]
    image_digest: bytes
    image_reference: str
    restart_policy: str
    arguments: tuple[str, ...]
    cmd_override: tuple[str, ...]
    env_override: Mapping[str, str]
    project_id: str
    zone: str
    instance_id: str
    tdx_tcb_status: str | None


def read_claims(root: Mapping[str, object]) -> Claims:
    """The claims of a token's payload.

    Raises Refused (check "claims").
    """
    submods = _object(root, "submods")
    space = _object(submods, "confidential_space")
    container = _object(submods, "container")
    gce = _object(submods, "gce")
    if not container.keys() <= _CONTAINER:
        raise _wrong("container", "has a field that this version does not know")
    return Claims(
        issuer=_text(root, "iss"),
        audience=_text(root, "aud"),
        issued_at=_integer(root, "iat"),
        not_before=_integer(root, "nbf"),
        expires_at=_integer(root, "exp"),
        nonces=_nonces(root),
        oem_id=_integer(root, "oemid"),
        secure_boot=_flag(root, "secboot"),
        debug_status=_text(root, "dbgstat"),
        hardware_model=_text(root, "hwmodel"),
        software_name=_text(root, "swname"),
        software_version=_software_version(root),
        support_attributes=frozenset(_texts(space, "support_attributes")),
        monitored=_monitored(space),
        image_digest=_image_digest(container),
        image_reference=_text(container, "image_reference"),
        restart_policy=_text(container, "restart_policy"),
        arguments=_texts(container, "args"),
        cmd_override=_texts(container, "cmd_override"),
        env_override=_environment(container, "env_override"),
        project_id=_text(gce, "project_id"),
        zone=_text(gce, "zone"),
        instance_id=_text(gce, "instance_id"),
        tdx_tcb_status=_tdx_tcb_status(root),
    )


def _object(parent: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise _wrong(name, "is not an object")
    return value


def _as_text(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX or not value.isprintable():
        raise _wrong(name, "is not a printable text")
    return value


def _text(parent: Mapping[str, object], name: str) -> str:
    value = _as_text(parent.get(name), name)
    if not value:
        raise _wrong(name, "is empty")
    return value


def _texts(parent: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = parent.get(name)
    if value is None:  # tokens say "none" by leaving it out, and older ones by null
        return ()
    if not isinstance(value, list) or len(value) > ENTRIES_MAX:
        raise _wrong(name, "is not a list of texts")
    return tuple(_as_text(item, name) for item in value)


def _environment(parent: Mapping[str, object], name: str) -> dict[str, str]:
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > ENTRIES_MAX:
        raise _wrong(name, "is not an object of texts")
    return {_as_text(variable, name): _as_text(content, name) for variable, content in value.items()}


def _integer(parent: Mapping[str, object], name: str) -> int:
    value = parent.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= TIME_MAX:
        raise _wrong(name, "is not a whole number")
    return value


def _flag(parent: Mapping[str, object], name: str) -> bool:
    value = parent.get(name)
    if not isinstance(value, bool):
        raise _wrong(name, "is not true or false")
    return value


def _nonces(root: Mapping[str, object]) -> tuple[str, ...]:
    value = root.get("eat_nonce")
    if isinstance(value, str):
        return (_as_text(value, "eat_nonce"),)
    nonces = _texts(root, "eat_nonce")
    if len(nonces) > NONCES_MAX:
        raise _wrong("eat_nonce", f"has more than {NONCES_MAX} entries")
    return nonces


def _software_version(root: Mapping[str, object]) -> int:
    match _texts(root, "swversion"):
        case (version,) if _VERSION.fullmatch(version):
            return int(version)
        case _:
            raise _wrong("swversion", "is not one number")


def _monitored(space: Mapping[str, object]) -> frozenset[str]:
    if "monitoring_enabled" not in space:
        return frozenset()
    enabled = _object(space, "monitoring_enabled")
    return frozenset(_as_text(name, "monitoring_enabled") for name in enabled if _flag(enabled, name))


def _image_digest(container: Mapping[str, object]) -> bytes:
    found = _IMAGE_DIGEST.fullmatch(_text(container, "image_digest"))
    if found is None:
        raise _wrong("image_digest", "is not a SHA-256")
    return bytes.fromhex(found[1])


def _tdx_tcb_status(root: Mapping[str, object]) -> str | None:
    return _text(_object(root, "tdx"), "gcp_attester_tcb_status") if "tdx" in root else None


def _wrong(name: str, why: str) -> Refused:
    return Refused(Kind.CONFIDENTIAL_SPACE, "claims", f"{name} {why}")
