"""Statements as they would be sent to Snowflake, for what the test server cannot run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline_platform.connections import snowflake_session
from pipeline_platform.connections.snowflake_session import SnowflakeSession

TEXT = 2

Answer = Callable[[str], list[dict[str, Any]]]


class RecordedConnection:
    """Looks like the driver's connection, keeps every statement and gives prepared answers."""

    def __init__(self, answer: Answer = lambda statement: []) -> None:
        self.statements: list[str] = []
        self.tags: list[str | None] = []
        self.closed = False
        self._answer = answer

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        yield _Cursor(self, self._answer)

    def is_closed(self) -> bool:
        return self.closed

    def close(self, retry: bool = True) -> None:
        self.closed = True


class _Cursor:
    def __init__(self, connection: RecordedConnection, answer: Answer) -> None:
        self._connection = connection
        self._answer = answer
        self._rows: list[dict[str, Any]] = []
        self.sfqid: str | None = None

    def execute(
        self, statement: str, values: Any = None, _statement_params: dict[str, str] | None = None
    ) -> None:
        self._connection.statements.append(statement)
        self._connection.tags.append((_statement_params or {}).get("QUERY_TAG"))
        self.sfqid = f"query-{len(self._connection.statements)}"
        self._rows = self._answer(statement)

    @property
    def rowcount(self) -> int:
        return len(self._rows)

    @property
    def description(self) -> list[Any]:
        return [
            SimpleNamespace(name=name, type_code=TEXT)
            for name in (self._rows[0] if self._rows else {})
        ]

    def fetchall(self) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self._rows]


def recorded_session(answer: Answer = lambda statement: []) -> SnowflakeSession:
    return SnowflakeSession(RecordedConnection(answer))


def recording(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that any session sends from now on, in order."""
    sent: list[str] = []
    bound = snowflake_session.bound

    def noted(statement: str, parameters: Any) -> tuple[str, list[Any]]:
        text, values = bound(statement, parameters)
        sent.append(text)
        return text, values

    monkeypatch.setattr(snowflake_session, "bound", noted)
    return sent
