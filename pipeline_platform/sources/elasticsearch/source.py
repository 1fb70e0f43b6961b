"""Documents of Elasticsearch indices, aliases, data streams or patterns.

Pages are cut into raw documents that Arrow decodes; no document becomes a Python object.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from pipeline_platform.config import elasticsearch as config
from pipeline_platform.connections.elasticsearch import (
    ElasticsearchClient,
    connect_elasticsearch,
    place_of,
)
from pipeline_platform.errors import PipelineError
from pipeline_platform.moment import parse_time_to_seconds
from pipeline_platform.movement import Prerequisite, Snapshot, WindowSlice
from pipeline_platform.sources.columns import column_checks, selected_columns
from pipeline_platform.sources.elasticsearch.access import access_check
from pipeline_platform.sources.elasticsearch.decode import Decoder, with_id_column
from pipeline_platform.sources.elasticsearch.mapping import DocumentColumn, document_columns
from pipeline_platform.sources.elasticsearch.pages import (
    PageSize,
    PointInTime,
    ask_index,
    largest_page,
    search_indices,
)
from pipeline_platform.sources.elasticsearch.patience import Patience
from pipeline_platform.sources.elasticsearch.query import (
    Search,
    document_count,
    greatest_value,
    mapped_everywhere_check,
    total_of,
    trimmed_source,
    window_query,
)
from pipeline_platform.sources.elasticsearch.slices import SliceReaders

APPLICATION_NAME = "pipeline_platform source"

_PROBE = WindowSlice(
    "probe",
    datetime(2025, 1, 1, tzinfo=timezone.utc),
    datetime(2025, 1, 2, tzinfo=timezone.utc),
)


class ElasticsearchSource:
    """One point in time per read, whose slices are read side by side; see `sources/base.py`.

    Dates are instants: a text without zone is UTC to the server, so query_field_timezone is of no
    use. A query field that is a number needs query_field_unit. A key that may see only a part of
    the named indices, a pattern that matches nothing and a closed index are errors, never fewer
    rows.
    """

    def __init__(self, system: config.ElasticsearchSource, *, base_dir: Path) -> None:
        self._config = system
        self._base_dir = base_dir
        place = place_of(system).removeprefix("Elasticsearch ").replace(" ", "")
        self.name = f"elasticsearch://{place}/{','.join(system.index)}"

    def check(self) -> Sequence[Prerequisite]:
        """Reachable, permitted, indices there, query field, columns, readable."""
        done: list[Prerequisite] = []
        step = "source reachable"
        try:
            with self._connect() as client:
                access = access_check(client, self._config.index)
                done += [Prerequisite(step, True, self.name), access]
                if not access.passed:
                    return done
                step = "source indices"
                mappings = self._mappings(client)
                columns = document_columns(mappings, self._config)
                indices = f"{len(columns)} columns in {len(mappings)} indices"
                done.append(Prerequisite(step, True, indices))
                done += column_checks(
                    {c.name: c.type for c in columns}, with_id_column(self._config)
                )
                if all(check.passed for check in done):
                    done.append(mapped_everywhere_check(mappings, self._config.query_field))
                if all(check.passed for check in done):
                    step = "source readable"
                    query = self._query(columns, _PROBE)
                    with self._snapshot(client, Patience(0, threading.Event())) as pit:
                        document_count(pit.search, query)
                        done.append(Prerequisite(step, True, "search permitted"))
                        step = "change_field comparable"
                        self._greatest(pit.search, columns, query)
        except PipelineError as error:
            done.append(Prerequisite.failed(step, error))
        return done

    def count(self, window: WindowSlice) -> int:
        """One search without hits, whose total is exact."""
        with self._connect() as client:
            query = self._query(self._columns(client), window)
            return total_of(document_count(self._search(client), query))

    def change_value(self, window: WindowSlice) -> str | None:
        """One search for the greatest value."""
        if self._config.change_field is None:
            return None
        with self._connect() as client:
            columns = self._columns(client)
            return self._greatest(self._search(client), columns, self._query(columns, window))

    @contextmanager
    def read(self, window: WindowSlice) -> Iterator[Snapshot]:
        """Kind `exact`: count, change value and documents are of one point in time.

        While the cluster is busy (429, 503, circuit breaker) pages shrink and are asked for again
        for busy_timeout_seconds, then TransientError. SnapshotLostError if the server loses the
        point in time.
        """
        settings = self._config
        cores = os.cpu_count() or 1
        stop = threading.Event()
        patience = Patience(settings.busy_timeout_seconds, stop)
        with (
            self._connect(parallel=settings.slices or cores) as client,
            self._snapshot(client, patience) as pit,
        ):
            # Not before: the mapping must know the fields of every document in the snapshot.
            columns = patience.until_answered(lambda: self._columns(client))
            query = self._query(columns, window)
            counted = document_count(pit.search, query)
            change_value = self._greatest(pit.search, columns, query)
            decoder = Decoder(columns, settings)
            number = settings.slices or min(counted.shards.total, cores)
            largest = patience.until_answered(lambda: largest_page(client, settings.index))
            most = min(largest, settings.batch_rows)
            body = {"query": query, **trimmed_source(settings)}
            readers = SliceReaders(
                [
                    partial(pit.pages, body, PageSize(settings.page_bytes, most), n, number)
                    for n in range(number if total_of(counted) else 0)
                ],
                decoder.decode,
                stop,
            )
            try:
                yield Snapshot(
                    kind="exact",
                    count=total_of(counted),
                    schema=decoder.schema,
                    batches=readers.start(),
                    change_value=change_value,
                    original_names=decoder.original_names,
                )
            finally:
                # Closing the point in time first ends the searches that still run.
                readers.stop()
                pit.close()
                readers.join()

    def _connect(self, *, parallel: int = 1) -> AbstractContextManager[ElasticsearchClient]:
        return connect_elasticsearch(
            self._config, self._base_dir, application_name=APPLICATION_NAME, parallel=parallel
        )

    def _snapshot(self, client: ElasticsearchClient, patience: Patience) -> PointInTime:
        seconds = parse_time_to_seconds(self._config.keep_alive)
        return PointInTime(
            client, self._config.index, keep_alive_seconds=seconds, patience=patience
        )

    def _search(self, client: ElasticsearchClient) -> Search:
        return partial(search_indices, client, self._config.index)

    def _mappings(self, client: ElasticsearchClient) -> dict[str, Any]:
        return ask_index(client, self._config.index, "_mapping")

    def _columns(self, client: ElasticsearchClient) -> tuple[DocumentColumn, ...]:
        return document_columns(self._mappings(client), self._config)

    def _query(self, columns: Sequence[DocumentColumn], window: WindowSlice) -> dict[str, Any]:
        selected_columns(columns, with_id_column(self._config))
        name = self._config.query_field
        kind = next(column.type for column in columns if column.name == name)
        return window_query(self._config, kind, window)

    def _greatest(
        self, search: Search, columns: Sequence[DocumentColumn], query: dict[str, Any]
    ) -> str | None:
        field = self._config.change_field
        if field is None:
            return None
        kind = next(column.type for column in columns if column.name == field)
        return greatest_value(search, query, field, kind)
