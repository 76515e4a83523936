"""What SECURITY.md states about a room under attack is what limits.py says, and adds up."""

from pathlib import Path

from vesica import limits

TEXT = (Path(__file__).parents[2] / "SECURITY.md").read_text()


def test_the_stated_bounds_are_the_ones_in_force() -> None:
    each = limits.CONNECTION_BYTES_MAX // 2**20
    lines = [
        f"| connections, unfinished TLS handshakes among them | {limits.CONNECTIONS_MAX:,} |",
        f"| open files | {limits.CONNECTIONS_MAX + limits.DESCRIPTORS_RESERVED:,}: ",
        f"| {limits.CONNECTIONS_MAX * each:,} MiB ({each} MiB each;",
        f"thrown away | {limits.DISCARDED_BODY_BYTES_MAX // 2**20} MiB, ",
        f"| seconds for a TLS handshake, for headers, for a question | {limits.HANDSHAKE_SECONDS_MAX:g} each |",
        f"until answers are taken | {limits.BODY_IDLE_SECONDS_MAX:g}; {limits.WRITE_SECONDS_MAX:g} |",
        f"| {limits.LOG_BURST_MAX}, then one in {limits.LOG_REPEAT_SECONDS:g} seconds |",
    ]
    assert [line for line in lines if line not in TEXT] == []
    assert limits.HANDSHAKE_SECONDS_MAX == limits.HEADER_SECONDS_MAX == limits.BODY_SECONDS_MAX
