"""What ``json.loads`` lets through and JSON does not have: hooks that refuse it. Each raises ValueError."""

from typing import NoReturn


def no_constant(_: str) -> NoReturn:
    """For ``parse_constant``: NaN and Infinity are not JSON."""
    raise ValueError("NaN and Infinity are not JSON")


def different_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """For ``object_pairs_hook``: an object that names a field twice is read one way here and another way elsewhere."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name twice")
    return dict(pairs)
