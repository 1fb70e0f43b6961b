"""What is asked of the server about one window: which documents, how many, the greatest value."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from pipeline_platform.config.elasticsearch import ElasticsearchSource
from pipeline_platform.errors import TransientError
from pipeline_platform.movement import Prerequisite, WindowSlice
from pipeline_platform.sources.columns import query_field_of
from pipeline_platform.sources.elasticsearch.mapping import UNMAPPED
from pipeline_platform.sources.elasticsearch.response import SearchResponse

# A search of the indices, or of a point in time.
Search = Callable[[Mapping[str, Any]], SearchResponse]

_DATE_FORMAT = "strict_date_optional_time_nanos"


def window_query(
    config: ElasticsearchSource, kind: pa.DataType, window: WindowSlice
) -> dict[str, Any]:
    """Documents of the window that the user's query selects; nothing is scored.

    Dates are sent as UTC instants in a format of their own, so that the mapping's formats do not
    matter; epoch numbers in their unit. ConfigurationError as for `QueryField.bounds`.
    """
    lower, upper = query_field_of(config).bounds(window, kind)
    bounds: dict[str, Any] = {"gte": lower, "lt": upper}
    if isinstance(lower, datetime) and isinstance(upper, datetime):
        bounds = {"gte": _instant(lower), "lt": _instant(upper), "format": _DATE_FORMAT}
    filters: list[dict[str, Any]] = [{"range": {config.query_field: bounds}}]
    if config.query is not None:
        filters.append(config.query)
    return {"bool": {"filter": filters}}


def mapped_everywhere_check(mappings: Mapping[str, Any], field: str) -> Prerequisite:
    """Fails for an index whose mapping lacks the query field: its documents are in no window."""
    lacking = sorted(
        index
        for index, answer in mappings.items()
        if not _is_mapped(answer["mappings"].get("properties", {}), field)
    )
    if not lacking:
        return Prerequisite("query_field mapped", True, f"in {len(mappings)} indices")
    shown = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
    return Prerequisite(
        "query_field mapped",
        False,
        f"{field!r} is not mapped in {shown}, whose documents would be in no window",
        hint="Map it there, or leave the index out: a name with a minus before it excludes it "
        "from a pattern.",
    )


def _is_mapped(properties: Mapping[str, Any], field: str) -> bool:
    return any(
        key == field
        or (
            field.startswith(f"{key}.")
            and _is_mapped(spec.get("properties", {}), field[len(key) + 1 :])
        )
        for key, spec in properties.items()
    )


def _instant(moment: datetime) -> str:
    utc = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='microseconds')}000Z"


def document_count(search: Search, query: Mapping[str, Any]) -> SearchResponse:
    """Exactly how many documents match, in `hits.total`; none of them is sent."""
    return search({"query": query, "size": 0, "track_total_hits": True})


def total_of(counted: SearchResponse) -> int:
    """The number that `document_count` found."""
    total = counted.hits.total
    if total is None or total.relation != "eq":
        raise TransientError("The server gave no exact number of the window's documents.")
    return total.value


def greatest_value(
    search: Search, query: Mapping[str, Any], field: str, kind: pa.DataType
) -> str | None:
    """The greatest value of a field as exact text; None if no document has one.

    By sorting: an aggregation would give a double. Dates are ISO texts in UTC.
    """
    order: dict[str, Any] = {"order": "desc"}
    if pa.types.is_timestamp(kind):
        order["format"] = _DATE_FORMAT
    present = {"bool": {"filter": [query, {"exists": {"field": field}}]}}
    body = {
        "query": present,
        "size": 1,
        "sort": [{field: order}],
        "_source": False,
        "track_total_hits": False,
    }
    hits = search(body).hits.hits
    if not hits:
        return None
    # Numbers stay as they are written.
    (value, *_) = json.loads(bytes(hits[0].sort), parse_float=str, parse_int=str)
    return str(value)


def trimmed_source(config: ElasticsearchSource) -> dict[str, Any]:
    """The part of a search that has documents cut to the columns that are read.

    Empty where the decoder must see whole documents. In a name to leave out, a star would stand
    for other columns as well.
    """
    if not config.trim_responses:
        return {}
    if config.include_columns:
        unmapped = config.unmapped_fields == "reject" or UNMAPPED in config.include_columns
        return {} if unmapped else {"_source": {"includes": list(config.include_columns)}}
    excluded = [name for name in config.exclude_columns if "*" not in name]
    return {"_source": {"excludes": excluded}} if excluded else {}
