"""dstack's event log: what was extended into RTMR3 at run time, in order. Believed only as far as it replays.

A runtime event extends RTMR3 by SHA-384 of its type (4 bytes, little-endian), ":", its name, ":" and its payload. So
a name must have no colon: otherwise one digest would have two readings, and an application could rename what it finds
inconvenient. The log's other events (registers 0 to 2) are not read: the registers themselves are compared instead.

Source: dstack, cc-eventlog/src/runtime_events.rs (event log version 1).
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from vesica_attestation.errors import Refused
from vesica_attestation.evidence import Kind
from vesica_attestation.tdx.jsontext import read_json

EVENT_LOG_BYTES_MAX: Final = 128 * 2**10
EVENTS_MAX: Final = 1024
COMPOSE_HASH_BYTES: Final = 32

_RUNTIME_EVENT: Final = 0x08000001
_FIELDS: Final = {"imr", "event_type", "event", "event_payload"}
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*", re.ASCII)
_REGISTERS: Final = range(4)
_RTMR3: Final = 3
_READY: Final = "system-ready"
_APP_ID, _COMPOSE_HASH, _INSTANCE_ID, _OS_IMAGE_HASH = "app-id", "compose-hash", "instance-id", "os-image-hash"
_CLAIMED: Final = (_APP_ID, _COMPOSE_HASH, _INSTANCE_ID, _OS_IMAGE_HASH)


@dataclass(frozen=True)
class DstackClaims:
    """What dstack extended into RTMR3 before it started the application. As true as the operating system in RTMR0 to
    2 is.

    compose_hash: SHA-256 of the app-compose document. The others are None where the log has no such event.
    """

    compose_hash: bytes
    app_id: bytes | None
    instance_id: bytes | None
    os_image_hash: bytes | None

    @property
    def mrconfigid(self) -> bytes:
        """What dstack's host puts into MRCONFIGID for this application: version 1, the compose hash, zeros."""
        return (b"\x01" + self.compose_hash).ljust(48, b"\0")


@dataclass(frozen=True)
class _Event:
    name: str
    payload: bytes

    def digest(self) -> bytes:
        head = _RUNTIME_EVENT.to_bytes(4, "little") + b":" + self.name.encode("ascii") + b":"
        return hashlib.sha384(head + self.payload).digest()


def replay(event_log: bytes, rtmr3: bytes) -> DstackClaims:
    """Replays an event log to RTMR3 and reads what it says of the application.

    Raises Refused: "format" for another shape, "event-log" where it does not give RTMR3, lacks a compose hash, or has
    one of the claimed events twice or only after the application could have made it (after "system-ready").
    """
    if len(event_log) > EVENT_LOG_BYTES_MAX:
        raise Refused(Kind.TDX, "format", f"an event log of more than {EVENT_LOG_BYTES_MAX} bytes")
    document = read_json(event_log, "event log")
    if not isinstance(document, list) or len(document) > EVENTS_MAX:
        raise Refused(Kind.TDX, "format", f"the event log is not a list of at most {EVENTS_MAX} events")
    events = [event for item in document if (event := _event(item)) is not None]
    register = bytes(48)
    for event in events:
        register = hashlib.sha384(register + event.digest()).digest()
    if register != rtmr3:
        raise Refused(Kind.TDX, "event-log", "the event log does not replay to RTMR3")
    compose_hash = _payload(events, _COMPOSE_HASH)
    if compose_hash is None or len(compose_hash) != COMPOSE_HASH_BYTES:
        raise Refused(Kind.TDX, "event-log", "the event log has no compose hash of 32 bytes")
    return DstackClaims(
        compose_hash, _payload(events, _APP_ID), _payload(events, _INSTANCE_ID), _payload(events, _OS_IMAGE_HASH)
    )


def _payload(events: list[_Event], name: str) -> bytes | None:
    """The payload of an event that stands once, before the system was ready; None if there is none at all."""
    places = [place for place, event in enumerate(events) if event.name == name]
    if not places:
        return None
    ready = next((place for place, event in enumerate(events) if event.name == _READY), len(events))
    if len(places) > 1 or places[0] > ready:
        raise Refused(Kind.TDX, "event-log", f"{name} stands twice, or after the application was started")
    return events[places[0]].payload


def _event(item: object) -> _Event | None:
    """An event of RTMR3; None for one of another register, which is checked for its shape only."""
    if not isinstance(item, dict) or set(item) - {"digest"} != _FIELDS:
        raise Refused(Kind.TDX, "format", "an event with other fields than dstack's")
    register, kind, name = item["imr"], item["event_type"], item["event"]
    if any(isinstance(value, bool) or not isinstance(value, int) for value in (register, kind)):
        raise Refused(Kind.TDX, "format", "an event whose register or type is not a number")
    payload, digest = _bytes(item["event_payload"]), _bytes(item.get("digest", ""))
    if register not in _REGISTERS or not isinstance(name, str):
        raise Refused(Kind.TDX, "format", "an event of no register, or without a name")
    if register != _RTMR3:
        return None
    if kind != _RUNTIME_EVENT or _NAME.fullmatch(name) is None:
        raise Refused(Kind.TDX, "event-log", "an event of RTMR3 that is not a dstack runtime event with a plain name")
    event = _Event(name, payload)
    if digest and digest != event.digest():  # dstack leaves digests out where they follow from the rest
        raise Refused(Kind.TDX, "event-log", "an event whose digest is not that of its name and payload")
    return event


def _bytes(value: object) -> bytes:
    if not isinstance(value, str) or _HEX.fullmatch(value) is None:
        raise Refused(Kind.TDX, "format", "an event whose digest or payload is not hex")
    return bytes.fromhex(value)
