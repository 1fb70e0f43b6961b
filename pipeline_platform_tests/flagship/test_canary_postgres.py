"""The password of PostgreSQL, as a source and for the drive table, with a server that asks it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from pipeline_platform_tests.flagship.canary import Canaries
from pipeline_platform_tests.flagship.canary_places import Told
from pipeline_platform_tests.flagship.credentials import Credentials
from pipeline_platform_tests.flagship.stack import DAY, Stack, materialize
from pipeline_platform_tests.servers.postgres import Database, PostgresServer

USER = "reader"
PASSWORD = "Kanari/of+PostgreSQL=5d1f&"


@pytest.fixture(scope="module")
def asking() -> Iterator[Database]:
    """A database whose user must have the password; it holds orders."""
    with PostgresServer() as server:
        database = server.new_database()
        with database.connect() as connection:
            connection.execute("SET password_encryption = 'scram-sha-256'")
            connection.execute(f"CREATE ROLE {USER} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
            connection.execute("CREATE TABLE orders (id BIGINT, at TIMESTAMPTZ, note TEXT)")
            for number in range(10):
                row = (number, DAY + timedelta(hours=number), f"n{number}")
                connection.execute("INSERT INTO orders VALUES (%s, %s, %s)", row)
            access = server.folder / "data" / "pg_hba.conf"
            rule = f"host all {USER} 127.0.0.1/32 scram-sha-256\n"
            access.write_text(rule + access.read_text())
            connection.execute("SELECT pg_reload_conf()")
        yield database


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.fault_row(26)
def test_neither_success_nor_failure_tells_it(
    stack: Stack, asking: Database, credentials: Credentials, told: Told, right: bool
) -> None:
    wrong = None if right else "Kanari/no+password=77ab&"
    login = {"user": USER, "password": credentials.env("PostgreSQL", wrong or PASSWORD)}
    name = f"from_postgres_{right}".lower()
    config: dict[str, Any] = stack.config(pipeline_metadata={"pipeline_name": name})
    config["source_system"] = {
        "type": "postgres", **asking.as_config(), **login, "schema": "public", "table": "orders",
        "query_field": "at",
    }  # fmt: skip
    config["target_system"]["table"] = name
    known = {"password": credentials.env("state", PASSWORD)}
    state = {"type": "postgres", **asking.as_config(), **login, **known}
    done = materialize(config, state, stack.folder, stack.key, told.home.instance, migrate=True)
    assert done.success == right
    everything = told.everything()
    assert credentials.canaries().leaks_in(everything) == {}
    reason = "10" if right else "password authentication failed"
    assert Canaries({"reason": reason}).leaks_in(everything)


def test_a_drive_table_that_refuses_the_login(
    stack: Stack, asking: Database, credentials: Credentials, told: Told
) -> None:
    login = {"user": USER, "password": credentials.env("PostgreSQL")}
    state = {"type": "postgres", **asking.as_config(), **login}
    done = materialize(stack.config(), state, stack.folder, stack.key, told.home.instance)
    assert not done.success
    everything = told.everything()
    assert credentials.canaries().leaks_in(everything) == {}
    assert Canaries({"reason": "password authentication failed"}).leaks_in(everything)
