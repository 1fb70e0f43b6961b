"""Settings of a session, and what PostgreSQL's errors become; never with the password."""

import socket
import sys
import time
from pathlib import Path
from typing import Any

import adbc_driver_postgresql.dbapi
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pipeline_platform.config.connections import PostgresConnection
from pipeline_platform.connections.postgres import (
    connect_postgres,
    postgres_conninfo,
    postgres_error,
)
from pipeline_platform.errors import (
    ConfigurationError,
    DataError,
    PermanentError,
    PipelineError,
    TransientError,
)
from pipeline_platform_tests.servers.postgres import Database

HERE = Path("/")
SECRET = "it's a \\ canary"


def config(server: Database, /, **changes: Any) -> PostgresConnection:
    return PostgresConnection.model_validate({**server.as_config(), **changes})


def run(connection: PostgresConnection, sql: str) -> list[tuple[Any, ...]]:
    with connect_postgres(connection, HERE, application_name="tests") as session:
        return session.execute(sql.encode()).fetchall()


def test_the_session_has_limits_and_is_in_utc(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", SECRET)
    connection = config(
        postgres, statement_timeout_seconds=7, lock_timeout_seconds=0.25, password="env:CANARY"
    )
    names = ("TimeZone", "statement_timeout", "lock_timeout", "application_name")
    columns = ", ".join(f"current_setting('{name}')" for name in names)
    assert run(connection, f"SELECT {columns}") == [("UTC", "7s", "250ms", "tests")]
    conninfo = postgres_conninfo(connection, HERE, application_name="tests")
    assert conninfo_to_dict(conninfo)["password"] == SECRET
    with (
        adbc_driver_postgresql.dbapi.connect(conninfo) as session,
        session.cursor() as cursor,
    ):
        cursor.execute(f"SELECT {columns}")
        assert cursor.fetchall() == [("UTC", "7s", "250ms", "tests")]


def insert_and_fail(session: "psycopg.Connection[tuple[Any, ...]]") -> None:
    session.execute("INSERT INTO t VALUES (1)")
    raise ValueError("mine")


def test_leaving_commits_and_an_error_rolls_back(postgres: Database) -> None:
    connection = config(postgres)
    with connect_postgres(connection, HERE, application_name="tests") as session:
        session.execute("CREATE TABLE t (a integer)")
    with (
        pytest.raises(ValueError, match="mine"),
        connect_postgres(connection, HERE, application_name="tests") as session,
    ):
        insert_and_fail(session)
    assert run(connection, "SELECT * FROM t") == []


@pytest.mark.parametrize(
    ("sql", "expected", "words"),
    [
        ("SELECT * FROM nowhere", PermanentError, "nowhere.*Check `schema` and `table`"),
        ("SELECT 1 FROM pg_sleep(5)", TransientError, "statement timeout"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", TransientError, "terminating"),
        ("SELECT 'x'::integer", DataError, "22P02"),
        ("SELEC 1", PermanentError, "syntax error"),
    ],
)
def test_errors_of_the_block_are_mapped(
    postgres: Database, sql: str, expected: type[PipelineError], words: str
) -> None:
    connection = config(postgres, statement_timeout_seconds=0.2)
    with pytest.raises(expected, match=words) as caught:
        run(connection, sql)
    assert type(caught.value) is expected
    assert f"127.0.0.1:{postgres.port}/{postgres.name}" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({"port": 1}, TransientError, "Connection refused"),
        ({"database": "nowhere"}, PermanentError, "does not exist"),
        ({"user": "nobody_here"}, PermanentError, "does not exist"),
        ({"sslmode": "require"}, PermanentError, "does not support SSL"),
        ({"host": "no.such.host.invalid", "sslmode": "verify-full"}, TransientError, "resolve"),
    ],
)
def test_connections_that_fail(
    postgres: Database,
    changes: dict[str, Any],
    expected: type[PipelineError],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CANARY", SECRET)
    connection = config(postgres, **changes, password="env:CANARY", connect_timeout_seconds=2)
    with pytest.raises(expected, match=words) as caught:
        run(connection, "SELECT 1")
    assert type(caught.value) is expected
    assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    conninfo = postgres_conninfo(connection, HERE, application_name="tests")
    with pytest.raises(adbc_driver_postgresql.dbapi.Error) as adbc:
        adbc_driver_postgresql.dbapi.connect(conninfo)
    mapped = postgres_error(adbc.value, connection)
    assert type(mapped) is expected
    assert "canary" not in str(mapped)


def test_a_server_that_never_answers(postgres: Database) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        connection = config(postgres, port=silent.getsockname()[1], connect_timeout_seconds=2)
        began = time.monotonic()
        with pytest.raises(TransientError, match="timeout"):
            run(connection, "SELECT 1")
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("40001", TransientError),
        ("40P01", TransientError),
        ("55P03", TransientError),
        ("57P03", TransientError),
        ("53300", TransientError),
        ("08006", TransientError),
        ("28P01", PermanentError),
        ("28000", PermanentError),
        ("3D000", PermanentError),
        ("42501", PermanentError),
        ("23505", DataError),
        ("XX000", PermanentError),
    ],
)
def test_classes_of_sqlstates(
    postgres: Database, state: str, expected: type[PipelineError]
) -> None:
    sql = f"DO $$ BEGIN RAISE EXCEPTION 'words' USING ERRCODE = '{state}', DETAIL = 'a row'; END $$"
    with pytest.raises(PipelineError, match=f"words.*{state}") as caught:
        run(config(postgres), sql)
    assert type(caught.value) is expected
    assert "a row" not in str(caught.value)


def query_when_closed(session: "psycopg.Connection[tuple[Any, ...]]") -> None:
    session.close()
    session.execute("SELECT 1")


def test_a_broken_connection_is_transient(postgres: Database) -> None:
    with (
        pytest.raises(TransientError, match="closed"),
        connect_postgres(config(postgres), HERE, application_name="tests") as session,
    ):
        query_when_closed(session)


def test_certificate_authorities(postgres: Database, tmp_path: Path) -> None:
    def authority(**changes: Any) -> str | None:
        conninfo = postgres_conninfo(config(postgres, **changes), tmp_path, application_name="t")
        value = conninfo_to_dict(conninfo).get("sslrootcert")
        return None if value is None else str(value)

    (tmp_path / "ca.pem").write_text("")
    assert authority() is None
    assert authority(sslmode="verify-full", sslrootcert="ca.pem") == str(tmp_path / "ca.pem")
    system = authority(sslmode="verify-full")
    assert system is not None
    assert system == "system" or Path(system).is_file()
    with pytest.raises(ConfigurationError, match=r"none\.pem does not exist"):
        authority(sslmode="verify-ca", sslrootcert="none.pem")
    with pytest.raises(ConfigurationError, match="verify-full"):
        authority(sslmode="verify-ca")


def test_a_password_that_is_not_set(postgres: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ConfigurationError, match="NOT_SET"):
        run(config(postgres, password="env:NOT_SET"), "SELECT 1")


def test_the_extra_is_named_when_it_is_missing(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg.conninfo", None)
    with pytest.raises(ConfigurationError, match=r"pipeline-platform\[postgres\]"):
        run(config(postgres), "SELECT 1")


def test_driver_errors_are_the_cause(postgres: Database) -> None:
    with pytest.raises(PermanentError) as caught:
        run(config(postgres), "SELECT * FROM nowhere")
    assert isinstance(caught.value.__cause__, psycopg.errors.UndefinedTable)
