"""How Snowflake is reached, and what its errors mean."""

import logging
import traceback
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from pipeline_platform.config.snowflake import SnowflakeConnection
from pipeline_platform.connections.snowflake import (
    close_idle_connections,
    connect_snowflake,
    snowflake_resource,
)
from pipeline_platform.connections.snowflake_errors import snowflake_error
from pipeline_platform.connections.snowflake_session import SnowflakeSession, bound, query_tag
from pipeline_platform.errors import (
    ConfigurationError,
    DataError,
    PermanentError,
    PipelineError,
    TransientError,
)
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase
from pipeline_platform_tests.targets.recorded import RecordedConnection, recorded_session

HERE = Path()
CANARY = "canary-7f3a"


def config(**changes: Any) -> SnowflakeConnection:
    fields = {"account": "acme-test", "user": "LOADER", "database": "analytics", **changes}
    return SnowflakeConnection.model_validate(fields)


def pem(password: str | None = None) -> str:
    key = rsa.generate_private_key(65537, 2048)
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


# The session


def test_binds_in_order_and_leaves_quoted_parts_alone() -> None:
    statement = """SELECT $2, "$1", '$1 it''s \\' $2', $1, $2 WHERE a = $10"""
    text, values = bound(statement, list("abcdefghij"))
    assert text == """SELECT ?, "$1", '$1 it''s \\' $2', ?, ? WHERE a = ?"""
    assert values == ["b", "a", "b", "j"]
    assert bound("SELECT $1:a FROM @s", []) == ("SELECT $1:a FROM @s", [])


def test_times_keep_their_zone() -> None:
    naive, aware = datetime(2025, 1, 1), datetime(2025, 1, 1, tzinfo=timezone.utc)
    assert bound("$1 $2", [naive, aware])[1] == [("TIMESTAMP_NTZ", naive), ("TIMESTAMP_TZ", aware)]


def test_values_come_back_as_they_were_bound(snowflake_database: SnowflakeDatabase) -> None:
    moment = datetime(2025, 6, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    wall = datetime(1999, 12, 31, 23, 59, 59, 999999)
    text = 'it\'s "$1" ? 🎈'
    with connect_snowflake(connection_to(snowflake_database), HERE) as session:
        assert session.rows(
            "SELECT $1, CAST($2 AS TIMESTAMP_TZ), CAST($3 AS TIMESTAMP_NTZ), $1, $4",
            [text, moment, wall, 7],
        ) == [(text, moment, wall, text, 7)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TEMPORARY TABLE t (a INT)", "create or replace stage s", "ALTER TABLE t ADD b INT",
        "DROP TABLE t", "TRUNCATE TABLE t", "COPY INTO t FROM @s", "PUT file:///a @s", "GRANT x",
        "DESCRIBE TABLE t", "SHOW TABLES", "USE SCHEMA s", "CALL p()", "EXECUTE IMMEDIATE 'x'",
        "/* SELECT */ CREATE TABLE t (a INT)", "-- SELECT\nDROP TABLE t", "", "BEGIN",
    ],
)  # fmt: skip
def test_no_ddl_is_sent_inside_a_transaction(statement: str) -> None:
    session = recorded_session()
    session.run("BEGIN")
    for run in (session.run, session.rows, session.changed, session.records):
        with pytest.raises(PermanentError, match="inside a transaction"):
            run(statement)
    for allowed in ("SELECT 1", "(SELECT 1)", "insert into t values (1)", "UPDATE t SET a = 1",
                    "DELETE FROM t", "MERGE INTO t", "COMMIT"):  # fmt: skip
        session.run(allowed)
    session.run(statement)
    assert len(session.connection.statements) == 9


def test_statements_carry_the_window_as_their_tag() -> None:
    session = recorded_session()
    session.run("SELECT 1")
    with query_tag(pipeline="orders", run="orders_run3"):
        session.run("SELECT 2")
        with query_tag(text="x" * 5_000):
            session.run("SELECT 3")
    session.run("SELECT 4")
    tags = session.connection.tags
    assert tags[:2] == [None, '{"app":"pipeline_platform","pipeline":"orders","run":"orders_run3"}']
    assert len(tags[2]) == 2_000
    assert tags[3] is None
    assert session.ids() == {"SELECT": ["query-1", "query-2", "query-3", "query-4"]}


# Connections


def connection_to(database: SnowflakeDatabase) -> SnowflakeConnection:
    return SnowflakeConnection.model_validate(database.as_config())


def test_keeps_a_connection_for_the_next_use(snowflake_database: SnowflakeDatabase) -> None:
    connection = connection_to(snowflake_database)
    with connect_snowflake(connection, HERE) as session:
        first = session.connection
        with connect_snowflake(connection, HERE) as beside:
            assert beside.connection is not first
    with connect_snowflake(connection, HERE) as session:
        assert session.connection is first
        assert session.query_ids == []
        with connect_snowflake(connection, HERE, reuse=False) as fresh:
            assert fresh.connection is not first
    close_idle_connections()
    assert first.is_closed()


def test_closes_what_an_error_or_an_open_transaction_leaves(
    snowflake_database: SnowflakeDatabase,
) -> None:
    connection = connection_to(snowflake_database)
    with connect_snowflake(connection, HERE) as session:
        session.run("CREATE SCHEMA mine")
        session.run("CREATE TABLE mine.t (a INT)")
        session.run("BEGIN")
        assert session.changed("INSERT INTO mine.t VALUES (1), (2)") == 2
        left = session.connection
    assert left.is_closed()
    seen: list[Any] = []

    def fail(session: SnowflakeSession) -> None:
        seen.append(session.connection)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), connect_snowflake(connection, HERE) as session:
        fail(session)
    assert seen[0].is_closed()
    with connect_snowflake(connection, HERE) as session:
        assert session.rows("SELECT count(*) FROM mine.t") == [(0,)]


def test_errors_of_the_server_are_mapped(snowflake_database: SnowflakeDatabase) -> None:
    connection = connection_to(snowflake_database)
    for statement, kind in (
        ("SELECT * FROM public.nothing", PermanentError),
        ("SELEC", PermanentError),
        (f"SELECT '{CANARY}'::INT", DataError),
    ):
        with pytest.raises(kind) as caught, connect_snowflake(connection, HERE) as session:
            session.rows(statement)
        shown = "".join(traceback.format_exception(caught.value, limit=0))
        assert CANARY not in shown.replace(statement, "")


def test_a_server_that_is_down() -> None:
    connection = config(
        host="127.0.0.1", port=1, protocol="http", password="env:HOME",
        login_timeout_seconds=1, network_timeout_seconds=1,
    )  # fmt: skip
    with pytest.raises(TransientError), connect_snowflake(connection, HERE):
        pass


# Logging in


def arguments(connection: SnowflakeConnection) -> dict[str, Any]:
    return dict(snowflake_resource(connection, HERE)._connection_args)


def test_logs_in_with_limits_in_utc_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", CANARY)
    found = arguments(
        config(
            password="env:SECRET", role="loader", warehouse="Load wh", statement_timeout_seconds=7,
            lock_timeout_seconds=11, network_timeout_seconds=13, login_timeout_seconds=17,
        )
    )  # fmt: skip
    assert found["password"] == CANARY
    assert (found["database"], found["role"], found["warehouse"]) == (
        "ANALYTICS", "LOADER", '"Load wh"',
    )  # fmt: skip
    assert (found["network_timeout"], found["login_timeout"]) == (13, 17)
    assert (found["autocommit"], found["paramstyle"], found["protocol"]) == (True, "qmark", "https")
    assert not {"host", "port", "insecure_mode", "disable_ocsp_checks"} & set(found)
    parameters = found["session_parameters"]
    assert parameters["TIMEZONE"] == "UTC"
    assert parameters["STATEMENT_TIMEOUT_IN_SECONDS"] == 7
    assert parameters["LOCK_TIMEOUT"] == 11
    assert parameters["ABORT_DETACHED_QUERY"] is True
    assert parameters["TRANSACTION_ABORT_ON_ERROR"] is True


def test_key_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEY", pem())
    monkeypatch.setenv("LOCKED", pem("open sesame"))
    monkeypatch.setenv("PASSPHRASE", "open sesame")
    (tmp_path / "key.p8").write_text(pem())
    for settings in (
        {"private_key": "env:KEY"},
        {"private_key": "env:LOCKED", "private_key_passphrase": "env:PASSPHRASE"},
        {"private_key_path": str(tmp_path / "key.p8")},
    ):
        assert arguments(config(**settings))["private_key"][:1] == b"\x30"  # DER


def test_a_login_that_cannot_be_put_together(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("BROKEN", f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n")
    monkeypatch.setenv("LOCKED", pem("open sesame"))
    monkeypatch.setenv("WRONG", CANARY)
    for settings, words in (
        ({}, "no login"),
        ({"password": "env:NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
        ({"private_key_path": "nowhere.p8"}, "private_key_path"),
        ({"private_key": "env:BROKEN"}, "private key cannot be read"),
        ({"private_key": "env:LOCKED"}, "private key cannot be read"),
        (
            {"private_key": "env:LOCKED", "private_key_passphrase": "env:WRONG"},
            "private key cannot be read",
        ),
    ):
        with (
            pytest.raises(ConfigurationError, match=words) as caught,
            connect_snowflake(config(**settings), HERE),
        ):
            pass
        assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in caplog.text


# Errors


def error_of(number: int, state: str = "", text: str = "Something is wrong.") -> PipelineError:
    error = SimpleNamespace(errno=number, sqlstate=state, raw_msg=text, sfqid="01b2-77")
    exception = type("ProgrammingError", (Exception,), vars(error))(text)
    return snowflake_error(exception, config())


@pytest.mark.parametrize(
    ("number", "state", "kind"),
    [
        (625, "57014", TransientError),  # lock not released in time, or too many wait for it
        (604, "57014", TransientError),
        (630, "57014", TransientError),
        (603, "XX000", TransientError),
        (250001, "08001", TransientError),
        (250003, "", TransientError),
        (253003, "", TransientError),
        (290503, "", TransientError),
        (290500, "", TransientError),
        (580500, "", TransientError),  # the same, as the driver counts it
        (290429, "", TransientError),
        (390112, "", TransientError),
        (390114, "08001", TransientError),
        (290403, "08001", PermanentError),
        (290404, "08001", PermanentError),
        (390100, "08001", PermanentError),
        (390144, "08001", PermanentError),
        (390189, "08001", PermanentError),
        (251008, "", PermanentError),
        (606, "57P03", PermanentError),
        (2003, "02000", PermanentError),
        (2003, "42S02", PermanentError),
        (3001, "42501", PermanentError),
        (1003, "42000", PermanentError),
        (90073, "22000", PermanentError),
        (91016, "22000", PermanentError),
        (100038, "22018", DataError),
        (100078, "22000", DataError),
        (100072, "22000", DataError),
        (77, "", PermanentError),
        (-1, "", PermanentError),
        (-1, "40001", TransientError),
    ],
)
def test_kinds_of_errors(number: int, state: str, kind: type[PipelineError]) -> None:
    error = error_of(number, state)
    assert type(error) is kind
    assert "acme-test/analytics" in error.message
    assert "01b2-77" in error.message


def test_words_decide_where_numbers_do_not() -> None:
    assert type(error_of(77, "", "Deadlock detected.")) is TransientError
    wrong = "Failed to connect to DB. Verify the account name is correct"
    assert type(error_of(250001, "08001", wrong)) is PermanentError
    assert type(error_of(250001, "08001", "certificate verify failed")) is PermanentError
    # http spoken to an https port, or the other way round
    mismatch = "Hit non-retryable SSL error"
    assert type(error_of(250003, "08001", mismatch)) is PermanentError


def test_values_of_rows_stay_out_of_the_text() -> None:
    text = (
        f"Numeric value '{CANARY}' is not recognized\n  File 'orders/run3/part-00000.parquet', "
        'line 5\n  Row 5, column "T"["AMOUNT":2]'
    )
    message = error_of(100038, "22018", text).message
    assert CANARY not in message
    assert "'orders/run3/part-00000.parquet'" in message
    assert '"AMOUNT"' in message
    assert CANARY not in error_of(100038, "22018", f'string "{CANARY}" to INT64').message


def test_a_recorded_connection_is_abandoned() -> None:
    session = recorded_session()
    session.abandon()
    assert isinstance(session.connection, RecordedConnection)
    assert session.connection.closed
