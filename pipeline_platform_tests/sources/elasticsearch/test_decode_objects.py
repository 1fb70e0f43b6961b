"""Objects, dotted names, and fields that the mapping does not have."""

import json
from typing import Any

import pytest

from pipeline_platform_tests.sources.elasticsearch.generated_documents import (
    AT,
    decoder,
    hits,
    told,
)

OBJECT = {
    "o": {
        "properties": {
            "x": {"type": "long"},
            "y": {"type": "keyword"},
            "in": {"properties": {"z": {"type": "double"}}},
            "list": {"type": "nested", "properties": {"a": {"type": "long"}}},
        }
    }
}
SEVERAL = "holds several values; source_system.json_fields would keep them"
STRANGER = "a field that the mapping does not have"
WAYS = pytest.mark.parametrize("way", ["decode", "decode_closely"])


def rows(way: str, page: Any, *documents: str) -> list[dict[str, Any]]:
    """Rows without `at`, of members of documents; none is refused."""
    found, reasons = told(getattr(page, way)(hits(with_at(*documents))))
    assert reasons == []
    return [{k: v for k, v in row.items() if k != "at"} for row in found]


def reasons(way: str, page: Any, *documents: str) -> list[str]:
    """Why each was refused."""
    found, refused = told(getattr(page, way)(hits(with_at(*documents))))
    assert found == []
    return [reason for _, reason in refused]


def with_at(*members: str) -> list[str]:
    return [f'{{"at": "{AT}"{"," if text else ""}{text}}}' for text in members]


@WAYS
def test_an_object_is_its_text(way: str) -> None:
    page = decoder(OBJECT)
    texts = [
        '{"y":"a",  "x": 1.0}', "{}", '[{"x":1},{"x":2}]', '{"x":[1,"2",{"any":1e400}]}',
        '{"more":12345678901234567890123,"é":"\\u00e9"}',
    ]  # fmt: skip
    assert rows(way, page, *(f'"o": {text}' for text in texts)) == [{"o": text} for text in texts]
    assert rows(way, page, '"o": null', "") == [{"o": None}, {"o": None}]


@WAYS
def test_dotted_names_are_put_into_their_object(way: str) -> None:
    page = decoder(OBJECT)
    found = rows(way, page, '"o.x": 1.0, "o.in.z": [2]', '"o.x": null', '"o": {"in.z": 2}')
    assert found == [{"o": '{"x":1.0,"in.z":[2]}'}, {"o": None}, {"o": '{"in.z": 2}'}]
    twice = reasons(way, page, '"o": {"x": 1}, "o.y": "a"')
    assert twice == ["o: a field is there twice"]


@WAYS
def test_flattened_objects(way: str) -> None:
    page = decoder(OBJECT, objects="flatten")
    nothing = {"o_x": None, "o_y": None, "o_in_z": None, "o_list": None}
    x = nothing | {"o_x": 1}
    found = rows(
        way, page, '"o": {"x": 1}', '"o.x": 1', '"o": [{"x": 1}]', '"o": {"x": [1]}', '"o": null',
        "", '"o": {}', '"o": []', '"o": {"in": null}', '"o": {"x": 1, "in": {"z": null}}',
    )  # fmt: skip
    assert found == [x, x, x, x, *[nothing] * 5, x]
    found = rows(
        way, page, '"o": {"in.z": 1.5}', '"o.in": {"z": 1.5}', '"o.in.z": 1.5',
        '"o": {"in": {"z": 1.5}}',
    )  # fmt: skip
    assert found == [nothing | {"o_in_z": 1.5}] * 4
    lists = rows(way, page, '"o": {"list": [{"a": 1.0}, {"a" :2}]}', '"o.list": {"a":1}')
    assert [row["o_list"] for row in lists] == ['[{"a": 1.0}, {"a" :2}]', '{"a":1}']


@WAYS
def test_what_cannot_be_flattened_is_refused(way: str) -> None:
    page = decoder(OBJECT, objects="flatten")
    assert reasons(
        way, page, '"o": [{"x": 1}, {"x": 2}]', '"o": 5', '"o": [5]', '"o": {"in": [{}, {}]}',
        '"o": {"x": 1}, "o.x": 1', '"o": {"x": {"y": 1}}', '"o": {"x": 1, "new": 1}',
    ) == [
        f"o: {SEVERAL}", "o: a value where the mapping has an object",
        "o: a value where the mapping has an object", f"o.in: {SEVERAL}",
        "o.x: a field is there twice", "o.x: holds an object", STRANGER,
    ]  # fmt: skip


@WAYS
def test_a_named_field_inside_an_object(way: str) -> None:
    page = decoder(OBJECT, query_field="at", required_fields=["o.x"])
    assert rows(way, page, '"o": {"x": 1, "z": 2}', '"o.x": 1') == [
        {"o": '{"x": 1, "z": 2}', "o_x": 1},
        {"o": '{"x":1}', "o_x": 1},
    ]
    assert reasons(way, page, '"o": [{"x": 1}, {"x": 2}]', '"o": {}', '"o": {"x": "1.5"}') == [
        f"o: {SEVERAL}", "o_x is NULL", "o.x: not a whole number",
    ]  # fmt: skip


@WAYS
def test_literal_dots(way: str) -> None:
    page = decoder({"a.b": {"type": "long"}}, {"subobjects": False})
    assert rows(way, page, '"a.b": 1', '"a": {"b": 2}') == [{"a_b": 1}, {"a_b": 2}]


@WAYS
@pytest.mark.parametrize("objects", ["json", "flatten"])
@pytest.mark.fault_row(14)
def test_unknown_fields_are_refused_unless_empty(way: str, objects: str) -> None:
    page = decoder({"k": {"type": "keyword"}}, objects=objects)
    for _ in range(3):
        found = rows(way, page, '"k": "a", "x": null, "y": []', '"k": "b", "z": [null, []]')
        assert [row["k"] for row in found] == ["a", "b"]
        assert reasons(way, page, '"x": 1', '"y": {}', '"z": [0]', '"k.raw": "x"') == [STRANGER] * 4


@WAYS
@pytest.mark.parametrize("objects", ["json", "flatten"])
def test_unknown_fields_are_kept_where_the_mapping_lets_them_in(way: str, objects: str) -> None:
    page = decoder(OBJECT | {"k": {"type": "keyword"}}, {"dynamic": "false"}, objects=objects)
    for _ in range(3):
        found = rows(
            way, page, '"z": 1.50, "b": {"c": [1e2]}, "n": null', '"k": "x"',
            '"q\\"\\n": "\\ud83d"', '"k": "y", "z": []',
        )  # fmt: skip
        texts = [row["unmapped_fields"] for row in found]
        assert texts == ['{"b":{"c": [1e2]},"z":1.50}', None, '{"q\\"\\n":"\\ud83d"}', None]
    deep = rows(way, page, '"o": {"x": 1, "new": [7]}')[0]
    if objects == "flatten":
        assert json.loads(deep["unmapped_fields"]) == {"o.new": [7]}
    else:
        assert deep["unmapped_fields"] is None


@WAYS
@pytest.mark.parametrize("objects", ["json", "flatten"])
def test_unknown_fields_may_be_dropped(way: str, objects: str) -> None:
    page = decoder(OBJECT, {"dynamic": "false"}, objects=objects, unmapped_fields="drop")
    for _ in range(3):
        found = rows(way, page, '"z": 1, "o": {"x": 1}', '"o.x": 2, "z": [1, "a"]')
        values = [
            row["o_x"] if objects == "flatten" else json.loads(row["o"])["x"] for row in found
        ]
        assert values == [1, 2]


@WAYS
@pytest.mark.parametrize("objects", ["json", "flatten"])
def test_columns_that_are_left_out_do_not_matter(way: str, objects: str) -> None:
    kinds = OBJECT | {"k": {"type": "keyword"}, "n": {"type": "long"}}
    odd = ['"k": "a", "n": "?", "o": 5', '"k": "b", "n": [1, 2], "o": [{}, {}]', '"k": "c"']
    without = ["n", "o"] if objects == "json" else ["n", "o.x", "o.y", "o.in.z", "o.list"]
    expected = [{"k": "a"}, {"k": "b"}, {"k": "c"}]
    page = decoder(kinds, objects=objects, exclude_columns=without)
    assert rows(way, page, *odd) == expected
    page = decoder(kinds, objects=objects, include_columns=["at", "k"])
    assert rows(way, page, *odd, '"k": "d", "new": 1') == [*expected, {"k": "d"}]


@WAYS
def test_json_fields_take_everything(way: str) -> None:
    kinds = {"tags": {"type": "keyword"}, "d": {"type": "date", "format": "basic_week_date"}}
    page = decoder(kinds, json_fields=["tags", "d"])
    found = rows(way, page, '"tags": ["a", 1.0], "d": "2025W461"', '"tags": "x", "d": [null]', "")
    assert found == [
        {"tags": '["a", 1.0]', "d": '"2025W461"'},
        {"tags": '"x"', "d": "[null]"},
        {"tags": None, "d": None},
    ]


@WAYS
def test_hostile_names(way: str) -> None:
    names = ['"; DROP TABLE x; --', "a\\b", "tab\there", "größe", "日本", "A", "a", " ", "x" * 255]
    kinds = {name: {"type": "keyword"} for name in names} | {"o": {"type": "object"}}
    page = decoder(kinds, safe_names=False, exclude_columns=["A"])
    document = {name: f"value of {name}" for name in names} | {"o": {}, "at": AT}
    for ascii_only in (True, False):
        text = json.dumps(document, ensure_ascii=ascii_only)
        found, refused = told(getattr(page, way)(hits([text, text])))
        assert refused == []
        row = {name: value for name, value in found[1].items() if name != "at"}
        assert row == {name: document[name] for name in names if name != "A"} | {"o": "{}"}


def test_ever_new_names_are_not_all_remembered() -> None:
    page = decoder({"k": {"type": "keyword"}}, {"dynamic": False})
    for first in range(0, 1000, 100):
        names = [f"new {number}" for number in range(first, first + 100)]
        found = rows("decode", page, *(f'"{name}": {name[4:]}' for name in names))
        assert [row["unmapped_fields"] for row in found] == [
            f'{{"{name}":{name[4:]}}}' for name in names
        ]
    assert len(page._tolerant.unknown) <= 200
