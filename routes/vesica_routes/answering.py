"""Answers that nobody on the way may keep; long ones leave piece by piece."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping

from fastapi.responses import JSONResponse, Response, StreamingResponse

from vesica.limits import ANSWER_PIECE_BYTES
from vesica_routes.problems import NO_STORE


class Uncached(JSONResponse):
    """JSON that nobody on the way may keep."""

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """The headers of an answer, with the one that every answer has."""
        super().init_headers({**NO_STORE, **(headers or {})})


def listed(name: str, items: Iterable[Mapping[str, object]]) -> Response:
    """The object ``{name: [items]}``, written while it is sent.

    There may be a hundred thousand items: a client that does not read costs one piece of them and not a copy of all,
    and between two pieces the event loop serves others.
    """
    return StreamingResponse(_pieces(name, items), headers=NO_STORE, media_type="application/json")


async def _pieces(name: str, items: Iterable[Mapping[str, object]]) -> AsyncIterator[bytes]:
    piece = bytearray(b'{"%s":[' % name.encode())
    for place, item in enumerate(items):
        piece += b"," if place else b""
        piece += Uncached(item).body
        if len(piece) >= ANSWER_PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
            await asyncio.sleep(0)
    yield bytes(piece + b"]}")
