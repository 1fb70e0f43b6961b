"""Everywhere that a run leaves something to read."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from pipeline_platform_tests.flagship.canary import files_below, parts_of
from pipeline_platform_tests.flagship.stack import Stack

# Log lines of all libraries become events of the run. Storing those of DEBUG takes half a minute;
# what is run without Dagster is logged at DEBUG as well.
EVERYTHING = {"managed_python_loggers": ["root"], "python_log_level": "INFO"}
SCHEMAS = ("pipeline_platform", "analytics")


@dataclass(frozen=True)
class Home:
    """Dagster with its storage in files: runs, events, metadata, compute logs."""

    folder: Path
    instance: dg.DagsterInstance


@dataclass
class Told:
    """What was told while a test ran, wherever it can be read."""

    stack: Stack
    home: Home
    lines: pytest.LogCaptureFixture
    streams: pytest.CaptureFixture[str]
    texts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.log_everything()

    def log_everything(self) -> None:
        """From now on, the lines of all libraries at DEBUG."""
        self.lines.set_level(logging.DEBUG)

    def everything(self) -> list[tuple[str, str | bytes]]:
        """Places and what is to be read there, until now."""
        written = self.streams.readouterr()
        found: list[tuple[str, str | bytes]] = [*self.texts.items()]
        found += [("stdout", written.out), ("stderr", written.err)]
        for record in self.lines.get_records("call"):
            place = f"log line of {record.name}, {record.levelname}, {record.pathname}"
            found.append((place, f"{record.getMessage()} {record.args!r} {record.exc_text}"))
        return [*found, *self._tables(), *self._objects(), *files_below(self.home.folder)]

    def _tables(self) -> Iterator[tuple[str, str]]:
        """Drive rows, records, commits and the target's rows, with all columns."""
        with self.stack.database.connect() as connection, connection.cursor() as cursor:
            for schema in SCHEMAS:
                cursor.execute(f"SHOW TABLES IN SCHEMA {schema}")
                name = [column.name.lower() for column in cursor.description].index("name")
                for row in cursor.fetchall():
                    table = f'{schema}."{row[name]}"'
                    cursor.execute(f"SELECT * FROM {table}")
                    yield table, repr(cursor.fetchall())

    def _objects(self) -> Iterator[tuple[str, str | bytes]]:
        """Keys and contents of manifests, staged files and rejected rows."""
        bucket = self.stack.bucket
        for key in bucket.keys():  # noqa: SIM118
            yield "bucket", key
            for part in parts_of(bucket.get(key)):
                yield f"bucket {key}", part
