"""Reading request bodies: bounded in bytes and in time, never spooled to disk."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from vesica import sealed
from vesica.errors import (
    MediaTypeUnsupported,
    RequestInvalid,
    RequestTooLarge,
    RequestTooSlow,
    TooLarge,
    UploadIncomplete,
)
from vesica.form import Form
from vesica.jsontext import different_names, no_constant
from vesica.limits import (
    BODY_IDLE_SECONDS_MAX,
    BODY_SECONDS_MAX,
    FORM_OVERHEAD_BYTES_MAX,
    JSON_BODY_BYTES_MAX,
    SUBMISSION_BYTES_MAX,
    SUBMISSION_BYTES_PER_SECOND_MIN,
    SUBMISSION_GRACE_SECONDS,
)

# curl --data-binary says "urlencoded" when it is told nothing else, though it sends the file as it is.
_RAW_TYPES: Final = (
    "text/csv",
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "",
)
_UTF8: Final = ("utf-8", "utf8", "us-ascii", "")

Model = TypeVar("Model", bound=BaseModel)


async def read_json(request: Request, model: type[Model]) -> Model:
    """A small JSON body as a model; numbers are read as exact decimals.

    Raises RequestTooLarge, RequestTooSlow, RequestInvalid.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            async for chunk in request.stream():
                body += chunk
                if len(body) > JSON_BODY_BYTES_MAX:
                    raise RequestTooLarge(f"a request of more than {JSON_BODY_BYTES_MAX} bytes")
    except TimeoutError:
        raise RequestTooSlow(f"the request did not arrive within {BODY_SECONDS_MAX:g} seconds") from None
    except ClientDisconnect:
        raise UploadIncomplete("the connection ended before the request did") from None
    try:
        document = json.loads(
            bytes(body), parse_float=Decimal, parse_constant=no_constant, object_pairs_hook=different_names
        )
    except (ValueError, ArithmeticError, RecursionError):  # ArithmeticError: an exponent beyond Decimal
        raise RequestInvalid("the body is not JSON (or names a field twice)") from None
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise RequestInvalid(_what_is_wrong(error, model)) from None


def _what_is_wrong(error: ValidationError, model: type[BaseModel]) -> str:
    """Names the model's own fields only: pydantic's message would quote what was sent."""
    known = set(model.model_fields)
    places = {
        str(item["loc"][0]) if item["loc"] else "" for item in error.errors(include_input=False, include_url=False)
    }
    wrong = sorted(places & known)
    parts = [f"{name} is missing or not of its type" for name in wrong]
    if not places <= known:
        parts.append(f"the body must be an object with no fields but {', '.join(model.model_fields)}")
    return "; ".join(parts)


class Decoder(Protocol):
    """From what is sent to the CSV in it. ``feed`` any number of times, then ``finish`` once."""

    def feed(self, data: bytes, /) -> bytes:
        """The bytes of the CSV that are known with these bytes of the body."""
        ...

    def finish(self) -> bytes:
        """What is left of the CSV. Raises where the body is not complete."""
        ...


class AsItIs:
    """The decoder of a body that is the CSV."""

    def feed(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    def finish(self) -> bytes:
        """Nothing: where such a body ends, the CSV ends."""
        return b""


@dataclass(frozen=True)
class Coding:
    """How the CSV stands in a body, and how long such a body may be."""

    decoder: Decoder
    bytes_max: int


def coding_of(request: Request, unsealer: Callable[[], Decoder]) -> Coding:
    """What the request's headers say of its body: a raw CSV, a form with the field ``csv_file``, or a sealed one.

    unsealer: makes what opens a sealed one. Raises MediaTypeUnsupported, FormInvalid, and what ``unsealer`` raises.
    """
    if request.headers.get("content-type", "").strip().lower() == sealed.MEDIA_TYPE:
        return Coding(unsealer(), sealed.sealed_bytes(SUBMISSION_BYTES_MAX))
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if any(coding.lower() != "identity" for coding in request.headers.getlist("content-encoding")):
        raise MediaTypeUnsupported("send the CSV as it is, without Content-Encoding")
    if options.get(b"charset", b"").decode("latin-1").lower() not in _UTF8:
        raise MediaTypeUnsupported("send the CSV in UTF-8")
    media = kind.decode("latin-1").lower()
    if media in _RAW_TYPES:
        return Coding(AsItIs(), SUBMISSION_BYTES_MAX)
    if media == "multipart/form-data":
        return Coding(Form(options.get(b"boundary", b"")), SUBMISSION_BYTES_MAX + FORM_OVERHEAD_BYTES_MAX)
    raise MediaTypeUnsupported(
        "send the CSV as the body (curl -H 'Content-Type: text/csv' --data-binary @FILE) or as a form "
        "(curl -F csv_file=@FILE)"
    )


async def chunks(request: Request, bytes_max: int) -> AsyncGenerator[bytes, None]:
    """A large body, chunk by chunk as it arrives, from a sender that keeps sending.

    Raises TooLarge, UploadIncomplete.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > bytes_max:
        raise TooLarge(f"a submission may have at most {SUBMISSION_BYTES_MAX} bytes")
    stream = aiter(request.stream())
    loop = asyncio.get_running_loop()
    begun, received = loop.time(), 0
    while True:
        try:
            async with asyncio.timeout(BODY_IDLE_SECONDS_MAX):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise UploadIncomplete(
                f"nothing arrived for {BODY_IDLE_SECONDS_MAX:g} seconds; send the file again"
            ) from None
        except ClientDisconnect:
            raise UploadIncomplete("the connection ended before the file did; send it again") from None
        if chunk is None:
            return
        received += len(chunk)
        if received > bytes_max:
            raise TooLarge(f"a submission may have at most {SUBMISSION_BYTES_MAX} bytes")
        seconds = loop.time() - begun - SUBMISSION_GRACE_SECONDS
        if seconds > 0 and received < seconds * SUBMISSION_BYTES_PER_SECOND_MIN:
            raise UploadIncomplete(f"slower than {SUBMISSION_BYTES_PER_SECOND_MIN} bytes a second; send the file again")
        if chunk:
            yield chunk
