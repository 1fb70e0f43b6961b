"""What is sent to Snowflake, in which order: its locks cannot be seen on the test server."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.config.snowflake import SnowflakeState
from pipeline_platform.connections import snowflake as snowflake_connection
from pipeline_platform.connections.snowflake_session import SnowflakeSession
from pipeline_platform.drive_table import build_store
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ClaimLostError, PermanentError, TransientError
from pipeline_platform_tests.drive_table.examples import (
    SHORT,
    a_record,
    a_row,
    claimed,
    key_of,
)
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase

TAKE_THE_LOCK = "UPDATE PIPELINE_WRITE_LOCK"


class Sent:
    """The statements that reach the driver, short; `fail_at` lets one of them fail."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.fail_at: int | None = None

    def add(self, text: str) -> None:
        self.texts.append(text)
        if self.fail_at is not None and len(self.texts) > self.fail_at:
            raise RuntimeError("killed here")

    def short(self) -> list[str]:
        """First word and table of each."""
        return [short(text) for text in self.texts]


def short(text: str) -> str:
    words = text.replace('"', "").split()
    if words[0] not in ("UPDATE", "INSERT", "SELECT"):
        return " ".join(words[:1])
    table = next((word for word in words if word.count(".") == 2), "")
    return f"{words[0]} {table.rpartition('.')[2]}".strip()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    sent = Sent()
    execute = SnowflakeSession._executed

    @contextmanager
    def recorded(session: SnowflakeSession, text: str, values: Any) -> Iterator[Any]:
        sent.add(text)
        with execute(session, text, values) as cursor:
            yield cursor

    monkeypatch.setattr(SnowflakeSession, "_executed", recorded)
    return sent


@pytest.fixture
def state(snowflake_database: SnowflakeDatabase) -> SnowflakeState:
    config = {**snowflake_database.as_config(), "type": "snowflake", "lock_timeout_seconds": 30}
    return SnowflakeState.model_validate(config)


@pytest.fixture
def unmigrated(state: SnowflakeState, tmp_path: Path) -> DriveStore:
    return build_store(state, base_dir=tmp_path)


@pytest.fixture
def store(unmigrated: DriveStore, sent: Sent) -> DriveStore:
    unmigrated.migrate()
    sent.texts.clear()
    return unmigrated


def of_call(sent: Sent, call: Callable[[], Any]) -> list[str]:
    sent.texts.clear()
    call()
    return sent.short()


def test_writing_begins_with_the_write_lock(store: DriveStore, sent: Sent) -> None:
    seen = "SELECT PIPELINE_RECORDS"
    record = "UPDATE PIPELINE_RECORDS"
    insert = "INSERT PIPELINE_RECORDS"
    begin, end = ["BEGIN", TAKE_THE_LOCK], ["COMMIT"]
    many = [a_record(hour) for hour in range(1, 150)]
    assert of_call(sent, lambda: store.register(many)) == [*begin, insert, *end]
    new = of_call(sent, lambda: store.claim(a_record(), "run-1", lease_seconds=SHORT))
    assert new == [*begin, seen, insert, seen, record, seen, *end]
    time.sleep(0.01)
    known = of_call(sent, lambda: store.claim(a_record(), "run-1"))
    assert known == [*begin, seen, record, seen, *end]
    claim = store.look_up(key_of()).claim_of("run-1")
    assert claim is not None
    assert of_call(sent, lambda: store.heartbeat(claim)) == [*begin, record, seen, *end]
    row = a_row(a_record(), claim.epoch)
    append = ["SELECT PIPELINE_EXECUTION_LOG", "INSERT PIPELINE_EXECUTION_LOG"]
    saved = of_call(sent, lambda: store.save(claim, a_record(), row, release=True))
    assert saved == [*begin, record, *append, *end]
    assert of_call(sent, lambda: store.rebuild(a_record())) == [*begin, record, *end]
    closed = of_call(sent, lambda: store.close_run(replace(row, pipeline_status="FAILED")))
    assert closed == [*begin, record, "SELECT PIPELINE_EXECUTION_LOG", *append, *end]


def test_reading_takes_no_lock(store: DriveStore, sent: Sent) -> None:
    store.register([a_record()])
    for call, statements in (
        (lambda: store.now(), 1),
        (lambda: store.record(key_of()), 1),
        (lambda: store.pending("orders", 10), 1),
        (lambda: store.look_up(key_of()), 3),
        (lambda: store.dead_runs(), 1),
        (lambda: store.latest_runs("orders", 10), 1),
        (lambda: store.query("window_summary", pipeline_name="orders"), 1),
    ):
        words = {text.split()[0] for text in of_call(sent, call)}
        assert words == {"SELECT"}
        assert len(sent.texts) == statements


def test_the_log_is_only_ever_added_to(store: DriveStore, sent: Sent) -> None:
    claim = claimed(store, a_record())
    for _ in range(3):
        store.save(claim, a_record(), a_row(a_record(), claim.epoch))
    changing = [text for text in sent.short() if text.endswith("PIPELINE_EXECUTION_LOG")]
    assert set(changing) == {"SELECT PIPELINE_EXECUTION_LOG", "INSERT PIPELINE_EXECUTION_LOG"}


def test_values_are_bound_except_for_a_limit(store: DriveStore, sent: Sent) -> None:
    store.pending("it's", 7)
    [text] = sent.texts
    assert "it's" not in text
    assert text.endswith("LIMIT 7")


def test_a_refusal_gives_the_lock_back_at_once(store: DriveStore, sent: Sent) -> None:
    claim = claimed(store, a_record())
    with pytest.raises(ClaimLostError):
        store.heartbeat(replace(claim, epoch=7))
    assert sent.short()[-1] == "ROLLBACK"
    assert store.heartbeat(claim).epoch == 1


def test_one_login_serves_a_process(store: DriveStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snowflake_connection, "_logged_in", lambda *_: pytest.fail("a login"))
    claim = claimed(store, a_record())
    store.save(claim, a_record(), a_row(a_record(), claim.epoch), release=True)
    assert store.look_up(key_of()).runs[0].pipeline_status == "RUNNING"


def test_a_writer_begins_again_until_the_lock_is_free(
    store: DriveStore, snowflake_database: SnowflakeDatabase
) -> None:
    with snowflake_database.connect("PIPELINE_PLATFORM") as other:
        other.cursor().execute("BEGIN")
        other.cursor().execute("UPDATE pipeline_write_lock SET taken_at = CURRENT_TIMESTAMP()")
        freed = threading.Timer(0.5, lambda: other.cursor().execute("COMMIT"))
        freed.start()
        claimed(store, a_record())
        freed.join()


@pytest.mark.fault_row(22)
def test_a_lock_that_does_not_come_free(
    store: DriveStore, state: SnowflakeState, snowflake_database: SnowflakeDatabase, tmp_path: Path
) -> None:
    hurried = build_store(state.model_copy(update={"lock_timeout_seconds": 1}), base_dir=tmp_path)
    with snowflake_database.connect("PIPELINE_PLATFORM") as other:
        other.cursor().execute("BEGIN")
        other.cursor().execute("UPDATE pipeline_write_lock SET taken_at = CURRENT_TIMESTAMP()")
        with pytest.raises(TransientError, match="holds the table's lock"):
            hurried.claim(a_record(), "run-1")
        assert hurried.record(key_of()) is None
        other.cursor().execute("ROLLBACK")
    assert hurried.claim(a_record(), "run-1") is not None


def test_an_error_that_is_no_lock_is_not_repeated(unmigrated: DriveStore, sent: Sent) -> None:
    with pytest.raises(PermanentError, match="does not exist"):
        unmigrated.claim(a_record(), "run-1")
    assert sent.short() == ["BEGIN", TAKE_THE_LOCK]


def test_a_migration_that_died_anywhere_is_finished_by_the_next(
    snowflake_database: SnowflakeDatabase, state: SnowflakeState, sent: Sent, tmp_path: Path
) -> None:
    def migrate(number: int) -> DriveStore:
        schema = state.model_copy(update={"db_schema": f"state_{number}"})
        store = build_store(schema, base_dir=tmp_path)
        store.migrate()
        return store

    migrate(0)
    whole = len(sent.texts)
    assert whole > 8
    for number in range(1, whole):
        sent.texts.clear()
        sent.fail_at = number
        with pytest.raises(RuntimeError, match="killed here"):
            migrate(number)
        sent.fail_at = None
        print("N", number)
        assert migrate(number).register([a_record()]) == 1
    with snowflake_database.connect() as connection, connection.cursor() as cursor:
        for number in range(whole):
            cursor.execute(f"SELECT version FROM STATE_{number}.SCHEMA_MIGRATIONS")
            assert cursor.fetchall() == [(1,)]
            cursor.execute(f"SELECT count(*) FROM STATE_{number}.PIPELINE_WRITE_LOCK")
            assert cursor.fetchall() == [(1,)]


def test_a_migrated_schema_is_looked_at_once(store: DriveStore, sent: Sent) -> None:
    assert of_call(sent, store.migrate) == ["SELECT SCHEMA_MIGRATIONS"]
