"""Columns of well-formed parquet files whose values Python has no objects for."""

import pyarrow as pa

ROWS = 4

ODD = {
    "a time after the year 9999": pa.array([3 * 10**17] * ROWS, pa.timestamp("us")),
    "a date after the year 9999": pa.array([5_000_000] * ROWS, pa.int32()).cast(pa.date32()),
    "a large duration": pa.array([2**62] * ROWS, pa.duration("s")),
    "an unknown time zone": pa.array([1] * ROWS, pa.timestamp("us", tz="Mars/Olympus")),
    "invalid UTF-8": pa.array([b"\xff\xfe"] * ROWS).view(pa.string()),
}


def odd_table(name: str, **columns: list[object]) -> pa.Table:
    """A table whose first column, `odd`, is the one of that name."""
    return pa.table({"odd": ODD[name], **columns})
