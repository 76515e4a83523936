"""What all attesters share."""

from typing import Final

REPORT_DATA_BYTES: Final = 64


def require_report_data(report_data: bytes) -> None:
    """ValueError for another length than 64 bytes: that is a bug of the caller."""
    if len(report_data) != REPORT_DATA_BYTES:
        raise ValueError(f"report data is {REPORT_DATA_BYTES} bytes")
