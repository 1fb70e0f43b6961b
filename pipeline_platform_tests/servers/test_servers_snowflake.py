"""What other tests rely on in the Snowflake server."""

from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_platform_tests.servers.s3 import S3Bucket
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase

NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
ROWS = pa.table({"ID": [1, 2, 3], "AT": [NOON, None, NOON]})
TABLE = 'CREATE TABLE T ("ID" NUMBER(38, 0), "AT" TIMESTAMP_TZ)'
PARQUET = "FILE_FORMAT = (TYPE = PARQUET) MATCH_BY_COLUMN_NAME = CASE_SENSITIVE"
READ_BACK = 'SELECT "ID", "AT" FROM T ORDER BY "ID"'


def test_null_timestamps_stay_null(snowflake_database: SnowflakeDatabase) -> None:
    with snowflake_database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(TABLE)
        cursor.execute("INSERT INTO T VALUES (1, '2024-01-01 12:00:00+00:00'), (2, NULL)")

        cursor.execute(READ_BACK)
        assert cursor.fetchall() == [(1, NOON), (2, None)]


def test_chosen_files_are_copied_from_an_internal_stage(
    snowflake_database: SnowflakeDatabase, tmp_path: Path
) -> None:
    for name in ("wanted", "other"):
        pq.write_table(ROWS, tmp_path / f"{name}.parquet")
    with snowflake_database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(TABLE)
        cursor.execute("CREATE TEMPORARY STAGE S")
        for name in ("wanted", "other"):
            cursor.execute(f"PUT file://{tmp_path}/{name}.parquet @S/run1 AUTO_COMPRESS = FALSE")

        cursor.execute(f"COPY INTO T FROM @S/run1/ FILES = ('wanted.parquet') {PARQUET}")

        cursor.execute(READ_BACK)
        assert cursor.fetchall() == [(1, NOON), (2, None), (3, NOON)]


def test_chosen_files_are_copied_from_a_bucket(
    snowflake_database: SnowflakeDatabase, s3_bucket: S3Bucket
) -> None:
    file = pa.BufferOutputStream()
    pq.write_table(ROWS, file)
    for name in ("wanted", "other"):
        s3_bucket.put(f"stage/run1/{name}.parquet", file.getvalue().to_pybytes())
    with snowflake_database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(TABLE)
        cursor.execute(f"CREATE STAGE S URL = 's3://{s3_bucket.name}/stage/'")

        cursor.execute(f"COPY INTO T FROM @S/run1/ FILES = ('wanted.parquet') {PARQUET}")

        cursor.execute(READ_BACK)
        assert cursor.fetchall() == [(1, NOON), (2, None), (3, NOON)]


def test_two_connections_see_one_database(snowflake_database: SnowflakeDatabase) -> None:
    with snowflake_database.connect() as writer, snowflake_database.connect() as reader:
        writer.cursor().execute("CREATE TABLE T (ID INT)")
        writer.cursor().execute("BEGIN")
        writer.cursor().execute("INSERT INTO T VALUES (1)")
        seen = reader.cursor()
        seen.execute("SELECT count(*) FROM T")
        before = seen.fetchall()
        writer.cursor().execute("COMMIT")
        seen.execute("SELECT count(*) FROM T")
        after = seen.fetchall()

    assert (before, after) == ([(0,)], [(1,)])
