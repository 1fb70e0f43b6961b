"""Arrow batches as PostgreSQL's binary COPY format.

Binary is exact for every type (NULL and empty text, NaN, decimals of any width), needs no quoting
and takes the server a fraction of the time that text takes. Rows are put together by Arrow: each
field is a binary array of length and value, and one join makes the stream of the batch.
"""

import uuid
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.errors import DataError
from pipeline_platform.targets.columns import TargetColumn

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

# PostgreSQL counts from 2000-01-01.
EPOCH_DAYS = 10_957
EPOCH_MICROSECONDS = EPOCH_DAYS * 86_400_000_000

# About what fits into a socket's buffer, so that the server works while the next one is made.
_SLICE_BYTES = 2 * 2**20
_NULL = pa.scalar(b"\xff\xff\xff\xff", pa.binary())
_EMPTY = pa.scalar(b"", pa.binary())
_NEGATIVE = 0x4000

Field = list[pa.Array]
Encoder = Callable[[pa.Array], Field]


def encode(
    batch: pa.RecordBatch, columns: list[TargetColumn], constants: list[bytes]
) -> Iterator[memoryview]:
    """The rows of one batch for COPY, in slices of bounded size.

    `columns` are the target's columns in the batch's order, `constants` the values of columns that
    follow them, the same in every row. DataError names the column whose values do not fit.
    """
    rows = batch.num_rows
    if batch.nbytes > _SLICE_BYTES and rows > 1:
        for part in (batch.slice(0, rows // 2), batch.slice(rows // 2)):
            yield from encode(part, columns, constants)
        return
    fields: list[pa.Array | pa.Scalar] = [
        pa.scalar((len(columns) + len(constants)).to_bytes(2, "big"), pa.binary())
    ]
    for array, column in zip(batch.columns, columns, strict=True):
        fields += _field(array, column)
    tail = b"".join(len(value).to_bytes(4, "big") + value for value in constants)
    stream = pc.binary_join_element_wise(*fields, pa.scalar(tail, pa.binary()), _EMPTY)
    _, offsets, data = stream.buffers()
    ends = np.frombuffer(offsets, np.int32)
    yield memoryview(data)[ends[stream.offset] : ends[stream.offset + len(stream)]]


def timestamp_bytes(microseconds_since_1970: int) -> bytes:
    """A timestamp with or without zone."""
    return (microseconds_since_1970 - EPOCH_MICROSECONDS).to_bytes(8, "big", signed=True)


def _field(array: pa.Array, column: TargetColumn) -> Field:
    try:
        return _ENCODERS[column.wire_type](_decoded(array))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError, ValueError) as error:
        raise DataError(
            f"A value of column {column.name!r} ({array.type}) does not fit the target's "
            f"{column.sql_type}.",
            hint="Widen the target's column, or correct the value at the source.",
        ) from error
    except _NulError as error:
        raise DataError(
            f"A text of column {column.name!r} holds a NUL character, which PostgreSQL cannot "
            "store.",
            hint="Remove it in a view of the source.",
        ) from error


class _NulError(Exception):
    """A text with a NUL character."""


def _decoded(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        return pc.run_end_decode(array)
    return array


def _fixed(values: npt.NDArray[np.generic], width: int, array: pa.Array) -> pa.Array:
    """Length and value of a field that takes `width` bytes in every row."""
    rows = len(array)
    field = np.empty((rows, 4 + width), np.uint8)
    field[:, :4] = np.frombuffer(width.to_bytes(4, "big"), np.uint8)
    field[:, 4:] = np.ascontiguousarray(values).view(np.uint8).reshape(rows, width)
    return _binary(field, array)


def _binary(field: npt.NDArray[np.uint8], array: pa.Array) -> pa.Array:
    rows, width = field.shape
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(field)]
    encoded = pa.Array.from_buffers(pa.binary(), rows, buffers)
    return pc.if_else(array.is_valid(), encoded, _NULL) if array.null_count else encoded


def _numbers(array: pa.Array, arrow: pa.DataType) -> npt.NDArray[np.generic]:
    values = pc.fill_null(array.cast(arrow), 0)
    return np.asarray(values.to_numpy(zero_copy_only=False))


def _number(arrow: pa.DataType, wire: str) -> Encoder:
    width = np.dtype(wire).itemsize
    return lambda array: [_fixed(_numbers(array, arrow).astype(wire), width, array)]


def _boolean(array: pa.Array) -> Field:
    return [_fixed(_numbers(array.cast(pa.uint8()), pa.uint8()), 1, array)]


def _date(array: pa.Array) -> Field:
    days = pc.subtract_checked(array.cast(pa.date32()).cast(pa.int32()), EPOCH_DAYS)
    return _number(pa.int32(), ">i4")(days)


def _timestamp(array: pa.Array) -> Field:
    micros = array.cast(pa.timestamp("us", array.type.tz)).cast(pa.int64())
    return _number(pa.int64(), ">i8")(pc.subtract_checked(micros, EPOCH_MICROSECONDS))


def _time(array: pa.Array) -> Field:
    return _number(pa.int64(), ">i8")(array.cast(pa.time64("us")).cast(pa.int64()))


def _text(array: pa.Array) -> Field:
    values = array.cast(pa.string())
    data = values.buffers()[2]
    if data is not None and not np.frombuffer(data, np.uint8).all():
        _refuse_nul(values)
    return _bytes(values)


def _refuse_nul(values: pa.Array) -> None:
    """The buffer may hold more than the array's own values, so these are looked at one by one."""
    if pc.any(pc.match_substring(values, "\0"), min_count=0).as_py():
        raise _NulError


def _bytes(array: pa.Array) -> Field:
    values = array.cast(pa.binary())
    lengths = _numbers(pc.binary_length(values), pa.int32()).astype(">i4")
    prefix = np.ascontiguousarray(lengths).view(np.uint8).reshape(-1, 4)
    return [_binary(prefix, array), pc.fill_null(values, b"")]


def _jsonb(array: pa.Array) -> Field:
    _text(array)
    versioned = pc.binary_join_element_wise(
        pa.scalar(b"\x01", pa.binary()), array.cast(pa.binary()), _EMPTY
    )
    return _bytes(versioned)


def _uuid(array: pa.Array) -> Field:
    values = [None if text is None else uuid.UUID(text).bytes for text in array.to_pylist()]
    return _bytes(pa.array(values, pa.binary()))


def _numeric(array: pa.Array) -> Field:
    """Base-10000 digits, aligned at the decimal point; the server strips zeros at both ends."""
    if pa.types.is_null(array.type):
        array = array.cast(pa.decimal128(1, 0))
    elif pa.types.is_integer(array.type):
        array = array.cast(pa.decimal128(20, 0))
    if array.type.scale < 0:
        array = array.cast(pa.decimal256(array.type.precision - array.type.scale, 0))
    precision, scale = array.type.precision, array.type.scale
    padding = -scale % 4
    after = (scale + padding) // 4
    before = max((precision - scale + 3) // 4, 1)
    if array.type.bit_width < 128:
        array = array.cast(pa.decimal128(precision, scale))
    limbs = array.type.bit_width // 32
    stored = np.frombuffer(array.buffers()[1], np.uint32).reshape(-1, limbs)
    words = stored[array.offset : array.offset + len(array)]
    negative = (words[:, -1] >> np.uint32(31)).astype(bool)
    field = np.empty((len(array), 4 + before + after), ">u2")
    field[:, 0] = before + after
    field[:, 1] = np.uint16((before - 1) & 0xFFFF)
    field[:, 2] = np.where(negative, _NEGATIVE, 0)
    field[:, 3] = scale
    field[:, 4:] = _digits(words, negative, 10**padding, before + after, precision + padding)
    return [_fixed(field, 2 * field.shape[1], array)]


def _digits(
    words: npt.NDArray[np.uint32],
    negative: npt.NDArray[np.bool_],
    factor: int,
    count: int,
    precision: int,
) -> npt.NDArray[np.uint16]:
    """`count` base-10000 digits of |value| * factor, most significant first."""
    digits = np.empty((len(words), count), np.uint16)
    if precision <= 18:
        low = np.ascontiguousarray(words[:, :2]).view(np.int64)[:, 0]
        rest = np.abs(low).astype(np.uint64) * np.uint64(factor)
        for position in range(count - 1, -1, -1):
            higher = rest // np.uint64(10_000)
            digits[:, position] = rest - higher * np.uint64(10_000)
            rest = higher
        return digits
    limbs = _magnitude(words, negative, factor)
    for position in range(count - 1, -1, -1):
        remainder = np.zeros(len(words), np.uint64)
        for index in range(len(limbs) - 1, -1, -1):
            current = (remainder << np.uint64(32)) | limbs[index]
            limbs[index] = current // np.uint64(10_000)
            remainder = current - limbs[index] * np.uint64(10_000)
        digits[:, position] = remainder
    return digits


def _magnitude(
    words: npt.NDArray[np.uint32], negative: npt.NDArray[np.bool_], factor: int
) -> list[npt.NDArray[np.uint64]]:
    """|value| * factor as 32-bit limbs, least significant first."""
    mask = np.uint64(0xFFFFFFFF)
    flip = np.where(negative, mask, np.uint64(0))
    carry = negative.astype(np.uint64)
    over = np.zeros(len(words), np.uint64)
    limbs = []
    for index in range(words.shape[1]):
        plain = (words[:, index].astype(np.uint64) ^ flip) + carry
        carry = plain >> np.uint64(32)
        product = (plain & mask) * np.uint64(factor) + over
        limbs.append(product & mask)
        over = product >> np.uint64(32)
    return [*limbs, over]


_ENCODERS: dict[str, Encoder] = {
    "bool": _boolean,
    "int2": _number(pa.int16(), ">i2"),
    "int4": _number(pa.int32(), ">i4"),
    "int8": _number(pa.int64(), ">i8"),
    "float4": _number(pa.float32(), ">f4"),
    "float8": _number(pa.float64(), ">f8"),
    "numeric": _numeric,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamp,
    "text": _text,
    "varchar": _text,
    "bpchar": _text,
    "citext": _text,
    "json": _text,
    "enum": _text,
    "jsonb": _jsonb,
    "uuid": _uuid,
    "bytea": _bytes,
}
