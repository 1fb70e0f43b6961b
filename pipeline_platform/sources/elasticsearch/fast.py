"""The plain values of a page, read by pyarrow.json straight into columns."""

import re
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from pipeline_platform.sources.elasticsearch.dates import EpochUnit, YearDigits
from pipeline_platform.sources.elasticsearch.mapping import DocumentColumn
from pipeline_platform.sources.elasticsearch.values import (
    EXACT_FLOAT,
    FIRST_MICROSECOND,
    LAST_MICROSECOND,
)

_TICKS: dict[tuple[EpochUnit, str], int] = {
    ("s", "us"): 1_000_000,
    ("s", "ns"): 1_000_000_000,
    ("ms", "us"): 1_000,
    ("ms", "ns"): 1_000_000,
}
_LEAST_EPOCH: dict[YearDigits, int] = {0: 0, 4: 10_000, 9: 10**9}
_AT_COLUMN = re.compile(r"JSON parse error: Column\(/(.*)\) changed .*", re.DOTALL)
_HAS_ZONE = re.compile(r"[T ].*(Z|[+-][0-9:]+)$")
_AT_ROW = re.compile(r".* in row (\d+)", re.DOTALL)

Path = tuple[str, ...]
_Convert = Callable[[pa.Array], pa.Array]


class Refused(Exception):
    """A column whose values this way of reading might not take exactly."""


@dataclass(frozen=True)
class Reading:
    """One way to read a column: as `type`, then converted. `convert` may raise Refused."""

    type: pa.DataType
    convert: _Convert


@dataclass(frozen=True)
class Problem:
    """Why pyarrow.json did not take a page, as far as it says."""

    path: str | None = None
    row: int | None = None
    in_numbers: bool = False
    is_twin: bool = False


@dataclass
class Tree:
    """Fields to read by their keys, objects as trees."""

    parts: dict[str, "Tree | pa.DataType"] = field(default_factory=dict)

    def add(self, path: Sequence[str], kind: pa.DataType) -> None:
        """Put a field at its place."""
        *above, last = path
        tree = self
        for key in above:
            part = tree.parts.setdefault(key, Tree())
            assert isinstance(part, Tree)
            tree = part
        tree.parts[last] = kind

    def fields(self) -> list[pa.Field]:
        """As an Arrow schema has it."""
        return [
            pa.field(key, pa.struct(part.fields()) if isinstance(part, Tree) else part)
            for key, part in self.parts.items()
        ]


def readings(column: DocumentColumn) -> tuple[Reading, ...]:
    """Ways to read a column, the likelier first; none where every value needs a closer look."""
    if column.rule == "text":
        return (Reading(pa.string(), _as_it_is),)
    if column.rule == "integer":
        return (Reading(pa.int64(), _as_it_is),)
    if column.rule == "unsigned":
        return (Reading(pa.uint64(), lambda array: array.cast(column.type)),)
    if column.rule == "float":
        return (Reading(pa.float64(), _exact_floats),)
    if column.rule == "boolean":
        return (Reading(pa.bool_(), _as_it_is),)
    formats = column.formats
    if formats is None or not formats.is_iso:
        return ()
    ways = [Reading(pa.string(), lambda array: _iso(array, column.type))]
    if formats.epoch is not None:
        ticks = _TICKS[formats.epoch, column.type.unit]
        years = _LEAST_EPOCH[formats.year_digits]
        ways.append(Reading(pa.int64(), lambda array: _epoch(array, ticks, years, column.type)))
    return tuple(ways if formats.has_text else ways[1:])


def read_page(documents: bytes, rows: int, tree: Tree, *, unknown: str) -> pa.Table | Problem:
    """One row per document, in order.

    unknown: "infer" gives what the tree does not name as further columns, "ignore" leaves it out.
    """
    # One block, so that a document may hold newlines and an error's row is the page's row. No
    # threads: pages of several slices are read side by side, and more threads gain nothing then.
    read = pj.ReadOptions(use_threads=False, block_size=len(documents) + 1)
    parse = pj.ParseOptions(
        explicit_schema=pa.schema(tree.fields()), unexpected_field_behavior=unknown
    )
    try:
        table = pj.read_json(pa.BufferReader(documents), read_options=read, parse_options=parse)
    except pa.ArrowInvalid as error:
        text = str(error)
        path, row = _AT_COLUMN.fullmatch(text), _AT_ROW.fullmatch(text)
        return Problem(
            path.group(1) if path else None,
            int(row.group(1)) if row else None,
            text.startswith("Failed to convert JSON to"),
            ") was specified twice" in text,
        )
    return table if table.num_rows == rows else Problem()


def column_of(table: pa.Table, path: Sequence[str]) -> pa.Array:
    """The values at a path, in one piece."""
    array = table.column(path[0])
    for key in path[1:]:
        array = pc.struct_field(array, key)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def unknown_columns(
    table: pa.Table, known: Set[Path], above: Set[Path]
) -> Iterator[tuple[Path, pa.ChunkedArray]]:
    """What was inferred beside the known fields, unless there is nothing in it but null.

    above: paths of the objects that known fields are in.
    """
    for name in table.schema.names:
        yield from _unknown((name,), table.column(name), known, above)


def _unknown(
    path: Path, array: pa.ChunkedArray, known: Set[Path], above: Set[Path]
) -> Iterator[tuple[Path, pa.ChunkedArray]]:
    kind = array.type
    if path in known or array.null_count == len(array):
        return
    if path in above and pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            key = kind.field(number).name
            yield from _unknown((*path, key), pc.struct_field(array, number), known, above)
    else:
        yield path, array


def holds_nothing(kind: pa.DataType) -> bool:
    """Whether an inferred type is of null, or of lists of it."""
    return bool(
        pa.types.is_null(kind) or (pa.types.is_list(kind) and pa.types.is_null(kind.value_type))
    )


def _as_it_is(array: pa.Array) -> pa.Array:
    return array


def _exact_floats(array: pa.Array) -> pa.Array:
    """Beyond 2**53 the text has to say whether it was an integer that lost digits."""
    ends = pc.min_max(array)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if low is not None and not (-EXACT_FLOAT < low <= high < EXACT_FLOAT):
        raise Refused
    return array


def _iso(array: pa.Array, kind: pa.TimestampType) -> pa.Array:
    # A cast takes texts that all have a zone, or texts that all have none, which are UTC.
    first = pc.first(array).as_py() or ""
    zoned, naive = kind, pa.timestamp(kind.unit)
    for of_type in (zoned, naive) if _HAS_ZONE.search(first) else (naive, zoned):
        try:
            return _in_range(array.cast(of_type).cast(kind), kind)
        except pa.ArrowInvalid:
            continue
    raise Refused


def _epoch(array: pa.Array, factor: int, least: int, kind: pa.TimestampType) -> pa.Array:
    """Numbers nearer to 1970 than `least` may be years."""
    size = pc.min(pc.abs(array)).as_py()
    try:
        if size is not None and size < least:
            raise Refused
        return _in_range(pc.multiply_checked(array, factor).cast(kind), kind)
    except pa.ArrowInvalid:
        raise Refused from None


def _in_range(array: pa.Array, kind: pa.TimestampType) -> pa.Array:
    if kind.unit == "us" and len(array) > array.null_count:
        ends = pc.min_max(array.cast(pa.int64()))
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if not (low >= FIRST_MICROSECOND and high <= LAST_MICROSECOND):
            raise Refused
    return array
