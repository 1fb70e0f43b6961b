import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.errors import ConfigurationError, PermanentError
from pipeline_platform.movement import WindowSlice
from pipeline_platform.sources.base import Source
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer
from pipeline_platform_tests.sources.contract import START, TICK, WINDOW, SourceContract
from pipeline_platform_tests.sources.elasticsearch.documents import KINDS, ORDERS, Documents, ids_of

NEXT = WindowSlice("orders", WINDOW.end, WINDOW.end + timedelta(hours=1))


class TestElasticsearchSource(SourceContract):
    OBJECT_CHECK = "source indices"
    GREATEST_CHANGE = "2025-11-15T12:00:00.500Z"

    @pytest.fixture(autouse=True)
    def _documents(
        self, elasticsearch_server: ElasticsearchServer, tmp_path: Path
    ) -> Iterator[None]:
        self.documents = Documents(elasticsearch_server, tmp_path)
        yield
        elasticsearch_server.drop_indices()

    def create(self, table: str, columns: dict[str, str], rows: Sequence[Sequence[Any]]) -> None:
        self.documents.create(table, {name: KINDS[kind] for name, kind in columns.items()})
        self.insert(table, rows)

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        self.documents.insert(table, rows)

    def delete(self, table: str, ids: Sequence[int]) -> None:
        self.documents.delete(table, ids)

    def drop(self, table: str) -> None:
        self.documents.drop(table)

    def source(self, table: str = "orders", **settings: Any) -> Source:
        return self.documents.source(table, **settings)

    def in_order(self, *names: str) -> list[str]:
        return sorted(names)

    def test_text_without_zone_is_utc_to_the_server(self) -> None:
        self.create("orders", {"id": "INTEGER", "at": "TIMESTAMP"}, [
            (1, "2025-11-15 09:59:59.999999"), (2, "2025-11-15 10:00:00"),
        ])  # fmt: skip
        assert self.ids(self.source(query_field_timezone="America/New_York")) == [2]

    def test_check_lists_what_is_wrong(self) -> None:
        columns = {"id": "INTEGER", "at": "TIMESTAMPTZ", "t": "TEXT"}
        self.create("orders", columns, [])
        assert self.failed(self.source(change_field="id")) == []
        for settings, name in (
            ({"query_field": "none"}, "query_field"),
            ({"query_field": "id"}, "query_field"),
            ({"query_field": "t"}, "query_field"),
            ({"change_field": "none"}, "change_field"),
            ({"required_fields": ("none",)}, "required_fields"),
            ({"include_columns": ("at", "none")}, "include_columns"),
            ({"exclude_columns": ("none",)}, "exclude_columns"),
            ({"query": {"trem": {"t": "a"}}}, "source readable"),
        ):  # fmt: skip
            source = self.source(**settings)
            assert self.failed(source) == [name]
            with pytest.raises(ConfigurationError):
                source.count(WINDOW)

    def test_field_without_a_greatest_value_fails_the_check(self) -> None:
        self.documents.create("orders", {**ORDERS, "note": {"type": "text"}})
        assert self.failed(self.source(change_field="note")) == ["change_field comparable"]

    def test_documents_without_required_values_are_rejected_with_their_reason(self) -> None:
        self.create(
            "orders",
            {"id": "INTEGER", "at": "TIMESTAMPTZ", "Country": "TEXT"},
            [(1, START, "de"), (2, START, None)],
        )
        with self.source(required_fields=("Country",)).read(WINDOW) as snapshot:
            (batch,) = snapshot.batches
        assert snapshot.count == 2
        assert batch.rows.column("id").to_pylist() == [1]
        (rejected,) = batch.rejected
        assert rejected.reason == "country is NULL"
        assert json.loads(rejected.record)["_source"]["id"] == 2


@pytest.mark.parametrize(
    ("mapping", "texts"),
    [
        ({"type": "date"}, ["2025-11-15T10:59:59.999Z", "2025-11-15T11:00:00Z"]),
        ({"type": "date"}, ["2025-11-15T10:59:59.999", "2025-11-15T11:00:00.000"]),
        ({"type": "date"}, ["2025-11-15T12:59:59.999+02:00", "2025-11-15T13:00:00+02:00"]),
        ({"type": "date"}, [1763204399999, 1763204400000]),
        ({"type": "date", "format": "epoch_millis"}, ["1763204399999", 1763204400000]),
        ({"type": "date", "format": "epoch_second"}, [1763204399, 1763204400]),
        ({"type": "date", "format": "yyyy/MM/dd HH:mm:ss.SSS"},
         ["2025/11/15 10:59:59.999", "2025/11/15 11:00:00.000"]),
        ({"type": "date_nanos"}, ["2025-11-15T10:59:59.999999999Z", "2025-11-15T11:00:00Z"]),
        ({"type": "date_nanos"},
         ["2025-11-15T10:59:59.000999999Z", "2025-11-15T11:00:00.000000001Z"]),
        ({"type": "date_nanos"}, [1763204399999, 1763204400000]),
        ({"type": "long"}, [1763204399999, 1763204400000]),
    ],
)  # fmt: skip
def test_a_document_at_a_boundary_is_in_exactly_one_of_two_windows(
    documents: Documents, mapping: dict[str, Any], texts: list[Any]
) -> None:
    documents.create("orders", {**ORDERS, "at": mapping})
    documents.insert("orders", list(enumerate(texts)))
    settings: dict[str, Any] = {}
    if mapping["type"] == "long":
        settings["query_field_unit"] = "ms"
    if mapping["type"] == "date_nanos":
        settings["nanosecond_fields"] = ("at",)
    source = documents.source(**settings)
    assert (ids_of(source, WINDOW), ids_of(source, NEXT)) == ([0], [1])


@pytest.mark.fault_row(13)
def test_ten_thousand_documents_with_one_timestamp_are_in_one_window(documents: Documents) -> None:
    documents.create("orders", ORDERS, shards=3)
    documents.insert("orders", [(n, WINDOW.end) for n in range(10_001)])
    for slices in (1, 2, 5):
        source = documents.source(slices=slices, batch_rows=1_000)
        assert ids_of(source, NEXT) == list(range(10_001))
        assert ids_of(source, WINDOW) == []


@pytest.mark.fault_row(13)
def test_uneven_slices_are_read_to_their_ends(documents: Documents) -> None:
    index = documents.create("orders", ORDERS, shards=4)
    documents.server.client().bulk(
        operations=[
            line
            for n in range(3_000)
            for line in (
                {"index": {"_index": index, "routing": "one" if n % 100 else str(n)}},
                {"id": n, "at": START.isoformat()},
            )
        ],
        refresh=True,
    )
    for slices in (None, 1, 2, 4, 9):
        assert ids_of(documents.source(slices=slices, batch_rows=70)) == list(range(3_000))


@pytest.mark.fault_row(13)
def test_pages_follow_the_bytes_of_documents(documents: Documents) -> None:
    documents.create("orders", {**ORDERS, "note": {"type": "keyword", "index": False}})
    documents.insert("orders", [(n, START, "x" * 10_000) for n in range(300)])
    with documents.source(page_bytes=64 << 10).read(WINDOW) as snapshot:
        sizes = [batch.rows.num_rows for batch in snapshot.batches]
    assert sum(sizes) == 300
    assert max(sizes[1:]) <= 7


def test_pages_keep_within_the_indices_own_limit(documents: Documents) -> None:
    documents.create("orders", ORDERS, max_result_window=50)
    documents.insert("orders", [(n, START) for n in range(200)])
    with documents.source().read(WINDOW) as snapshot:
        assert max(batch.rows.num_rows for batch in snapshot.batches) == 50


def test_query_of_the_user_stands_beside_the_window(documents: Documents) -> None:
    documents.create("orders", {**ORDERS, "country": {"type": "keyword"}})
    documents.insert("orders", [
        (1, START, "de"), (2, START, "fr"), (3, START - TICK, "de"), (4, WINDOW.end, "de"),
    ])  # fmt: skip
    wanted = {"bool": {"should": [{"term": {"country": "de"}}, {"term": {"country": "it"}}]}}
    assert ids_of(documents.source(query=wanted)) == [1]
    with pytest.raises(ConfigurationError, match="unknown query"):
        documents.source(query={"trem": {}}).count(WINDOW)


def test_patterns_aliases_and_several_indices(documents: Documents) -> None:
    client = documents.server.client()
    name = documents.server.new_name()
    for number, country in enumerate(("de", "fr", "it")):
        documents.create(country, {**ORDERS, "country": {"type": "keyword"}})
        documents.insert(country, [(number, START, country)])
        client.indices.put_alias(index=documents.index(country), name=f"{name}-all")
    de, fr = documents.index("de"), documents.index("fr")
    client.indices.put_alias(
        index=[de, fr], name=f"{name}-filtered", filter={"term": {"country": "fr"}}
    )
    for index, found in (
        (f"{name}-all", [0, 1, 2]),
        (f"{name}-filtered", [1]),
        ([f"{name}-filtered", de], [0, 1]),
        (f"{name}-*", [0, 1, 2]),
        (f"{de},{fr}", [0, 1]),
        ([f"{de[:-2]}*", fr], [0, 1]),
    ):
        source = documents.source(index=index)
        assert all(check.passed for check in source.check())
        assert ids_of(source) == found


def test_what_is_missing_or_closed_is_an_error_and_never_fewer_documents(
    documents: Documents,
) -> None:
    here, gone = documents.create("here", ORDERS), documents.create("closed", ORDERS)
    documents.insert("here", [(1, START)])
    documents.server.client().indices.close(index=gone)
    nothing = documents.server.new_name()
    for index, reason in (
        ([here, gone], "closed"),
        (f"{gone[:-1]}*", "closed"),
        ([here, nothing], "does not exist"),
        (f"{nothing}*", "does not exist"),
        ([here, f"{nothing}*"], "does not exist"),
    ):
        source = documents.source(index=index)
        (check,) = [check for check in source.check() if not check.passed]
        assert reason in check.detail
        assert check.hint
        with pytest.raises(PermanentError, match=reason):
            source.count(WINDOW)
        with pytest.raises(PermanentError, match=reason), source.read(WINDOW):
            pass


def test_types_that_differ_between_indices_are_named(documents: Documents) -> None:
    names = []
    for table, kind in (("a", "date"), ("b", "keyword")):
        names.append(documents.create(table, {**ORDERS, "at": {"type": kind}}))
    source = documents.source(index=names)
    (check,) = [check for check in source.check() if not check.passed]
    assert all(name in check.detail for name in ("'at'", *names))


def test_query_field_must_be_mapped_in_every_index(documents: Documents) -> None:
    nested = {"order": {"properties": {"at": {"type": "date"}}}}
    here, too = documents.create("here", nested), documents.create("too", nested)
    without = documents.create("without", {"id": {"type": "integer"}})
    settings = {"query_field": "order.at", "objects": "flatten"}
    for objects in ("flatten", "json"):
        source = documents.source(index=[here, too], query_field="order.at", objects=objects)
        assert all(check.passed for check in source.check()), source.check()
    source = documents.source(index=[here, too, without], **settings)
    (check,) = [check for check in source.check() if not check.passed]
    assert without in check.detail
    assert here not in check.detail


def test_several_values_of_the_query_field_are_rejected(documents: Documents) -> None:
    documents.create("orders", ORDERS)
    documents.insert("orders", [(1, START), (2, [plain_start(), plain_start(60)])])
    with documents.source().read(WINDOW) as snapshot:
        batches = list(snapshot.batches)
    assert snapshot.count == 2
    assert [row for batch in batches for row in batch.rows.column("id").to_pylist()] == [1]
    (rejected,) = [record for batch in batches for record in batch.rejected]
    assert "at" in rejected.reason
    assert json.loads(rejected.record)["_source"]["id"] == 2


def plain_start(minutes: int = 0) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


@pytest.mark.parametrize("trim", [False, True])
def test_columns_are_chosen_on_the_wire_or_here(documents: Documents, trim: bool) -> None:
    documents.create("orders", {**ORDERS, "a*": {"type": "keyword"}, "ab": {"type": "keyword"}})
    documents.insert("orders", [(1, START, "x", "y")])
    for settings, found in (
        ({"include_columns": ("at", "ab")}, {"at", "ab"}),
        ({"exclude_columns": ("a*",)}, {"id", "at", "ab"}),
        ({"exclude_columns": ("id", "a*")}, {"at", "ab"}),
        ({"include_columns": ("at",), "id_column": "key"}, {"key", "at"}),
    ):
        source = documents.source(trim_responses=trim, safe_names=False, **settings)
        with source.read(WINDOW) as snapshot:
            (batch,) = snapshot.batches
        (row,) = batch.rows.to_pylist()
        assert set(row) == found
        assert None not in row.values()
        assert row.get("key", "1") == "1"


def test_greatest_value_is_exact(documents: Documents) -> None:
    documents.create("orders", {**ORDERS, "v": {"type": "long"}, "w": {"type": "date_nanos"}})
    documents.insert("orders", [
        (1, START, 2**63 - 1, "2025-11-15T10:00:00.123456789Z"),
        (2, START, 2**63 - 2, "2025-11-15T10:00:00.123456788Z"),
        (3, START, None, None),
    ])  # fmt: skip
    for field, value in (("v", "9223372036854775807"), ("w", "2025-11-15T10:00:00.123456789Z")):
        source = documents.source(change_field=field)
        assert source.change_value(WINDOW) == value
        with source.read(WINDOW) as snapshot:
            assert snapshot.change_value == value


def test_leaving_early_closes_the_point_in_time(documents: Documents) -> None:
    documents.create("orders", ORDERS, shards=2)
    documents.insert("orders", [(n, START) for n in range(2_000)])
    before = open_contexts(documents)
    with pytest.raises(KeyError):
        leave_early(documents)
    assert open_contexts(documents) == before


def leave_early(documents: Documents) -> None:
    with documents.source(batch_rows=10).read(WINDOW) as snapshot:
        next(snapshot.batches)
        assert open_contexts(documents) > 0
        raise KeyError


def open_contexts(documents: Documents) -> int:
    stats = documents.server.client().indices.stats(metric="search")
    return int(stats["_all"]["total"]["search"]["open_contexts"])
