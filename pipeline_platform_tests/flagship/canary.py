"""Secrets that must be found nowhere, and the search for them: as written, quoted and encoded."""

import base64
import io
import json
import sqlite3
import traceback
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq

SQLITE = b"SQLite format 3\0"
PARQUET = b"PAR1"


class Canaries:
    """Secrets by the name of what they are; `leaks` says which of them a text gives away."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._forms = {
            (name, form): text
            for name, secret in secrets.items()
            for form, text in _forms(secret).items()
        }

    def leaks(self, content: str | bytes) -> set[str]:
        """Name and form of every secret in it."""
        data = content.encode(errors="replace") if isinstance(content, str) else content
        return {f"{name} ({form})" for (name, form), text in self._forms.items() if text in data}

    def leaks_in(self, places: Iterable[tuple[str, str | bytes]]) -> dict[str, set[str]]:
        """The same of many texts, by where they were found."""
        found: dict[str, set[str]] = {}
        for place, content in places:
            if leaks := self.leaks(content):
                found.setdefault(place, set()).update(leaks)
        return found


def files_below(folder: Path) -> Iterator[tuple[str, str | bytes]]:
    """Paths and contents; databases and Parquet too are read as what they hold."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for part in parts_of(path.read_bytes(), path):
            yield str(path.relative_to(folder)), part


def parts_of(content: bytes, path: Path | None = None) -> Iterator[str | bytes]:
    """The bytes themselves and, where they are packed, what is in them."""
    yield content
    if content.startswith(SQLITE) and path is not None:
        yield from _cells(path)
    if content.startswith(PARQUET):
        table = pq.read_table(io.BytesIO(content))
        yield repr(table.schema.metadata)
        yield from (repr(column.to_pylist()) for column in table.columns)


def chain_of(error: BaseException) -> str:
    """An error with its traceback and all that is shown with it, arguments too."""
    texts = ["".join(traceback.format_exception(error))]
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        texts += [repr(found), repr(found.args), repr(vars(found))]
        hidden = found.__suppress_context__
        found = found.__cause__ or (None if hidden else found.__context__)
    return "\n".join(texts)


def _cells(path: Path) -> Iterator[str | bytes]:
    """Every cell of a SQLite database; Dagster packs some."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        names = [row[0] for row in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'")]  # fmt: skip
        for name in names:
            for row in connection.execute(f'SELECT * FROM "{name}"'):
                for cell in row:
                    if isinstance(cell, bytes):
                        yield from _unpacked(cell)
                    elif isinstance(cell, str):
                        yield cell


def _unpacked(cell: bytes) -> Iterable[bytes]:
    try:
        return (cell, zlib.decompress(cell))
    except zlib.error:
        return (cell,)


def _forms(secret: str) -> dict[str, bytes]:
    raw = secret.encode()
    forms = {
        "as it is": raw,
        "in JSON": json.dumps(secret)[1:-1].encode(),
        "in a URL": urllib.parse.quote(secret, safe="").encode(),
        "in a URL's path": urllib.parse.quote(secret).encode(),
        "in a form": urllib.parse.quote_plus(secret).encode(),
        "in hexadecimal": raw.hex().encode(),
    }
    for shift in range(3):
        # Whatever stands before and behind it, these letters are the same.
        encoded = base64.b64encode(bytes(shift) + raw)
        inner = encoded[(0, 2, 3)[shift] : (shift + len(raw)) * 8 // 6]
        forms[f"in base64, {shift}"] = inner
        forms[f"in URL-safe base64, {shift}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return forms
