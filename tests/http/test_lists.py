"""Long answers leave piece by piece: a client that does not read holds one piece, and others are served between."""

import asyncio
import json
from collections.abc import Iterator

from vesica.limits import ANSWER_PIECE_BYTES
from vesica_routes.answering import listed

ITEM = {"text": '\u00e9"\\' * 100, "number": 9007199254740993}


async def pieces(items: Iterator[dict[str, object]], most: int) -> list[bytes]:
    """The first pieces of an answer."""
    found: list[bytes] = []
    async for piece in listed("things", items).body_iterator:
        found.append(piece)
        if len(found) == most:
            break
    return found


def test_a_list_is_the_same_json_in_pieces_as_whole() -> None:
    for count in (0, 1, 2, 1000):
        found = asyncio.run(pieces(iter([ITEM] * count), 10_000))
        assert json.loads(b"".join(found)) == {"things": [ITEM] * count}
        assert max(len(piece) for piece in found) < ANSWER_PIECE_BYTES + 2000


def test_no_more_of_a_list_is_made_than_was_taken() -> None:
    made = 0

    def items() -> Iterator[dict[str, object]]:
        nonlocal made
        while True:
            made += 1
            yield ITEM

    asyncio.run(pieces(items(), 3))
    assert made * len(json.dumps(ITEM)) < 3 * 2 * ANSWER_PIECE_BYTES


def test_others_are_served_between_two_pieces() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def both() -> int:
        task = asyncio.create_task(other())
        taken = len(await pieces(iter([ITEM] * 3000), 10_000))
        task.cancel()
        return taken

    taken = asyncio.run(both())
    assert taken > 5
    assert turns >= taken - 2  # not between the last two
