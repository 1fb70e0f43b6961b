"""What an error of Snowflake or its driver means for the caller (pure).

Decided by the error's number, then by its SQLSTATE. What is in neither list is permanent.
"""

import re

from pipeline_platform.config.snowflake import SnowflakeConnection
from pipeline_platform.errors import (
    DataError,
    PermanentError,
    PipelineError,
    TransientError,
)

_LOCKED = 625
# Session or token ran out; a new login mends it.
_LOGIN_AGAIN = (390104, 390110, 390111, 390112, 390113, 390114, 390115, 390195, 390318)
_NETWORK = (
    250001, 250002, 250003, 250005, 250006, 251003, 251010, 251011, 251012, 252002, 252007,
    252010, 252013, 253002, 253003, 253009, 255005,
)  # fmt: skip
# Internal error; cancelled; a lock or the queue for it; statement timeout.
_BUSY = (603, 604, _LOCKED, 630)
_BUSY_WORDS = ("deadlock", "lock timeout", "has locked table")
_TRANSIENT_STATES = ("40001", "40P01", "57014")
_TRANSIENT_CLASSES = ("08", "53")

# Conversion, truncation, NULL in a NOT NULL column, broken file ...; their texts quote the value.
_DATA = range(100_000, 101_000)
_DATA_CLASSES = ("23",)

# HTTP errors are counted from 290000; the driver adds that up twice in places.
_HTTP = {290: 290_000, 580: 580_000}
_HTTP_PERMANENT = (400, 401, 403, 404, 405)

# Of 250001, which stands for any failed login.
_PERMANENT_WORDS = (
    "certificate", "non-retryable SSL error", "Verify the account name",
    "Incorrect username or password",
)  # fmt: skip

_HINTS = {
    606: "Set `warehouse`, and grant USAGE on it to the role.",
    _LOCKED: "Another transaction holds the table's lock; it is tried again.",
    630: "The statement ran longer than statement_timeout_seconds; it is tried again.",
    1003: "This is a fault of the platform; please report it.",
    2003: "Check the names, and what the role may see.",
    2043: "Check the names, and what the role may see.",
    3001: "Grant the role what it needs.",
    90073: "The warehouse has used up its resource monitor's quota.",
    91016: "Check that the URL of external_stage is the bucket and prefix of stage_system.",
    390100: "Check user and password.",
    390144: "Check the private key, its public half at the user, account and user name, and the "
    "clock of this machine.",
    390189: "Check `role`, and that it is granted to the user.",
}

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"[^"]*\"""")
_NAMED = re.compile(r"(?:file|column|table) $|\[$", re.IGNORECASE)
_PREFIX = re.compile(r"^\d{6}(?: \(\S+\))?:\s*")
_LONGEST = 600


def place(connection: SnowflakeConnection) -> str:
    """Account and database, for messages."""
    return f"Snowflake {connection.account}/{connection.database}"


def snowflake_error(error: Exception, connection: SnowflakeConnection) -> PipelineError:
    """The platform's error for one of the driver.

    Lock waits, timeouts, lost connections and expired sessions are transient; values that do not
    fit are data errors, with the values left out of the text.
    """
    number: int = getattr(error, "errno", None) or -1
    state: str = getattr(error, "sqlstate", None) or ""
    kind = _kind(number, state, str(error))
    text = _text(error, hide_values=kind is DataError)
    query_id = getattr(error, "sfqid", None)
    where = f"query {query_id}" if query_id else ""
    code = f"error {number:06d}" if number > 0 else type(error).__name__
    details = ", ".join(part for part in (code, where) if part)
    return kind(f"{place(connection)}: {text} ({details}).", hint=_hint(number, kind))


def _kind(number: int, state: str, text: str) -> type[PipelineError]:
    thousands = number // 1000
    if thousands in _HTTP:
        return PermanentError if number - _HTTP[thousands] in _HTTP_PERMANENT else TransientError
    if number in _NETWORK and any(word in text for word in _PERMANENT_WORDS):
        return PermanentError
    if number in (*_LOGIN_AGAIN, *_NETWORK, *_BUSY):
        return TransientError
    if number in _DATA or state.startswith(_DATA_CLASSES):
        return DataError
    if 390_000 <= number < 391_000 or 251_000 <= number < 252_000:
        return PermanentError
    if state in _TRANSIENT_STATES or state.startswith(_TRANSIENT_CLASSES):
        return TransientError
    if any(word in text.lower() for word in _BUSY_WORDS):
        return TransientError
    return PermanentError


def _text(error: Exception, *, hide_values: bool) -> str:
    raw = str(getattr(error, "raw_msg", None) or error)
    line = " ".join(_PREFIX.sub("", raw).split())
    if hide_values:
        line = _QUOTED.sub(lambda found: _shown(found, line), line)
    return line[:_LONGEST].rstrip(". ")


def _shown(quoted: "re.Match[str]", line: str) -> str:
    """Names of files and columns help; other quoted parts may be a row's values."""
    return quoted.group() if _NAMED.search(line, 0, quoted.start()) else "'...'"


def _hint(number: int, kind: type[PipelineError]) -> str:
    if number in _HINTS:
        return _HINTS[number]
    if kind is TransientError:
        return "It is tried again. If it goes on, check that the account is reachable from here."
    if kind is DataError:
        return "Compare the rows with the table's columns."
    return ""
