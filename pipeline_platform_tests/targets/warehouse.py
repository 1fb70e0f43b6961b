"""What the target contract needs of a database under test."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pipeline_platform.fault_points import InjectedFaultError
from pipeline_platform.movement import CommitRow
from pipeline_platform.query_field import QueryField
from pipeline_platform.targets.base import Target
from pipeline_platform_tests.targets.staged import (
    SCHEMA,
    Staging,
    rows_of,
)

BERLIN = ZoneInfo("Europe/Berlin")
CREATED_AT = QueryField("created_at")
ROWS = rows_of(23)
OTHER_ROWS = rows_of(17, first=1000)


class Warehouse(ABC):
    """A database of its own per test."""

    @abstractmethod
    def target(
        self, *, table: str = "orders", query_field: QueryField = CREATED_AT, **settings: Any
    ) -> Target:
        """A target in the schema `analytics` unless `schema` says otherwise."""

    @abstractmethod
    def execute(self, statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement behind the target's back."""

    def wall_clock(self, column: str) -> str:
        """The expression of a column of instants as UTC without a zone."""
        return f"{column} AT TIME ZONE 'UTC'"

    def ids(self) -> list[int]:
        return sorted(row[0] for row in self.execute("SELECT id FROM analytics.orders"))

    def everything(self) -> list[Any]:
        """Both tables byte for byte, in order."""
        rows = self.execute("SELECT t::text FROM analytics.orders t")
        commits = self.execute("SELECT t::text FROM analytics.orders_window_commits t")
        return [sorted(rows), sorted(commits)]


def content(row: CommitRow) -> CommitRow:
    """A commit row without its epoch and times."""
    return replace(row, epoch=0, committed_at=None, audited_at=None, updated_at=None)


def stop_at(point: str, action: Callable[[], None]) -> Callable[[str], None]:
    """A hook that acts at one fault point, once."""
    pending = [point]

    def hook(name: str) -> None:
        if pending == [name]:
            pending.clear()
            action()

    return hook


def fail() -> None:
    raise InjectedFaultError("cut")


class TargetTests(ABC):
    """The fixtures that all parts of the contract share."""

    @pytest.fixture
    @abstractmethod
    def warehouse(self, request: pytest.FixtureRequest) -> Warehouse: ...

    @pytest.fixture
    def staging(self, tmp_path: Path) -> Staging:
        return Staging(tmp_path)

    @pytest.fixture
    def target(self, warehouse: Warehouse) -> Target:
        target = warehouse.target()
        target.prepare(SCHEMA)
        return target
