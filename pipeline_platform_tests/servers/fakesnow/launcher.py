"""Runs fakesnow with five corrections and, if the environment names one, an S3 service.

It runs in an environment of its own (requirements.txt), never imported by tests.
Use: `python launcher.py PORT`; FAKESNOW_S3_ENDPOINT, FAKESNOW_S3_ACCESS_KEY, FAKESNOW_S3_SECRET_KEY
and FAKESNOW_S3_REGION name the service that `s3://` stages are read from.
"""

import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa
from fakesnow import server as serve  # first: the module below takes this name

# isort: split
import fakesnow.arrow as arrow
import fakesnow.copy_into as copy_into
import fakesnow.server as server
import fakesnow.transforms.stage as stage
from fakesnow.cursor import FakeSnowflakeCursor
from snowflake.connector.errors import ProgrammingError
from sqlglot import parse_one
from sqlglot.expressions import Drop, Expr
from starlette.responses import JSONResponse

without_nulls = arrow.timestamp_to_sf_struct
of_external_stages = copy_into._source_urls
in_duckdb = FakeSnowflakeCursor._execute


def with_nulls(timestamps: Any) -> Any:
    """NULL timestamps stay NULL; without this they are read as 1970-01-01."""
    if isinstance(timestamps, pa.ChunkedArray):
        timestamps = timestamps.combine_chunks()
    parts = without_nulls(timestamps)
    return pa.StructArray.from_arrays(
        parts.flatten(), fields=list(parts.type), mask=timestamps.is_null()
    )


def source_urls(source: str, files: Sequence[str]) -> list[str]:
    """`COPY ... FILES = (...)` from an internal stage; without this it is error 1011."""
    if stage.is_internal(source):
        return [os.path.join(source, file) for file in files]
    urls: list[str] = of_external_stages(source, files)
    return urls


def with_drop_database(cursor: FakeSnowflakeCursor, statement: Expr, *values: Any) -> None:
    """`DROP DATABASE`; without this each database that was ever made slows down what looks into
    INFORMATION_SCHEMA."""
    if isinstance(statement, Drop) and statement.args["kind"] == "DATABASE":
        [database] = statement.args["tables"]
        name = database.name
        for table in ("_fs_columns_ext", "_fs_tables_ext"):
            cursor._duck_conn.execute(
                f"DELETE FROM _fs_global._fs_information_schema.{table} "
                "WHERE ext_table_catalog = ?", [name],
            )  # fmt: skip
        cursor._duck_conn.execute(f'DETACH "{name}"')
        statement = parse_one(f"SELECT '{name} successfully dropped.' AS status")
    with_lock_errors(cursor, statement, *values)


def with_lock_errors(cursor: FakeSnowflakeCursor, *statement: Any) -> None:
    """Snowflake's error for a lock that does not come free; without this an answer 500, which the
    driver repeats for seconds. Snowflake waits first."""
    try:
        in_duckdb(cursor, *statement)
    except duckdb.TransactionException as error:
        raise ProgrammingError(msg=str(error), errno=625, sqlstate="57014") from error


class Sessions(dict[str, Any]):
    """A session that ends is closed; without this its open transaction goes on."""

    def __delitem__(self, token: str) -> None:
        self[token].close()
        super().__delitem__(token)


class Answer(JSONResponse):
    """A login is answered with a master token; without one the driver never ends a session."""

    def __init__(self, content: Any, status_code: int = 200) -> None:
        data = content.get("data") or {}
        if "token" in data:
            data["masterToken"] = data["token"]
        super().__init__(content, status_code)


def use_s3() -> None:
    import s3fs

    names = {"endpoint_url": "FAKESNOW_S3_ENDPOINT", "region_name": "FAKESNOW_S3_REGION"}
    files = s3fs.S3FileSystem(
        key=os.environ["FAKESNOW_S3_ACCESS_KEY"],
        secret=os.environ["FAKESNOW_S3_SECRET_KEY"],
        client_kwargs={key: os.environ[name] for key, name in names.items()},
        use_listings_cache=False,
    )
    server.shared_fs.duck_conn.register_filesystem(files)


if __name__ == "__main__":
    arrow.timestamp_to_sf_struct = with_nulls
    copy_into._source_urls = source_urls
    FakeSnowflakeCursor._execute = with_drop_database
    server.sessions = Sessions()
    server.JSONResponse = Answer
    if "FAKESNOW_S3_ENDPOINT" in os.environ:
        use_s3()
    with serve(port=int(sys.argv[1])):
        threading.Event().wait()
