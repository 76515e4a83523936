"""The lists that are measured with."""

import pytest

from bench import data
from bench.data import Ids


@pytest.mark.parametrize("ids", Ids)
@pytest.mark.parametrize("rows", [10, 1_001, 30_000])
def test_each_list_is_unique_and_half_is_common(ids: Ids, rows: int) -> None:
    lists = [data.csv(rows, party, ids).split(b"\n") for party in range(2)]
    assert all(lines[0] == b"id" and lines[-1] == b"" for lines in lists)
    first, second = (set(lines[1:-1]) for lines in lists)
    assert len(first) == len(second) == rows
    assert len(first & second) == data.common(rows)


def test_the_same_bytes_come_out_every_time_and_in_no_order() -> None:
    assert data.csv(5_000, 0) == data.csv(5_000, 0)
    ids = data.csv(5_000, 0).split()[1:]
    assert ids != sorted(ids)
    assert data.csv(5_000, 0).split()[1:] != data.csv(5_000, 1).split()[1:]


def test_plain_ids_take_13_bytes_a_row_and_those_like_email_vary() -> None:
    assert len(data.csv(1_000, 0)) == 3 + 13 * 1_000
    addresses = data.csv(10_000, 0, Ids.EMAIL).split()[1:]
    lengths = [len(address) for address in addresses]
    assert min(lengths) == 17
    assert max(lengths) == 36
    assert all(address.count(b"@") == 1 for address in addresses)
