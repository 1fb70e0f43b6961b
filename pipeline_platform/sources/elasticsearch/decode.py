"""Pages of hits to Arrow record batches.

Most values go from the response's bytes into columns without a Python object for each
(`elasticsearch_page`). A column that this does not take goes value by value; a document that it
does not take goes value by value as a whole (`elasticsearch_tolerant`). The rows are the same
whichever way they went.
"""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_platform.config.elasticsearch import ElasticsearchSource
from pipeline_platform.movement import RejectedRecord, SourceBatch
from pipeline_platform.sources.columns import selected_columns
from pipeline_platform.sources.elasticsearch.mapping import DocumentColumn
from pipeline_platform.sources.elasticsearch.page import FastRows, PageReader
from pipeline_platform.sources.elasticsearch.response import Hit
from pipeline_platform.sources.elasticsearch.tolerant import TolerantReader
from pipeline_platform.sources.elasticsearch.values import Unfit


class Decoder:
    """Hits of one window to batches of `schema`, in the order of the hits.

    columns: all of `document_columns`; the config selects from them. `schema` has the staged
    names, `original_names` maps them to the documents' own. `decode` may be called by several
    threads at once. Raises ConfigurationError where the config names a column that is not there.
    """

    def __init__(self, columns: Sequence[DocumentColumn], config: ElasticsearchSource) -> None:
        by_name = {column.name: column for column in columns}
        staged = selected_columns(columns, with_id_column(config))
        self._selected = [by_name[column.name] for column in staged]
        self.schema = pa.schema([pa.field(c.staged_name, c.type) for c in staged])
        self.original_names = {column.staged_name: column.name for column in staged}
        names = {column.name: column.staged_name for column in staged}
        required = (config.query_field, *config.required_fields)
        self._required = tuple(dict.fromkeys(names[name] for name in required))
        self._tolerant = TolerantReader(columns, self._selected, config)
        self._pages = PageReader(columns, self._selected, self._tolerant)

    def decode(self, hits: Sequence[Hit]) -> SourceBatch:
        """Rows that fit, and documents that do not with the reason, together one per hit."""
        fast = self._pages.read([hit.source for hit in hits]) if hits else None
        if fast is None:
            return self.decode_closely(hits)
        if len(fast.taken) == len(hits):
            return self._whole(hits, self._batch(hits, fast), fast.taken, {})
        odd = sorted(set(range(len(hits))) - set(fast.taken))
        rows, taken, refused = self._read_closely(hits, odd)
        both = pa.concat_batches([self._batch(hits, fast), rows])
        places = fast.taken + taken
        order = sorted(range(len(places)), key=places.__getitem__)
        return self._whole(hits, both.take(pa.array(order, pa.int64())), sorted(places), refused)

    def decode_closely(self, hits: Sequence[Hit]) -> SourceBatch:
        """The same, value by value: slower, and for any document."""
        return self._whole(hits, *self._read_closely(hits, range(len(hits))))

    def _batch(self, hits: Sequence[Hit], fast: FastRows) -> pa.RecordBatch:
        arrays = iter(fast.arrays)
        ids = (hits[place].id for place in fast.taken)
        return pa.RecordBatch.from_arrays(
            [
                pa.array(ids, pa.string()) if column.rule == "id" else next(arrays)
                for column in self._selected
            ],
            schema=self.schema,
        )

    def _read_closely(
        self, hits: Sequence[Hit], places: Sequence[int]
    ) -> tuple[pa.RecordBatch, list[int], dict[int, str]]:
        """Rows with their places among the hits, and reasons by the place of what has no row."""
        rows: list[list[Any]] = []
        taken: list[int] = []
        refused: dict[int, str] = {}
        for place in places:
            try:
                rows.append(self._tolerant.row(hits[place]))
                taken.append(place)
            except Unfit as problem:
                refused[place] = str(problem)
        batch = pa.RecordBatch.from_arrays(self._tolerant.arrays(rows), schema=self.schema)
        return batch, taken, refused

    def _whole(
        self,
        hits: Sequence[Hit],
        rows: pa.RecordBatch,
        places: Sequence[int],
        refused: dict[int, str],
    ) -> SourceBatch:
        """Rows with NULL where the config allows none are refused as well."""
        for name in self._required:
            if rows.column(name).null_count:
                is_null = rows.column(name).is_null()
                for row in pc.indices_nonzero(is_null).to_pylist():
                    refused[places[row]] = f"{name} is NULL"
                there = pc.invert(is_null)
                places = pa.array(places, pa.int64()).filter(there).to_pylist()
                rows = rows.filter(there)
        rejected = [
            RejectedRecord(refused[place], _record(hits[place])) for place in sorted(refused)
        ]
        return SourceBatch(rows, tuple(rejected))


def with_id_column(config: ElasticsearchSource) -> ElasticsearchSource:
    """The config as the checks of columns take it: included columns do not leave out `_id`."""
    if config.id_column is None or not config.include_columns:
        return config
    return config.model_copy(
        update={"include_columns": (config.id_column, *config.include_columns)}
    )


def _record(hit: Hit) -> str:
    """A document as JSON; `_source` as it is, or as text where it is not JSON."""
    source = bytes(hit.source).decode(errors="replace")
    try:
        json.loads(source, parse_constant=_refuse)
    except (ValueError, RecursionError):
        source = json.dumps(source)
    names = f'"_id": {json.dumps(hit.id)}, "_index": {json.dumps(hit.index)}'
    return f'{{{names}, "_source": {source}}}'


def _refuse(constant: str) -> None:
    raise ValueError(constant)
