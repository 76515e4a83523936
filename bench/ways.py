"""Ways from two parties' CSV bytes in memory to the exact count of ids that both have, uniqueness checked.

Each takes the two files and returns the count; ``limit-`` ways and yardsticks do one stage only and return the rows
that they saw. Each imports what it needs when it first runs, which ``bench.child`` does on a thousand rows before it
measures. Every way is this project's own writing, of what the documentation of its library recommends.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.clocks import Phases

POLARS_BLOCK_BYTES: Final = 16 * 2**20
_KEYS_AT_ONCE: Final = 2**16
_CACHED_BYTES: Final = 2**18
_NEWLINE: Final = ord("\n")

Run = Callable[[bytes, bytes, Phases], int]


@dataclass(frozen=True)
class Way:
    """One way.

    counts: its result is the count of common ids; otherwise that of the rows it saw. files: how many of the two it
    reads. phases_only: what it does outside its phases prepares or checks, and does not count.
    """

    label: str
    run: Run
    counts: bool = True
    files: int = 2
    phases_only: bool = False


def vesica(a: bytes, b: bytes, phases: Phases) -> int:
    """Ours: intake of both files in the room's blocks, then the linkage; memory is allocated as in a room's process."""
    from vesica.intake import Intake
    from vesica.keys import KeySecret
    from vesica.linkage import venn
    from vesica.terms import KeyTerms, Statistic
    from vesica_enclave.allocator import keep_freed_memory

    keep_freed_memory()
    secret = KeySecret()
    columns = []
    for data in (a, b):
        intake = Intake(KeyTerms(), secret)
        with phases("parse and key"):
            _feed(intake, data)
        with phases("sort and check"):
            columns.append(intake.finish().sorted_keys)
        del intake
    with phases("link"):
        return venn(columns).count(Statistic.INTERSECTION_CARDINALITY, 0b11)


def vesica_key(a: bytes, _: bytes, phases: Phases) -> int:
    """Parse and key only, one file: every byte is fed and the keys are not asked for."""
    from vesica.intake import Intake
    from vesica.keys import KeySecret
    from vesica.terms import KeyTerms
    from vesica_enclave.allocator import keep_freed_memory

    keep_freed_memory()
    with phases("parse and key"):
        _feed(Intake(KeyTerms(), KeySecret()), a)
    return a.count(b"\n") - 1


def vesica_intake(a: bytes, _: bytes, phases: Phases) -> int:
    """All that is done to a submission's bytes, without a network: to sorted keys that are known to differ."""
    from vesica.intake import Intake
    from vesica.keys import KeySecret
    from vesica.terms import KeyTerms
    from vesica_enclave.allocator import keep_freed_memory

    keep_freed_memory()
    intake = Intake(KeyTerms(), KeySecret())
    with phases("intake"):
        _feed(intake, a)
        return intake.finish().rows


def _feed(intake: Any, data: bytes) -> None:  # noqa: ANN401 (imported late)
    from vesica import limits

    block = limits.BLOCK_BYTES
    for at in range(0, len(data), block):
        intake.feed(data[at : at + block])


def sample(a: bytes, b: bytes, _: Phases) -> int:
    """What the enclave PSI sample does with two uploads: pandas guesses types, the column becomes text, Python sets."""
    import pandas as pd

    lists = []
    for data in (a, b):
        frame = pd.read_csv(io.BytesIO(data))
        column = frame[frame.columns[0]].astype("str")
        if not column.is_unique:
            raise ValueError("an id stands twice")
        lists.append(set(column.values))
    return len(lists[0] & lists[1])


def duckdb(a: bytes, b: bytes, _: Phases) -> int:
    """DuckDB over Arrow tables, which pyarrow reads from the bytes: a distinct count of each, then a semi join."""
    import duckdb
    import pyarrow as pa
    from pyarrow import csv

    options = csv.ConvertOptions(column_types={"id": pa.string()}, strings_can_be_null=False)
    connection = duckdb.connect()
    for name, data in (("a", a), ("b", b)):
        table = csv.read_csv(pa.BufferReader(data), convert_options=options)
        connection.register(name, table)
        if not _one(connection, f"SELECT count(*) = count(DISTINCT id) FROM {name}"):
            raise ValueError("an id stands twice")
    return int(_one(connection, "SELECT count(*) FROM a SEMI JOIN b USING (id)"))


def _one(connection: Any, query: str) -> Any:  # noqa: ANN401 (of a library imported late)
    ((value,),) = connection.execute(query).fetchall()
    return value


def polars_join(a: bytes, b: bytes, _: Phases) -> int:
    """polars' own join of two columns of text, which checks by itself that both are unique."""
    import polars as pl

    left, right = (pl.read_csv(data, schema={"id": pl.String}) for data in (a, b))
    return left.join(right, on="id", how="inner", validate="1:1").height


def polars_hash(a: bytes, b: bytes, _: Phases) -> int:
    """Yardstick: parse the bytes with polars, 16 MB at a time, and hash every id once. No count comes out."""
    import polars as pl

    rows: int = 0
    for data in (a, b):
        for block in _line_blocks(data, POLARS_BLOCK_BYTES):
            frame = pl.read_csv(block, has_header=False, schema={"id": pl.String}, quote_char=None)
            rows += frame["id"].hash(1).len()
    return rows


def openmined_psi(a: bytes, b: bytes, _: Phases) -> int:
    """OpenMined PSI, cardinality only: what server and client compute, both sides in this process, no network."""
    import private_set_intersection.python as psi

    ours, theirs = (data.decode().split("\n")[1:-1] for data in (a, b))
    server, client = psi.server.CreateWithNewKey(False), psi.client.CreateWithNewKey(False)
    setup = server.CreateSetupMessage(1e-9, len(theirs), ours)
    response = server.ProcessRequest(client.CreateRequest(theirs))
    return int(client.GetIntersectionSize(setup, response))


def limit_read(a: bytes, b: bytes, phases: Phases) -> int:
    """Limit: read every byte of both files once."""
    for data in (a, b):
        words = np.frombuffer(data, np.uint64, len(data) // 8)
        with phases("read"):
            words.max()
    return _rows(a, b)


def limit_newlines(a: bytes, b: bytes, _: Phases) -> int:
    """Limit: compare every byte with a line end and count, in blocks that stay in a processor's cache."""
    ends = 0
    for data in (a, b):
        for at in range(0, len(data), _CACHED_BYTES):
            block = np.frombuffer(data, np.uint8, min(_CACHED_BYTES, len(data) - at), at)
            ends += int(np.count_nonzero(block == _NEWLINE))
    return ends - 2  # the headers'


def limit_aes(a: bytes, b: bytes, phases: Phases) -> int:
    """Limit: one AES block a row, which is what keying is made of; no text is read."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    rows = _rows(a, b)
    cipher = Cipher(algorithms.AES(bytes(16)), modes.ECB()).encryptor()
    blocks, out = np.zeros(2**20, np.uint8), np.empty(2**20 + 16, np.uint8)
    with phases("aes"):
        for at in range(0, 16 * rows, blocks.size):
            cipher.update_into(blocks[: 16 * rows - at].data, out.data)
    return rows


def limit_sort(a: bytes, b: bytes, phases: Phases) -> int:
    """Limit: ``np.sort`` of as many random 64-bit keys as either file has rows, and of the other's."""
    for data in (a, b):
        keys = _keys(_rows(data), 0)
        with phases("sort"):
            keys.sort()
    return _rows(a, b)


def limit_merge(a: bytes, b: bytes, phases: Phases) -> int:
    """Limit: merge two sorted columns of keys and count the neighbours that are equal."""
    columns = [np.sort(_keys(_rows(data), number)) for number, data in enumerate((a, b))]
    with phases("merge"):
        parts = max(1, sum(column.size for column in columns) // _KEYS_AT_ONCE)
        cuts = [np.uint64(i * 2**64 // parts) for i in range(1, parts)]
        edges = [np.concatenate(([0], np.searchsorted(column, cuts), [column.size])) for column in columns]
        for part in range(parts):
            pieces = [column[edge[part] : edge[part + 1]] for column, edge in zip(columns, edges, strict=True)]
            merged = np.concatenate(pieces)
            merged.sort(kind="stable")
            np.count_nonzero(merged[1:] == merged[:-1])
    return _rows(a, b)


def _keys(rows: int, seed: int) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, 2**64, rows, np.uint64)


def _rows(*files: bytes) -> int:
    return sum(data.count(b"\n") - 1 for data in files)


def _line_blocks(data: bytes, size: int) -> Iterator[bytes]:
    """A file behind its header, in blocks of whole lines."""
    at = data.index(b"\n") + 1
    while at < len(data):
        end = len(data) if at + size >= len(data) else data.rindex(b"\n", at, at + size) + 1
        yield data[at:end]
        at = end


# The order is that of the tables.
WAYS: Final[dict[str, Way]] = {
    "vesica": Way("Vesica: intake and linkage", vesica),
    "polars-hash": Way("yardstick: polars parses and hashes, no count", polars_hash, counts=False),
    "duckdb": Way("DuckDB over Arrow tables, semi join", duckdb),
    "polars-join": Way("polars, own join", polars_join),
    "sample": Way("the enclave sample's way: pandas, text, Python sets", sample),
    "openmined-psi": Way("OpenMined PSI, cardinality", openmined_psi),
    "vesica-intake": Way("Vesica: intake only, one file", vesica_intake, counts=False, files=1, phases_only=True),
    "vesica-key": Way("Vesica: parse and key only, one file", vesica_key, counts=False, files=1, phases_only=True),
    "limit-read": Way("limit: read memory", limit_read, counts=False, phases_only=True),
    "limit-newlines": Way("limit: find line ends", limit_newlines, counts=False),
    "limit-aes": Way("limit: one AES block a row", limit_aes, counts=False, phases_only=True),
    "limit-sort": Way("limit: sort the keys", limit_sort, counts=False, phases_only=True),
    "limit-merge": Way("limit: merge sorted keys", limit_merge, counts=False, phases_only=True),
}
