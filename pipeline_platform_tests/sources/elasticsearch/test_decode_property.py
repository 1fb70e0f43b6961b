"""Whichever way a page is read, the rows, their order and the reasons are the same."""

import json
import math
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_platform.movement import SourceBatch
from pipeline_platform_tests.sources.elasticsearch.generated_documents import AT, decoder, hits

PROPERTIES = {
    "k": {"type": "keyword"},
    "n": {"type": "long"},
    "u": {"type": "unsigned_long"},
    "f": {"type": "double"},
    "b": {"type": "boolean"},
    "d": {"type": "date"},
    "s": {"type": "date", "format": "epoch_second"},
    "p": {"type": "date", "format": "dd/MM/yyyy HH:mm:ss||epoch_millis"},
    "e": {"type": "date_nanos"},
    "t/u": {"type": "text"},
    'q"uote': {"type": "keyword"},
    "g": {"type": "geo_point"},
    "o": {
        "properties": {
            "x": {"type": "long"},
            "y": {"type": "keyword"},
            "at": {"type": "date"},
            "in": {"properties": {"z": {"type": "double"}, "w": {"type": "boolean"}}},
            "list": {"type": "nested", "properties": {"a": {"type": "long"}}},
        }
    },
    "h": {"type": "object", "enabled": False},
}
PLAIN: dict[str, list[str]] = {
    "k": ['"a"', '"größe 日"', '"a\\u0000b"', '""'],
    "n": ["1", "-5", "9223372036854775807", "0"],
    "u": ["1", "18446744073709551615"],
    "f": ["1.5", "-0.0", "3", "1e-7", "9007199254740991"],
    "b": ["true", "false"],
    "d": [f'"{AT}"', '"2025-01-02T03:04:05.678901Z"', '"1969-12-31T23:59:59.999Z"'],
    "s": ["1763200800", "-1"],
    "p": ['"15/11/2025 10:00:00"'],
    "e": ['"2025-11-15T10:00:00.123456789Z"', f'"{AT}"'],
    "t/u": ['"x"', '"null"'],
    'q"uote': ['"x"'],
    "g": ["[1.0, 2.50]", '{"lat": 1, "lon": 2}', '"1,2"'],
    "h": ['{"a": [1, "x", {"b": null}]}', '"text"', "1.0", "[]", "{}"],
}
PLAIN["o"] = [
    '{"x": 1, "y": "a", "in": {"z": 1.5, "w": true}, "at": "2025-11-15T10:00:00Z"}',
    '{"x": 2}', '{"in": {}}', '{"in": null, "list": [{"a": 1}, {"a": 2}]}', "{}",
]  # fmt: skip
ODD = [
    "null", "[]", "[null]", "{}", "[[]]", "true", '"true"', '""', "1", "-0", "1.0", "1.5", "1e3",
    "1e400", "-1e-400", "9007199254740993", "9223372036854775808", "1" * 40, "0.123456789012345678",
    '"12"', '"1.5"', '"-7"', '"NaN"', '"\\ud800"', '"\\ud83d\\ude00"', '"2025"', "2025",
    '"2025-11"', '"2025-11-15 10:00:00"', '"2025-11-15T10:00:00+02:00"', '"0000-01-01T00:00:00Z"',
    "1763200800000",
    '"1763200800000"', '"2025-11-15T10:00:00.1234567Z"', '"9999-12-31T23:59:59-01:00"',
    '["a"]', "[1]", "[1, 2]", '["a", "b"]', '[1, "a"]', '[{"x": 1}]', '[{"x": 1}, {"x": 2}]',
    '{"x": "5", "y": 6, "in": [{"z": 1}]}', '{"x": {"deep": 1}}', '{"zz": 1}', '{"zz": null}',
    '{"in.z": 2}', '{"in": {"z": 9007199254740993}}', '{"in": {"z": 1, "q": "new"}}', '{"in": 5}',
    '{"x": [1, 2]}', '{"y": "\\ud800"}', '{"at": 1763200800000}', '{"list": {"a": 1}}',
]  # fmt: skip
STRANGERS = ["zz", "o.x", "o.in.z", "o.in", "o.zz", "o.list", "h.a", "zz.y", "n.x", 'q"uote.x', "X"]


@st.composite
def sources(draw: st.DrawFn) -> str:
    """One document as JSON text."""
    names = draw(st.lists(st.sampled_from(list(PLAIN)), max_size=6, unique=True))
    members = {"at": f'"{AT}"'}
    members |= {name: draw(st.sampled_from(PLAIN[name])) for name in names}
    if draw(st.integers(0, 3)) == 0:
        odd = st.sampled_from(ODD)
        members[draw(st.sampled_from([*PLAIN, "at"]))] = draw(odd)
        if draw(st.booleans()):
            members[draw(st.sampled_from(STRANGERS))] = draw(odd)
    space = draw(st.sampled_from(["", " ", "\n "]))
    listed = f",{space}".join(f"{json.dumps(k)}:{space}{v}" for k, v in members.items())
    return f"{{{space}{listed}{space}}}"


configs = st.fixed_dictionaries(
    {},
    optional={
        "objects": st.sampled_from(["json", "flatten"]),
        "unmapped_fields": st.sampled_from(["column", "reject", "drop"]),
        "json_fields": st.sampled_from([["n"], ["o"], ["d", "f"]]),
        "nanosecond_fields": st.just(["at"]),
        "required_fields": st.just(["n"]),
        "id_column": st.just("_id"),
        "exclude_columns": st.sampled_from([["h"], ["u", "e"]]),
        "include_columns": st.just(["at", "n", "k", "f"]),
    },
).filter(lambda config: not {"include_columns", "exclude_columns"} <= set(config))


def comparable(batch: SourceBatch) -> tuple[Any, ...]:
    columns = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        for column in batch.rows.columns
    ]
    values = [_exact(column.to_pylist()) for column in columns]
    return (batch.rows.schema, values, batch.rejected)


def _exact(values: list[Any]) -> list[Any]:
    return [
        (math.copysign(1, value), value) if isinstance(value, float) else value for value in values
    ]


@settings(max_examples=300)
@given(
    config=configs,
    dynamic=st.sampled_from(["true", "false"]),
    pages=st.lists(st.lists(sources(), min_size=1, max_size=12), min_size=1, max_size=3),
)
def test_both_readings_agree(config: Any, dynamic: str, pages: list[list[str]]) -> None:
    quick = decoder(PROPERTIES, {"dynamic": dynamic}, **config)
    close = decoder(PROPERTIES, {"dynamic": dynamic}, **config)
    for page in pages:
        found = quick.decode(hits(page))
        assert found.rows.num_rows + len(found.rejected) == len(page)
        assert comparable(found) == comparable(close.decode_closely(hits(page)))
