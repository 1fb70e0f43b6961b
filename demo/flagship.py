"""The demo of the flagship stack: Elasticsearch -> S3 -> Snowflake, state in Snowflake too.

Starts an Elasticsearch, an S3 service and the Snowflake test server on this machine, and ends them.
"""

import csv
import os
from collections import Counter
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

from rich.console import Console

from demo.index_flights import INDEX, index_flights
from demo.load_flights import flights_csv
from demo.private_key import write_private_key
from demo.windows import DAYS, demo_project, run_days
from pipeline_platform.report import console
from pipeline_platform_tests.servers.availability import MissingServerError
from pipeline_platform_tests.servers.elasticsearch.node import ElasticsearchNode
from pipeline_platform_tests.servers.fakesnow.server import Fakesnow
from pipeline_platform_tests.servers.snowflake import SnowflakeDatabase
from pipeline_platform_tests.servers.versitygw import VersityGateway

PIPELINE = "flights_elasticsearch"
GOODBYE = """
The servers are gone now, and with them the rows. With systems of your own: set the variables that
pipeline_platform/defs/flights_elasticsearch/defs.yaml names, and DRIVE_TABLE=snowflake.
docs/snowflake.md has the grants.
"""


def main() -> int:
    """0 if every window is right and the target's rows are those of the file, day by day."""
    out = console()
    with ExitStack() as stack:
        try:
            with out.status("Starting Elasticsearch, S3 and the Snowflake test server ..."):
                elasticsearch = stack.enter_context(ElasticsearchNode(heap_megabytes=512))
                s3 = stack.enter_context(VersityGateway())
                snowflake = stack.enter_context(Fakesnow(s3))
        except MissingServerError as missing:
            out.print(f"This demo needs servers that cannot run here. {missing}", markup=False)
            return 1
        with out.status("Indexing the flights ..."):
            documents = index_flights(elasticsearch.client())
        out.print(f"{elasticsearch.url}: index {INDEX}, {documents:,} documents")
        database = snowflake.new_database()
        folder = Path(stack.enter_context(TemporaryDirectory()))
        os.environ.update(
            {
                "DRIVE_TABLE": "snowflake",
                "FLIGHTS_ELASTICSEARCH_URL": elasticsearch.url,
                "FLIGHTS_BUCKET": s3.new_bucket().name,
                "FLIGHTS_S3_ENDPOINT": s3.endpoint_url,
                "AWS_ACCESS_KEY_ID": s3.access_key,
                "AWS_SECRET_ACCESS_KEY": s3.secret_key,
                "AWS_DEFAULT_REGION": s3.region,
                "SNOWFLAKE_ACCOUNT": "fakesnow",
                "SNOWFLAKE_USER": "DEMO",
                "SNOWFLAKE_PRIVATE_KEY_PATH": str(write_private_key(folder)),
                "SNOWFLAKE_DATABASE": database.name,
                "SNOWFLAKE_HOST": "127.0.0.1",
                "SNOWFLAKE_PORT": str(snowflake.port),
                "SNOWFLAKE_PROTOCOL": "http",
            }
        )
        project = demo_project()
        os.chdir(project.root)
        right = run_days(project, PIPELINE, out)
        equal = _compare(database, out)
    out.print(GOODBYE, markup=False)
    return 0 if right and equal else 1


def _compare(database: SnowflakeDatabase, out: Console) -> bool:
    """Rows per day in the target against a count of the package's file."""
    with database.connect() as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT _pipeline_window_start, count(*) FROM analytics.flights GROUP BY 1 ORDER BY 1"
        )
        found = {_day(start): rows for start, rows in cursor.fetchall()}
        cursor.execute(
            "SELECT pipeline_status, count(*) FROM pipeline_platform.pipeline_execution_drive "
            "GROUP BY 1 ORDER BY 1"
        )
        runs = ", ".join(f"{number} {status}" for status, number in cursor.fetchall())
    with TemporaryDirectory() as folder, flights_csv(Path(folder)).open(encoding="utf-8") as file:
        times = (datetime.fromisoformat(row["time_hour"].replace("Z", "+00:00"))
                 for row in csv.DictReader(file))  # fmt: skip
        counted = Counter(map(_day, times))
    expected = {day: counted[day] for day in DAYS}
    verdict = "equal to" if found == expected else f"NOT equal to ({expected})"
    out.print(f"Rows per day in Snowflake are {verdict} a count of the file: {found}")
    out.print(f"Runs in the drive table: {runs}")
    return found == expected


def _day(instant: datetime) -> str:
    return instant.astimezone(ZoneInfo("America/New_York")).date().isoformat()


if __name__ == "__main__":
    raise SystemExit(main())
