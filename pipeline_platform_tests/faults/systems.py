"""The systems of a pair: where orders come from, and where they and their state must arrive.

What a test writes to a source and reads from a target goes by the systems' own drivers.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import duckdb

from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer
from pipeline_platform_tests.servers.http_proxy import HttpProxy
from pipeline_platform_tests.servers.postgres import Database
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase

MAPPINGS = {
    "dynamic": "strict",
    "properties": {
        "id": {"type": "long"}, "placed_at": {"type": "date"}, "amount": {"type": "double"},
        "note": {"type": "keyword"},
    },
}  # fmt: skip
STILL_AT_WORK_SECONDS = 0.05

Query = Callable[[str], list[tuple[Any, ...]]]


class Order(NamedTuple):
    """One row; amounts are quarters, which a double holds exactly."""

    id: int
    placed_at: datetime
    amount: Decimal
    note: str | None


class Source(Protocol):
    """`system` is the config section, without what a pair adds."""

    system: dict[str, Any]

    def add(self, orders: Sequence[Order]) -> None: ...


class Warehouse(Protocol):
    """`target` and `state` are config sections; `files` are those that one process may hold.

    `environment` has the variables that the sections refer to.
    """

    target: dict[str, Any]
    state: dict[str, Any]
    files: list[str]
    environment: dict[str, str]
    expire_leases: str

    def open(self) -> AbstractContextManager[Query]: ...

    def bury_the_dead(self) -> None:
        """End the sessions of processes that were killed, as the server itself would in time."""

    def left_over(self, query: Query) -> list[str]:
        """Tables of a load that nobody needs any more."""

    def new_name(self, table: str) -> str:
        """How RENAME TO wants `schema.table`."""


class PostgresSource:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.system = {
            "type": "postgres", **database.as_config(), "schema": "public", "table": "orders",
        }  # fmt: skip
        with database.connect() as connection:
            connection.execute(
                "CREATE TABLE orders (id BIGINT, placed_at TIMESTAMPTZ, amount NUMERIC(12, 2), "
                "note TEXT)"
            )
            connection.execute("CREATE INDEX ON orders (placed_at)")

    def add(self, orders: Sequence[Order]) -> None:
        with self._database.connect() as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO orders VALUES (%s, %s, %s, %s)", orders)


class ElasticsearchSource:
    def __init__(self, server: ElasticsearchServer) -> None:
        self._server = server
        self.index = server.new_index(MAPPINGS, {"number_of_shards": 2})
        self.system = {
            "type": "elasticsearch", **server.config(), "index": self.index, "slices": 2,
            "page_bytes": 65_536, "request_timeout_seconds": 10, "busy_timeout_seconds": 2,
        }  # fmt: skip

    def add(self, orders: Sequence[Order]) -> None:
        documents = [
            {**order._asdict(), "placed_at": order.placed_at.isoformat(),
             "amount": float(order.amount)}
            for order in orders
        ]  # fmt: skip
        assert self._server.add(self.index, documents) == len(orders)


class PostgresWarehouse:
    files: list[str] = []
    environment: dict[str, str] = {}
    expire_leases = (
        "UPDATE pipeline_platform.pipeline_records "
        "SET lease_until = lease_until - INTERVAL '1 hour' WHERE owner IS NOT NULL"
    )

    def __init__(self, database: Database) -> None:
        self.database = database
        self.target = {
            "type": "postgres", **database.as_config(), "schema": "analytics", "table": "orders",
        }  # fmt: skip
        self.state = {"type": "postgres", **database.as_config()}

    @contextmanager
    def open(self) -> Iterator[Query]:
        with self.database.connect() as connection:
            connection.execute("SET TIME ZONE 'UTC'")

            def query(statement: str) -> list[tuple[Any, ...]]:
                cursor = connection.execute(statement.encode())
                return cursor.fetchall() if cursor.description else []

            yield query

    def bury_the_dead(self) -> None:
        """Nothing: PostgreSQL sees that the connection is gone."""

    def left_over(self, query: Query) -> list[str]:
        return []

    def new_name(self, table: str) -> str:
        return table.partition(".")[2]


class DuckDBWarehouse:
    environment: dict[str, str] = {}
    expire_leases = PostgresWarehouse.expire_leases

    def __init__(self, folder: Path) -> None:
        self._path = folder / "warehouse.duckdb"
        self.target = {
            "type": "duckdb", "path": self._path.name, "schema": "analytics", "table": "orders",
        }  # fmt: skip
        self.state = {"type": "duckdb", "path": self._path.name}
        self.files = [self._path.name]

    @contextmanager
    def open(self) -> Iterator[Query]:
        with duckdb.connect(str(self._path)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield lambda statement: connection.execute(statement).fetchall()

    def bury_the_dead(self) -> None:
        """Nothing: the file is free when its process is gone."""

    def left_over(self, query: Query) -> list[str]:
        return []

    def new_name(self, table: str) -> str:
        return table.partition(".")[2]


class SnowflakeWarehouse:
    """Processes reach it through a proxy, which knows the sessions that they leave behind."""

    files: list[str] = []
    expire_leases = (
        "UPDATE pipeline_platform.pipeline_records "
        "SET lease_until = DATEADD('hour', -1, lease_until) WHERE owner IS NOT NULL"
    )

    def __init__(self, database: SnowflakeDatabase, proxy: HttpProxy) -> None:
        self.database = database
        self.environment = database.server.environment
        self._proxy = proxy
        through = {**database.as_config(), "port": int(proxy.url.rpartition(":")[2])}
        self.target = {"type": "snowflake", **through, "schema": "analytics", "table": "orders"}
        self.state = {"type": "snowflake", **through}

    @contextmanager
    def open(self) -> Iterator[Query]:
        with self.database.connect() as connection, connection.cursor() as cursor:

            def query(statement: str) -> list[tuple[Any, ...]]:
                cursor.execute(statement)
                return [tuple(row) for row in cursor.fetchall()]

            yield query

    def bury_the_dead(self) -> None:
        """What Snowflake does with the sessions of a client that is gone: their transactions end.

        A statement on its way is carried out before.
        """
        time.sleep(STILL_AT_WORK_SECONDS)
        requests = list(self._proxy.requests)
        self._proxy.requests.clear()
        for token in {request.headers.get("Authorization", "") for request in requests}:
            if "Token=" in token and "None" not in token:
                end = urllib.request.Request(
                    f"{self._proxy.upstream.geturl()}/session?delete=true",
                    method="POST", headers={"Authorization": token}, data=b"{}",
                )  # fmt: skip
                try:
                    urllib.request.urlopen(end, timeout=10).close()
                except urllib.error.HTTPError as error:
                    error.close()
                    if error.code != 401:  # its own client ended it already
                        raise

    def left_over(self, query: Query) -> list[str]:
        tables = query("SHOW TABLES LIKE 'ORDERS_LOAD_%' IN SCHEMA analytics")
        return [str(table[1]) for table in tables]

    def new_name(self, table: str) -> str:
        return table


def order_from(row: Sequence[Any]) -> Order:
    """A row of a target as the oracle has it."""
    number, placed_at, amount, note = row
    cents = Decimal(str(amount)).quantize(Decimal("0.01"))
    return Order(int(number), placed_at.astimezone(timezone.utc), cents, note)
