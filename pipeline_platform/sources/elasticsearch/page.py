"""The fast reading of a page: columns from bytes, and which documents need a closer look."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.sources.elasticsearch.cut import Cutter
from pipeline_platform.sources.elasticsearch.fast import (
    Problem,
    Refused,
    Tree,
    column_of,
    holds_nothing,
    read_page,
    readings,
    unknown_columns,
)
from pipeline_platform.sources.elasticsearch.json_text import object_text
from pipeline_platform.sources.elasticsearch.mapping import DocumentColumn
from pipeline_platform.sources.elasticsearch.tolerant import TolerantReader
from pipeline_platform.sources.elasticsearch.values import (
    NULL,
    Unfit,
    is_empty,
    read_value,
    to_array,
)

# Taking odd documents out one by one pays while they are few in a page.
_ODD_DOCUMENTS = 4
# Pages that had to cut a column before it is cut from the start.
_REFUSALS = 2
_MOST_CUTTERS = 64
_NUMBERS = ("integer", "unsigned", "float", "date")


@dataclass
class FastRows:
    """Columns of the documents that the fast reading took; `taken` are their places in the page."""

    arrays: list[pa.Array]
    taken: list[int]


@dataclass
class _Attempt:
    """What is tried for one page.

    ways: per column, which of its readings. cut: columns that go value by value. infers: whether
    pyarrow.json looks at all fields, and so tells those that are not known; it cannot where a
    field holds values of several types. has_twins: a key is there twice, which cutting would not
    tell. odd: places, in `documents`, of what needs a closer look.
    """

    documents: list[msgspec.Raw]
    taken: list[int]
    ways: dict[str, int]
    cut: set[str]
    infers: bool
    has_twins: bool = False
    tries: Counter[str] = field(default_factory=Counter)
    odd: set[int] = field(default_factory=set)
    arrays: dict[str, pa.Array] = field(default_factory=dict)

    def leave_out(self, row: int) -> None:
        """Take a document out, for a closer look."""
        del self.documents[row], self.taken[row]


class PageReader:
    """Reads pages of documents; learns from them which way to read a column.

    Used by several threads at once: what they learn only decides which way is tried first.
    """

    def __init__(
        self,
        columns: Sequence[DocumentColumn],
        selected: Sequence[DocumentColumn],
        reader: TolerantReader,
    ) -> None:
        self._fields = [column for column in columns if column.rule not in ("id", "unmapped")]
        self._selected = [column for column in selected if column.rule != "id"]
        self._reader = reader
        self._by_name = {c.name: c for c in self._selected if c.rule != "unmapped"}
        self._by_path = {"/".join(column.path): column for column in self._by_name.values()}
        self._readings = {name: readings(column) for name, column in self._by_name.items()}
        self._values = {name: read_value(column) for name, column in self._by_name.items()}
        self._known = {column.path for column in self._fields}
        self._above = {path[:count] for path in self._known for count in range(1, len(path))}
        self._unmapped = next((c for c in self._selected if c.rule == "unmapped"), None)
        self._infers = self._unmapped is None
        self._ways = dict.fromkeys(self._by_name, 0)
        self._cut = {name for name, ways in self._readings.items() if not ways}
        self._refusals: Counter[str] = Counter()
        self._extras: tuple[DocumentColumn, ...] = ()
        self._whole = self._new_cutter()
        self._cutters: dict[frozenset[str], Cutter] = {}

    def read(self, documents: Sequence[msgspec.Raw]) -> FastRows | None:
        """Columns in the order of `selected`, without `_id`; None if no document was taken."""
        self._learn_unknown()
        if not self._can_cut(self._cut):
            return None
        page = self._attempt(documents, self._cut)
        if self._read_plain(page):
            self._learn(page)
        elif not page.has_twins and self._can_cut(self._by_name):
            page = self._attempt(documents, self._by_name)
            page.infers = False
        else:
            return None
        self._read_cut(page)
        arrays = [page.arrays[column.name] for column in self._selected]
        if page.odd:
            mask = pa.array([place not in page.odd for place in range(len(page.taken))])
            arrays = [array.filter(mask) for array in arrays]
        taken = [number for place, number in enumerate(page.taken) if place not in page.odd]
        return FastRows(arrays, taken)

    def _attempt(self, documents: Sequence[msgspec.Raw], cut: Collection[str]) -> _Attempt:
        numbers = list(range(len(documents)))
        return _Attempt(list(documents), numbers, dict(self._ways), set(cut), self._infers)

    def _can_cut(self, names: Collection[str]) -> bool:
        return all(self._whole.can_cut(self._by_name[name]) for name in names)

    def _read_plain(self, page: _Attempt) -> bool:
        """All columns but the cut ones; False if pyarrow.json does not take the page."""
        while page.documents:
            plain = [column for name, column in self._by_name.items() if name not in page.cut]
            tree = Tree()
            for column in plain:
                tree.add(column.path, self._readings[column.name][page.ways[column.name]].type)
            if not (plain or page.infers):
                return True
            found = _read(page.documents, tree, page.infers)
            if isinstance(found, pa.Table):
                if page.infers:
                    self._find_unknown(page, found)
                return self._convert(page, found, plain)
            if found is None or not self._avoid(page, found):
                return False
        return False

    def _avoid(self, page: _Attempt, problem: Problem) -> bool:
        """Change what is tried such that the problem does not come again; False: it cannot."""
        column = self._by_path.get(problem.path or "")
        if column is not None and column.name not in page.cut:
            count = len(self._readings[column.name])
            page.tries[column.name] += 1
            if page.tries[column.name] <= count > 1:
                page.ways[column.name] = (page.ways[column.name] + 1) % count
                return True
        if problem.row is not None and page.tries[""] < _ODD_DOCUMENTS:
            page.tries[""] += 1
            page.leave_out(problem.row)
            return True
        if problem.is_twin:
            page.has_twins = True
            return False
        if column is not None and column.name not in page.cut and self._can_cut([column.name]):
            page.cut.add(column.name)
            return True
        numbers = {
            name
            for name, column in self._by_name.items()
            if column.rule in _NUMBERS and name not in page.cut and self._can_cut([name])
        }
        if problem.in_numbers and numbers:
            page.cut |= numbers
            return True
        did_infer, page.infers = page.infers, False
        return did_infer

    def _convert(self, page: _Attempt, table: pa.Table, plain: list[DocumentColumn]) -> bool:
        for column in plain:
            reading = self._readings[column.name][page.ways[column.name]]
            try:
                page.arrays[column.name] = reading.convert(column_of(table, column.path))
            except Refused:
                if not self._can_cut([column.name]):
                    return False
                page.cut.add(column.name)
        return True

    def _find_unknown(self, page: _Attempt, table: pa.Table) -> None:
        for path, array in unknown_columns(table, self._known, self._above):
            name = ".".join(path)
            is_nothing = holds_nothing(array.type) and name not in self._by_name
            if self._reader.concerns(name) and not is_nothing:
                page.odd.update(pc.indices_nonzero(array.is_valid()).to_pylist())

    def _read_cut(self, page: _Attempt) -> None:
        """The cut columns, and fields that are not known where nobody has looked for them."""
        if page.infers and not page.cut:
            return
        cutter = self._cutter_of(page.cut) if page.infers else self._whole
        rows, odd = cutter.cut(page.documents)
        page.odd |= odd
        for name in page.cut:
            column = self._by_name[name]
            page.arrays[name] = self._array(column, cutter.texts(rows, column), page.odd)
        if not page.infers:
            self._read_extras(page, cutter, rows)

    def _array(self, column: DocumentColumn, texts: list[bytes], odd: set[int]) -> pa.Array:
        if column.rule == "json":
            array = pa.array([text or None for text in texts], pa.string())
            return pc.if_else(pc.equal(array, NULL.decode()), None, array)
        read = self._values[column.name]
        values: list[Any] = []
        for place, text in enumerate(texts):
            try:
                values.append(read(text) if text else None)
            except Unfit:
                odd.add(place)
                values.append(None)
        return to_array(values, column.type)

    def _read_extras(self, page: _Attempt, cutter: Cutter, rows: list[Any]) -> None:
        found: list[list[tuple[str, bytes]]] = [[] for _ in rows]
        for column in self._extras:
            if cutter.can_cut(column) and self._reader.concerns(column.name):
                for place, text in enumerate(cutter.texts(rows, column)):
                    if text and not is_empty(text):
                        found[place].append((column.name, text))
        if self._unmapped is not None:
            texts = [object_text(fields) if fields else None for fields in found]
            page.arrays[self._unmapped.name] = pa.array(texts, pa.string())
        else:
            page.odd.update(place for place, fields in enumerate(found) if fields)

    def _new_cutter(self) -> Cutter:
        return Cutter([*self._fields, *self._extras])

    def _cutter_of(self, names: set[str]) -> Cutter:
        key = frozenset(names)
        cutter = self._cutters.get(key)
        if cutter is None:
            cutter = Cutter([self._by_name[name] for name in names], unchecked=True)
            if len(self._cutters) < _MOST_CUTTERS:
                self._cutters[key] = cutter
        return cutter

    def _learn_unknown(self) -> None:
        """Keys that documents have beside the mapping: cut with the rest from now on."""
        unknown = sorted(self._reader.unknown.copy())
        if len(unknown) > len(self._extras):
            self._extras = tuple(
                DocumentColumn(name, pa.string(), (name,), "json", "") for name in unknown
            )
            self._whole = self._new_cutter()

    def _learn(self, page: _Attempt) -> None:
        self._ways = page.ways
        self._refusals.update(page.cut - self._cut)
        self._cut = self._cut | {name for name in page.cut if self._refusals[name] >= _REFUSALS}
        if self._infers and not page.infers:
            self._refusals[""] += 1
            self._infers = self._refusals[""] < _REFUSALS


def _read(documents: list[msgspec.Raw], tree: Tree, infers: bool) -> pa.Table | Problem | None:
    """The table or the problem of pyarrow.json; None for what it must not be given."""
    joined = b"\n".join(documents)
    if not _are_objects(joined, documents) or not _is_utf8(joined):
        return None
    return read_page(joined, len(documents), tree, unknown="infer" if infers else "ignore")


def _are_objects(joined: bytes, documents: list[msgspec.Raw]) -> bool:
    """Anything but an object as a document ends the process inside of pyarrow.json."""
    start = 0
    for document in documents:
        if joined[start : start + 1] != b"{":
            return False
        start += len(document) + 1
    return True


def _is_utf8(text: bytes) -> bool:
    ends = pa.array([0, len(text)], pa.int64()).buffers()[1]
    array = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(text)])
    try:
        array.cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True
