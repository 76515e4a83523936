"""Right bytes with a few places overwritten: what parsers of evidence are fuzzed with."""

from hypothesis import strategies as st

EDITS = st.lists(st.tuples(st.integers(0, 2**16), st.binary(max_size=8)), max_size=6)


def edited(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    """The data with each change (offset, new bytes) written over it, in turn; offsets wrap around."""
    for offset, value in changes:
        at = offset % (len(data) + 1)
        data = data[:at] + value + data[at + len(value) :]
    return data
