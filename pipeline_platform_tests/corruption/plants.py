"""Corruptions of staged Parquet files, planted behind the platform's back.

Each takes the Parquet files of one attempt and a folder with files of another window. Those of
LOUD change what the rows add up to, hold or are; those of SILENT keep every count and sum.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HOUR = timedelta(hours=1)

Files = list[Path]
Plant = Callable[[Files, Files], None]
LOUD: dict[str, Plant] = {}
SILENT: dict[str, Plant] = {}
UNREADABLE = ("file_truncated", "file_empty", "file_gone", "column_gone")


def loud(plant: Plant) -> Plant:
    LOUD[plant.__name__] = plant
    return plant


def silent(plant: Plant) -> Plant:
    SILENT[plant.__name__] = plant
    return plant


def edit(file: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write the file anew with other rows; names and types stay."""
    before = pq.read_table(file)
    after = change(before).cast(before.schema)
    assert not after.equals(before)
    pq.write_table(after, file)


def with_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)


def one_changed(file: Path, name: str, change: Callable[[object], object]) -> None:
    """Change the first value of a column that is not NULL."""

    def changed(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        first = next(number for number, value in enumerate(values) if value is not None)
        values[first] = change(values[first])
        return with_column(table, name, pa.array(values, table.schema.field(name).type))

    edit(file, changed)


@loud
def rounded_decimals(files: Files, others: Files) -> None:
    for file in files:
        edit(file, lambda t: with_column(
            t, "amount", pc.round(t["amount"], 1).cast(t.schema.field("amount").type)))  # fmt: skip


@loud
def last_digit_of_one_decimal(files: Files, others: Files) -> None:
    one_changed(files[1], "amount", lambda value: value + type(value)("0.01"))  # type: ignore


@loud
def one_digit_of_a_key(files: Files, others: Files) -> None:
    one_changed(files[0], "id", lambda value: value + 1)  # type: ignore[operator]


@loud
def shifted_zone(files: Files, others: Files) -> None:
    for file in files:
        edit(file, lambda t: with_column(t, "updated_at", pc.add(t["updated_at"], HOUR)))


@loud
def shifted_zone_of_the_query_field(files: Files, others: Files) -> None:
    """All still in the window but the last hour's."""
    for file in files:
        edit(file, lambda t: with_column(t, "placed_at", pc.add(t["placed_at"], HOUR)))


@loud
def shifted_zone_inside_the_window(files: Files, others: Files) -> None:
    edit(files[0], lambda t: with_column(t, "placed_at", pc.add(t["placed_at"], HOUR)))


@loud
def null_for_a_value(files: Files, others: Files) -> None:
    one_changed(files[2], "note", lambda value: None)


@loud
def value_for_a_null(files: Files, others: Files) -> None:
    """An empty text adds no byte."""
    edit(files[0], lambda t: with_column(t, "note", pc.fill_null(t["note"], "")))


@loud
def row_dropped(files: Files, others: Files) -> None:
    edit(files[1], lambda t: t.slice(1))


@loud
def row_doubled(files: Files, others: Files) -> None:
    edit(files[1], lambda t: pa.concat_tables([t, t.slice(3, 1)]))


@loud
def row_dropped_and_another_doubled(files: Files, others: Files) -> None:
    edit(files[1], lambda t: pa.concat_tables([t.slice(1), t.slice(3, 1)]))


@loud
def file_of_another_window(files: Files, others: Files) -> None:
    files[1].write_bytes(others[1].read_bytes())


@loud
def file_twice_for_another(files: Files, others: Files) -> None:
    files[1].write_bytes(files[0].read_bytes())


@loud
def file_truncated(files: Files, others: Files) -> None:
    files[0].write_bytes(files[0].read_bytes()[:-100])


@loud
def file_empty(files: Files, others: Files) -> None:
    files[2].write_bytes(b"")


@loud
def file_gone(files: Files, others: Files) -> None:
    files[0].unlink()


@loud
def column_gone(files: Files, others: Files) -> None:
    pq.write_table(pq.read_table(files[0]).drop_columns(["note"]), files[0])


@silent
def values_of_two_rows_swapped(files: Files, others: Files) -> None:
    def swapped(table: pa.Table) -> pa.Table:
        order = pa.array([1, 0, *range(2, len(table))])
        return with_column(table, "amount", table["amount"].take(order))

    edit(files[0], swapped)


@silent
def text_of_the_same_length(files: Files, others: Files) -> None:
    one_changed(files[0], "note", lambda value: f"x{str(value)[1:]}")


@silent
def two_files_swapped(files: Files, others: Files) -> None:
    first, second = files[0].read_bytes(), files[1].read_bytes()
    files[0].write_bytes(second)
    files[1].write_bytes(first)


@silent
def one_bit(files: Files, others: Files) -> None:
    data = bytearray(files[0].read_bytes())
    data[len(data) // 3] ^= 1
    files[0].write_bytes(bytes(data))


@silent
def byte_behind_the_end(files: Files, others: Files) -> None:
    files[0].write_bytes(files[0].read_bytes() + b"\n")
