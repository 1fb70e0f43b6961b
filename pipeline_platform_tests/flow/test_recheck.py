"""Audited windows counted again: late, deleted, doubled, lost; growth is loaded, the rest shown."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline_platform.errors import PipelineError
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.flow.recheck import (
    Deviation,
    Recount,
    audited_windows,
    classified,
    recounts,
)
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform.movement import TargetCounts
from pipeline_platform_tests.flow.conftest import DAY, KEY, ROWS, World
from pipeline_platform_tests.pipelines import duckdb_config, duckdb_store, make_pipeline, run_window
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer
from pipeline_platform_tests.sources.elasticsearch.documents import ORDERS, Documents

LATE_ROW = "INSERT INTO orders VALUES (9999, '2024-03-10 12:00:00+00', 1.5, 'late', NULL)"
DOUBLE = "INSERT INTO analytics.orders SELECT * FROM analytics.orders WHERE id < 105"
FOREIGN = "INSERT INTO analytics.orders (id, placed_at) VALUES (7777, '2024-03-10 12:00:00+00')"

# What no database has a part in.
on_one_kind = pytest.mark.parametrize("world", ["postgres"], indirect=True)


def counted(world: World, pipeline: Pipeline | None = None) -> list[Recount]:
    return list(recounts(pipeline or world.pipeline(), world.store, 10))


def only(world: World, pipeline: Pipeline | None = None) -> Recount:
    [found] = counted(world, pipeline)
    return found


def test_classes() -> None:
    def kinds(source: int, ours: int, inside: int) -> list[tuple[str, int, int]]:
        found = classified(10, source, 9, TargetCounts(ours, inside))
        return [(one.kind, one.rows_then, one.rows_now) for one in found]

    assert kinds(10, 9, 9) == []
    assert kinds(11, 9, 9) == [("late", 10, 11)]
    assert kinds(0, 9, 9) == [("deleted", 10, 0)]
    assert kinds(10, 18, 18) == [("doubled", 9, 18)]
    assert kinds(10, 9, 10) == [("doubled", 9, 10)]
    assert kinds(10, 8, 8) == [("lost", 9, 8)]
    assert kinds(12, 8, 10) == [("late", 10, 12), ("doubled", 9, 10), ("lost", 9, 8)]
    assert Deviation("lost", 9, 7).difference == -2


def test_nothing_to_say_of_windows_as_committed(world: World) -> None:
    assert counted(world) == []
    run_window(world.pipeline(), world.store, KEY)
    run_window(world.pipeline(), world.store, "2024-03-11")
    found = counted(world)
    assert [one.window.key for one in found] == ["2024-03-11", KEY]
    assert [one.run for one in found] == [
        "orders_20240311T0000Z_run1",
        "orders_20240310T0000Z_run1",
    ]
    assert not any(one.deviations or one.reload for one in found)
    assert len(audited_windows(world.pipeline(), world.store, 1)) == 1


def test_late_rows_are_found_and_loaded_and_then_it_is_quiet(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    world.at_source(LATE_ROW)
    late = only(world)
    assert late.deviations == (Deviation("late", ROWS, ROWS + 1),)
    assert late.reload
    assert run_window(world.pipeline(), world.store, late.window.key).pipeline_status == "SUCCESS"
    assert len(world.rows()) == ROWS + 1
    after = only(world)
    assert (after.deviations, after.reload, after.audited.epoch) == ((), False, 2)


@on_one_kind
def test_rows_that_come_into_an_empty_window(world: World) -> None:
    run_window(world.pipeline(), world.store, "2024-03-01")
    world.at_source("INSERT INTO orders VALUES (9999, '2024-03-01 12:00:00+00', 1.5, 'x', NULL)")
    assert only(world).deviations == (Deviation("late", 0, 1),)
    run_window(world.pipeline(), world.store, "2024-03-01")
    assert only(world).deviations == ()


def test_rows_that_went_away_at_the_source_are_only_shown(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    world.at_source("DELETE FROM orders WHERE id BETWEEN 100 AND 102")
    world.at_target("DELETE FROM analytics.orders WHERE id = 150")
    found = only(world)
    assert found.deviations == (
        Deviation("deleted", ROWS, ROWS - 3),
        Deviation("lost", ROWS, ROWS - 1),
    )
    assert not found.reload
    assert "only shown" in found.why


@pytest.mark.parametrize(
    ("statement", "kind", "now"),
    [
        (DOUBLE, "doubled", ROWS + 5),
        ("DELETE FROM analytics.orders WHERE id < 107", "lost", ROWS - 7),
        ("DROP TABLE analytics.orders", "lost", 0),
    ],
)
def test_a_target_that_is_not_as_committed_is_loaded_again(
    world: World, statement: str, kind: Any, now: int
) -> None:
    run_window(world.pipeline(), world.store, KEY)
    world.at_target(statement)
    found = only(world)
    assert found.deviations == (Deviation(kind, ROWS, now),)
    assert found.reload
    careful = world.pipeline(recheck={"reload": "late"})
    assert (only(world, careful).reload, only(world, careful).why) == (
        False, "recheck.reload is late",
    )  # fmt: skip
    run_window(world.pipeline(), world.store, KEY)
    assert len(world.rows()) == ROWS
    assert only(world).deviations == ()


def test_a_lost_target_with_its_commit_rows(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    world.at_target("DROP TABLE analytics.orders")
    world.at_target("DROP TABLE analytics.orders_window_commits")
    found = only(world)
    assert found.deviations == (Deviation("lost", ROWS, 0),)
    run_window(world.pipeline(), world.store, KEY)
    assert (len(world.rows()), only(world).deviations) == (ROWS, ())


def test_rows_of_others_are_shown_and_not_loaded_over(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    world.at_target(FOREIGN)
    found = only(world)
    assert found.deviations == (Deviation("doubled", ROWS, ROWS + 1),)
    assert not found.reload
    assert "did not load" in found.why
    with pytest.raises(StepFailedError):  # as it says
        run_window(world.pipeline(), world.store, KEY)


@on_one_kind
def test_none_is_loaded_where_the_config_says_so(world: World) -> None:
    run_window(world.pipeline(), world.store, KEY)
    world.at_source(LATE_ROW)
    found = only(world, world.pipeline(recheck={"reload": "none"}))
    assert (found.deviations[0].kind, found.reload) == ("late", False)


def test_windows_that_cannot_be_compared_are_left_out(world: World) -> None:
    pipeline = world.pipeline()
    run_window(pipeline, world.store, KEY)
    world.at_source(LATE_ROW)
    for changes in (
        {"source_system": {"exclude_columns": ["note"]}},
        {"query_window": {"duration": "12h"}},
        {"target_system": {"table": "other"}},
    ):
        assert counted(world, world.pipeline(**changes)) == []
    world.at_target("UPDATE analytics.orders_window_commits SET audit_result = 'FAIL'")
    assert counted(world) == []
    world.at_target("UPDATE analytics.orders_window_commits SET audit_result = 'PASS'")
    assert len(counted(world)) == 1
    record = world.store.latest_record("orders")
    assert record is not None
    assert world.store.claim(record, "another-run") is not None
    assert counted(world) == []


@on_one_kind
def test_a_window_that_is_loaded_meanwhile_is_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = world.pipeline()
    run_window(pipeline, world.store, KEY)
    world.at_source(LATE_ROW)
    count = type(pipeline.target).count

    def reload_first(target: Any, window: Any) -> TargetCounts:
        monkeypatch.undo()
        run_window(world.pipeline(), world.store, KEY)
        return count(target, window)

    monkeypatch.setattr(type(pipeline.target), "count", reload_first)
    assert counted(world, pipeline) == []
    assert only(world).deviations == ()


@on_one_kind
def test_no_row_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = world.pipeline()
    run_window(pipeline, world.store, KEY)
    world.at_source(LATE_ROW)

    def refuse(*_: object) -> None:
        raise AssertionError("a row was read")

    monkeypatch.setattr(type(pipeline.source), "read", refuse)
    monkeypatch.setattr(type(pipeline.target), "load", refuse)
    assert only(world, pipeline).reload


@pytest.fixture
def documents(elasticsearch_server: ElasticsearchServer, tmp_path: Path) -> Documents:
    return Documents(elasticsearch_server, tmp_path)


def test_late_and_deleted_documents(documents: Documents, tmp_path: Path) -> None:
    documents.create("orders", ORDERS, shards=2)
    documents.insert("orders", [(n, DAY + timedelta(seconds=n)) for n in range(300)])
    config = duckdb_config()
    config["source_system"] = {
        "type": "elasticsearch", **documents.server.config(),
        "index": documents.index("orders"), "query_field": "at",
    }  # fmt: skip
    pipeline, store = make_pipeline(config, tmp_path), duckdb_store(tmp_path)
    run_window(pipeline, store, KEY)
    documents.insert("orders", [(n, DAY + timedelta(seconds=n)) for n in range(300, 312)])
    [late] = recounts(pipeline, store, 7)
    assert late.deviations == (Deviation("late", 300, 312),)
    run_window(pipeline, store, late.window.key)
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM analytics.orders").fetchone() == (312,)
    [quiet] = recounts(pipeline, store, 7)
    assert quiet.deviations == ()
    documents.delete("orders", range(5))
    [deleted] = recounts(pipeline, store, 7)
    assert (deleted.deviations, deleted.reload) == ((Deviation("deleted", 312, 307),), False)
    documents.server.client().indices.close(index=documents.index("orders"))
    with pytest.raises(PipelineError, match="index_closed"):
        list(recounts(pipeline, store, 7))
