"""Parts of documents cut out as JSON text, without Python objects for what is inside."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pipeline_platform.sources.elasticsearch.mapping import DocumentColumn

# Keys that msgspec does not take as names of fields.
_UNUSUAL = re.compile(r'[\\"\x00-\x1f]')


class Cutter:
    """Cuts fields out of documents; a document with a key that it does not know is told.

    columns: what documents may hold. unchecked: other keys are accepted. Fields inside of one
    that is cut as a whole, and fields with unusual names, cannot be cut.
    """

    def __init__(self, columns: Iterable[DocumentColumn], *, unchecked: bool = False) -> None:
        self._unchecked = unchecked
        self._paths: dict[tuple[str, ...], tuple[str, ...]] = {}
        tree: dict[str, Any] = {}
        for column in sorted(columns, key=lambda column: len(column.path)):
            self._place(tree, column.path)
        self._decoder = msgspec.json.Decoder(self._struct(tree, (), ()))

    def can_cut(self, column: DocumentColumn) -> bool:
        """Whether `texts` takes the column."""
        return column.path in self._paths

    def cut(self, documents: Sequence[msgspec.Raw]) -> tuple[list[Any], set[int]]:
        """A row per document, for `texts`; None, and its number, where a document does not fit."""
        decode = self._decoder.decode
        try:
            return [decode(document) for document in documents], set()
        except msgspec.DecodeError:
            pass
        rows: list[Any] = []
        odd: set[int] = set()
        for number, document in enumerate(documents):
            try:
                rows.append(decode(document))
            except msgspec.DecodeError:
                rows.append(None)
                odd.add(number)
        return rows, odd

    def texts(self, rows: Sequence[Any], column: DocumentColumn) -> list[bytes]:
        """The column's JSON text in each row; empty where a row does not have it."""
        first, *rest = self._paths[column.path]
        parts = [None if row is None else getattr(row, first) for row in rows]
        for name in rest:
            parts = [None if part is None else getattr(part, name) for part in parts]
        return [b"" if part is None else bytes(part) for part in parts]

    def _place(self, tree: dict[str, Any], path: tuple[str, ...]) -> None:
        *above, last = path
        for key in above:
            inner = tree.setdefault(key, {})
            if not isinstance(inner, dict):
                return
            tree = inner
        tree[last] = None

    def _struct(
        self, tree: dict[str, Any], path: tuple[str, ...], names: tuple[str, ...]
    ) -> type[msgspec.Struct]:
        fields: list[Any] = []
        for number, (key, inner) in enumerate(tree.items()):
            if _UNUSUAL.search(key):
                continue
            name = f"f{number}"
            here, found = (*path, key), (*names, name)
            if inner is None:
                self._paths[here] = found
                kind: Any = msgspec.Raw
                default: Any = msgspec.Raw()
            else:
                kind, default = self._struct(inner, here, found) | None, None
            fields.append((name, kind, msgspec.field(name=key, default=default)))
        return msgspec.defstruct(
            "Document", fields, forbid_unknown_fields=not self._unchecked, gc=False
        )
