from typing import Any

import pyarrow as pa
import pytest

from pipeline_platform.errors import ConfigurationError
from pipeline_platform.sources.columns import column_checks
from pipeline_platform_tests.sources.elasticsearch.generated_documents import columns, config

DATE = {"type": "date"}
MICROSECONDS, NANOSECONDS = pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")


def types(*properties: dict[str, Any], **settings: Any) -> dict[str, str]:
    """Staged types by name, of indices a, b, ..."""
    mappings = {name: {"properties": p} for name, p in zip("abcdefgh", properties, strict=False)}
    return {name: str(c.type) for name, c in columns(mappings, **settings).items()}


@pytest.mark.parametrize(
    ("mapped", "staged"),
    [
        *((kind, "string") for kind in (
            "keyword", "text", "wildcard", "constant_keyword", "ip", "version", "match_only_text",
            "search_as_you_type", "binary", "geo_point", "geo_shape", "nested", "flattened",
            "long_range", "join", "dense_vector", "completion", "a_type_of_tomorrow",
        )),
        *((kind, "int64") for kind in ("long", "integer", "short", "byte")),
        *((kind, "double") for kind in ("double", "float", "half_float", "scaled_float")),
        ("unsigned_long", "decimal128(20, 0)"),
        ("boolean", "bool"),
        ("date", "timestamp[us, tz=UTC]"),
        ("date_nanos", "timestamp[ns, tz=UTC]"),
    ],
)  # fmt: skip
def test_types(mapped: str, staged: str) -> None:
    assert types({"v": {"type": mapped}}) == {"v": staged}


def test_only_what_source_has_is_a_column() -> None:
    found = types(
        {
            "k": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
            "other": {"type": "alias", "path": "k"},
            "\ud800": {"type": "keyword"},
        }
    )
    assert found == {"k": "string"}


def test_objects_are_one_column_or_one_per_field() -> None:
    properties = {
        "a": {"properties": {"b": {"type": "long"}, "c": {"properties": {"d": DATE}}}},
        "n": {"type": "nested", "properties": {"x": {"type": "long"}}},
        "off": {"type": "object", "enabled": False},
        "empty": {"type": "object"},
        "lit.eral": {"type": "long"},
    }
    rest = {"n": "string", "off": "string", "empty": "string", "lit.eral": "int64"}
    assert types(properties) == {"a": "string", **rest}
    flat = {"a.b": "int64", "a.c.d": "timestamp[us, tz=UTC]", **rest}
    assert types(properties, objects="flatten") == flat
    some = types(properties, objects="flatten", json_fields=["a.c"])
    assert some == {"a.b": "int64", "a.c": "string", **rest}


def test_a_field_inside_an_object_that_the_config_names_is_a_column_too() -> None:
    properties = {"a": {"properties": {"at": DATE, "b": {"type": "long"}, "c": {"type": "long"}}}}
    found = types(properties, query_field="a.at", required_fields=["a.b"])
    assert found == {"a": "string", "a.at": "timestamp[us, tz=UTC]", "a.b": "int64"}


def test_one_schema_over_all_indices() -> None:
    one = {"k": {"type": "keyword"}, "n": {"type": "integer"}, "f": {"type": "float"},
           "u": {"type": "long"}, "d": DATE, "only": {"type": "long"}}  # fmt: skip
    two = {"k": {"type": "text"}, "n": {"type": "long"}, "f": {"type": "short"},
           "u": {"type": "unsigned_long"}, "d": {"type": "date_nanos"}}  # fmt: skip
    for order in ([one, two], [two, one], [one, two, one]):
        assert types(*order) == {
            "k": "string", "n": "int64", "f": "double", "u": "decimal128(20, 0)",
            "d": "timestamp[ns, tz=UTC]", "only": "int64",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        ({"type": "long"}, {"type": "keyword"}, "long in a; keyword in b, c"),
        ({"type": "long"}, {"type": "double"}, "long in a; double in b, c"),
        ({"type": "keyword"}, {"properties": {"x": {"type": "long"}}}, "keyword in a; object in b"),
        (
            {"type": "date", "format": "epoch_second"},
            {"type": "date", "format": "epoch_millis"},
            "date with format epoch_second in a; date with format epoch_millis in b, c",
        ),
        (
            DATE,
            {"type": "date", "format": "yyyy-MM-dd||epoch_millis"},
            "date with format strict_date_optional_time",
        ),
    ],
)
def test_a_conflict_names_the_field_and_the_indices(
    one: dict[str, Any], two: dict[str, Any], told: str
) -> None:
    mappings = [{"v": one, "at": DATE}, {"v": two}, {"v": two}]
    with pytest.raises(ConfigurationError, match="'v'") as error:
        types(*mappings)
    assert told in error.value.message
    assert "json_fields" in error.value.hint
    assert types(*mappings, json_fields=["v"])["v"] == "string"
    assert "v" in types(*mappings, exclude_columns=["v"])
    assert "v" in types(*mappings, include_columns=["at"])


def test_many_indices_are_not_all_listed() -> None:
    with pytest.raises(ConfigurationError, match="b, c, d and 2 more"):
        types({"v": {"type": "long"}}, *[{"v": {"type": "keyword"}}] * 5)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("yyyy-MM-dd HH:mm:ss", "strict_date"),
        ("strict_date_optional_time", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX||yyyy-MM-dd"),
        ("strict_date_time||epoch_second", "epoch_second||strict_date_time"),
        ("dd/MM/yyyy", "dd/MM/yyyy"),
    ],
)
def test_date_formats_with_one_reading_go_together(one: str, two: str) -> None:
    formats = [{"v": {"type": "date", "format": text}} for text in (one, two)]
    assert types(*formats) == {"v": "timestamp[us, tz=UTC]"}


@pytest.mark.parametrize(
    "text", ["basic_week_date", "YYYY-MM-dd", "yyyy-MM-dd z", "no_such_format", "MMM", "G yyyy"]
)
def test_a_date_format_that_cannot_be_read_exactly(text: str) -> None:
    properties = {"at": DATE, "v": {"type": "date", "format": text, "locale": "fr"}}
    with pytest.raises(ConfigurationError, match="'v' has the format") as error:
        types(properties)
    assert repr(text) in error.value.message
    assert types(properties, json_fields=["v"])["v"] == "string"
    assert "v" in types(properties, exclude_columns=["v"])


def test_nanosecond_fields() -> None:
    found = columns({"a": {"properties": {"d": DATE, "e": DATE}}}, nanosecond_fields=["d"])
    assert (found["d"].type, found["e"].type) == (NANOSECONDS, MICROSECONDS)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"nanosecond_fields": ["k"]}, "nanosecond_fields: 'k' is not a date"),
        ({"nanosecond_fields": ["x"]}, "nanosecond_fields: 'x' does not exist"),
        ({"json_fields": ["x"]}, "json_fields: 'x' does not exist"),
        ({"id_column": "k"}, "a field 'k', which source_system.id_column adds"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        types({"k": {"type": "keyword"}}, **settings)


def test_own_columns() -> None:
    closed = {"properties": {"k": {"type": "keyword"}}}
    opened = {"dynamic": "false", **closed}
    inside = {"properties": {"o": {"dynamic": False, "properties": {"k": {"type": "keyword"}}}}}
    assert list(columns({"a": closed}, id_column="_id")) == ["_id", "k"]
    assert list(columns({"a": opened, "b": closed})) == ["k", "unmapped_fields"]
    assert list(columns({"a": {**closed, "dynamic": "runtime"}})) == ["k", "unmapped_fields"]
    assert list(columns({"a": {**closed, "dynamic": "strict"}})) == ["k"]
    assert list(columns({"a": opened}, unmapped_fields="reject")) == ["k"]
    assert list(columns({"a": inside})) == ["o"]
    assert list(columns({"a": inside}, objects="flatten")) == ["o.k", "unmapped_fields"]
    taken = {"properties": {"unmapped_fields": {"type": "long"}}}
    with pytest.raises(ConfigurationError, match="'unmapped_fields'"):
        columns({"a": opened, "b": taken})


@pytest.mark.parametrize("source", [{"enabled": False}, {"enabled": "false"}, {"mode": "disabled"}])
def test_an_index_without_source(source: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="'a' does not keep _source"):
        columns({"a": {"_source": source, "properties": {"at": DATE}}})


def test_no_index_and_no_field() -> None:
    assert columns({}) == {}
    assert columns({"a": {}}) == {}
    checks = column_checks({}, config())
    assert not checks[0].passed
