"""Documents value by value: the exact reading, for what the fast one does not take.

For every document that both take they give the same row; what fits no rule is told with its reason.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from pipeline_platform.config.elasticsearch import ElasticsearchSource
from pipeline_platform.sources.elasticsearch.json_text import elements, members, object_text
from pipeline_platform.sources.elasticsearch.mapping import DocumentColumn, is_selected
from pipeline_platform.sources.elasticsearch.response import Hit
from pipeline_platform.sources.elasticsearch.values import (
    SEVERAL,
    Unfit,
    is_empty,
    read_value,
    to_array,
)

# Of the names that are remembered, so that documents full of ever new keys take no memory.
_MOST_UNKNOWN = 200
_TWICE = "a field is there twice"


class TolerantReader:
    """Rows of single documents.

    columns: all of the mapping; selected: those of a row, in order. The key `a.b` is the same
    field as `b` inside of `a`, and a list of one object is that object, as they are to
    Elasticsearch. `unknown` gathers keys of documents that the mapping does not have.
    """

    def __init__(
        self,
        columns: Iterable[DocumentColumn],
        selected: Sequence[DocumentColumn],
        config: ElasticsearchSource,
    ) -> None:
        self._config = config
        self._selected = selected
        self._read = {
            column.name: read_value(column)
            for column in selected
            if column.rule not in ("id", "unmapped")
        }
        self._keeps_unknown = any(column.rule == "unmapped" for column in selected)
        fields = [column for column in columns if column.rule not in ("id", "unmapped")]
        self.known = {column.name for column in fields}
        self.wholes = tuple(column.name for column in fields if column.rule == "json")
        self.above = {
            name[:place]
            for name in self.known
            for place, sign in enumerate(name)
            if sign == "."
        }  # fmt: skip
        self.unknown: set[str] = set()

    def row(self, hit: Hit) -> list[Any]:
        """Values as `to_array` takes them, one per selected column.

        Raises Unfit for a document that has no row: a value that does not fit its column, a field
        that is there twice, one that the mapping does not have, text that is not JSON.
        """
        document = _Document(self)
        try:
            document.take(members(bytes(hit.source)))
        except (ValueError, RecursionError):
            raise Unfit("the document is not JSON that can be read") from None
        return [self._value(document, column, hit) for column in self._selected]

    def arrays(self, rows: Sequence[Sequence[Any]]) -> list[pa.Array]:
        """Rows as columns."""
        return [
            to_array([row[place] for row in rows], column.type)
            for place, column in enumerate(self._selected)
        ]

    def ignores(self, name: str) -> bool:
        """Whether a field is left out by choice."""
        if self._config.include_columns or self._config.unmapped_fields == "drop":
            return True
        parts = name.split(".")
        return any(
            not is_selected(".".join(parts[:count]), self._config)
            for count in range(1, len(parts) + 1)
        )

    def concerns(self, name: str) -> bool:
        """Whether a field that the mapping does not have in this place can have a say in a row."""
        return (
            name in self._read
            or any(name.startswith(f"{whole}.") for whole in self.wholes)
            or self.reads_below(name)
            or not self.ignores(name)
        )

    def reads_below(self, name: str) -> bool:
        """Whether a selected column lies inside of the object."""
        return any(column.startswith(f"{name}.") for column in self._read)

    def _value(self, document: "_Document", column: DocumentColumn, hit: Hit) -> Any:
        if column.rule == "id":
            return hit.id
        if column.rule == "unmapped":
            return object_text(sorted(document.unknown)).decode() if document.unknown else None
        if document.unknown and not self._keeps_unknown:
            raise Unfit("a field that the mapping does not have")
        text = document.text(column.name)
        return None if text is None else self._read[column.name](text)


class _Document:
    """The fields of one document by their full names."""

    def __init__(self, reader: TolerantReader) -> None:
        self._reader = reader
        self._found: dict[str, list[bytes]] = defaultdict(list)
        # Of objects that are one column: what stands outside of them under dotted names.
        self._parts: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        self.unknown: list[tuple[str, bytes]] = []

    def text(self, name: str) -> bytes | None:
        """JSON text of the field."""
        texts, parts = self._found.get(name, ()), self._parts.get(name, ())
        if all(is_empty(text) for _, text in parts):
            parts = ()
        if len(texts) + bool(parts) > 1:
            raise Unfit(f"{name}: {_TWICE}")
        if parts:
            return object_text(parts)
        return texts[0] if texts else None

    def take(self, found: Sequence[tuple[str, bytes]], above: str = "", kept: bool = False) -> None:
        """Add members of an object; kept: they are inside of a column that has them all."""
        if len({key for key, _ in found}) < len(found):
            raise Unfit(_TWICE)
        for key, text in found:
            self._take(above + key, text, kept)

    def _take(self, name: str, text: bytes, kept: bool) -> None:
        reader = self._reader
        if name in reader.known:
            self._found[name].append(text)
        if not kept and "." in name:
            for whole in reader.wholes:
                if name.startswith(f"{whole}."):
                    self._parts[whole].append((name[len(whole) + 1 :], text))
                    kept = True
        kept = kept or name in reader.wholes
        if name in reader.above:
            self._open(name, text, kept)
        elif name not in reader.known and not kept:
            self._note(name, text)

    def _open(self, name: str, text: bytes, kept: bool) -> None:
        if text[:1] == b"{":
            self.take(members(text), f"{name}.", kept)
        elif not is_empty(text) and self._reader.reads_below(name):
            items = elements(text) if text[:1] == b"[" else []
            if len(items) > 1:
                raise Unfit(f"{name}: {SEVERAL}")
            if not items or items[0][:1] != b"{":
                raise Unfit(f"{name}: a value where the mapping has an object")
            self.take(members(items[0]), f"{name}.", kept)

    def _note(self, name: str, text: bytes) -> None:
        if len(self._reader.unknown) < _MOST_UNKNOWN:
            self._reader.unknown.add(name)
        if not self._reader.ignores(name) and not is_empty(text):
            self.unknown.append((name, text))
