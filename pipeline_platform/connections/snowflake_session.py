"""One connection to Snowflake: binding, query ids, query tags, and no DDL inside a transaction."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from pipeline_platform.errors import PermanentError

_TAG_CHARACTERS = 2000
# The driver's codes of VARIANT, OBJECT and ARRAY.
_JSON_TYPES = (5, 9, 10)

# A parameter, or a quoted part to be left alone.
_PARAMETER = re.compile(r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"]|"")*"|\$(\d+)""", re.DOTALL)
_FIRST_WORD = re.compile(r"[\s(]*([A-Za-z]+)")
_MAY_STAND_IN_A_TRANSACTION = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "COMMIT", "ROLLBACK"}
)

_tag: ContextVar[str | None] = ContextVar("query_tag", default=None)


@contextmanager
def query_tag(**facts: str | int) -> Iterator[None]:
    """Inside, every statement of this thread carries the facts as its QUERY_TAG, as JSON.

    E.g. `query_tag(pipeline="orders", window="20251115T1000Z", run="orders_..._run3")`.
    """
    text = json.dumps({"app": "pipeline_platform", **facts}, separators=(",", ":"))
    token = _tag.set(text[:_TAG_CHARACTERS])
    try:
        yield
    finally:
        _tag.reset(token)


class SnowflakeSession:
    """One connection in autocommit mode; parameters are bound as $1, $2 ...

    Between BEGIN and COMMIT or ROLLBACK it refuses whatever is not a query or DML: Snowflake would
    commit the open transaction before it.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.in_transaction = False
        self.query_ids: list[tuple[str, str]] = []
        """First word and query id of every statement, in order."""
        self.remembered: dict[str, Any] = {}
        """What its user wants to know again before the session ends."""

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query."""
        with self._executed(statement, parameters) as cursor:
            return [tuple(row) for row in cursor.fetchall()]

    def records(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run a query, SHOW, DESCRIBE or COPY; the columns' names in lower case.

        Values of VARIANT, OBJECT and ARRAY, which the driver gives as text, are parsed.
        """
        with self._executed(statement, parameters) as cursor:
            columns = [(column.name.lower(), column.type_code) for column in cursor.description]
            return [
                {
                    name: json.loads(value) if kind in _JSON_TYPES and value is not None else value
                    for (name, kind), value in zip(columns, row, strict=True)
                }
                for row in cursor.fetchall()
            ]

    def changed(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run DML; returns the number of rows it changed."""
        with self._executed(statement, parameters) as cursor:
            return int(cursor.rowcount or 0)

    def run(self, statement: str) -> None:
        """Run a statement that returns nothing."""
        with self._executed(statement, ()):
            pass

    def abandon(self) -> None:
        """Close the connection; the server rolls an open transaction back."""
        with suppress(Exception):
            self.connection.close(retry=False)

    def ids(self) -> dict[str, list[str]]:
        """Query ids by first word, e.g. `{"COPY": ["01b2..."], "INSERT": ["01b3..."]}`."""
        listed: dict[str, list[str]] = {}
        for word, query_id in self.query_ids:
            listed.setdefault(word, []).append(query_id)
        return listed

    @contextmanager
    def _executed(self, statement: str, parameters: Sequence[Any]) -> Iterator[Any]:
        word = first_word(statement)
        if self.in_transaction and word not in _MAY_STAND_IN_A_TRANSACTION:
            raise PermanentError(
                f"{word} was about to be sent inside a transaction, which it would have committed.",
                hint="This is a fault of the platform; please report it.",
            )
        text, values = bound(statement, parameters)
        tag = _tag.get()
        with self.connection.cursor() as cursor:
            try:
                cursor.execute(
                    text, values or None, _statement_params={"QUERY_TAG": tag} if tag else None
                )
            finally:
                if cursor.sfqid:
                    self.query_ids.append((word, cursor.sfqid))
            if word == "BEGIN":
                self.in_transaction = True
            elif word in ("COMMIT", "ROLLBACK"):
                self.in_transaction = False
            yield cursor


def first_word(statement: str) -> str:
    """The statement's first word in upper case, e.g. SELECT."""
    found = _FIRST_WORD.match(statement)
    return found.group(1).upper() if found else ""


def bound(statement: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    """The statement with ? for each $n outside quotes, and the values in that order.

    Without parameters nothing is replaced: $1 then means a column of a staged file.
    """
    if not parameters:
        return statement, []
    values: list[Any] = []

    def place(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return match.group()
        values.append(_typed(parameters[int(match.group(1)) - 1]))
        return "?"

    return _PARAMETER.sub(place, statement), values


def _typed(value: Any) -> Any:
    """The driver would bind a time with zone as one without."""
    if isinstance(value, datetime):
        return ("TIMESTAMP_NTZ" if value.tzinfo is None else "TIMESTAMP_TZ", value)
    return value
