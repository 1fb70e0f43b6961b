"""The columns of documents, from the mappings of all indices that are read."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from pipeline_platform.config.elasticsearch import ElasticsearchSource
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.sources.columns import ObjectColumn
from pipeline_platform.sources.elasticsearch.date_patterns import UnsupportedPattern
from pipeline_platform.sources.elasticsearch.dates import DateFormats

Rule = Literal["text", "integer", "unsigned", "float", "boolean", "date", "json", "id", "unmapped"]

UNMAPPED = "unmapped_fields"

_TEXTS = (
    "keyword", "constant_keyword", "wildcard", "text", "match_only_text", "search_as_you_type",
    "ip", "version", "binary",
)  # fmt: skip
_SMALL_INTEGERS = ("byte", "short", "integer")
_FLOATS = ("half_float", "float", "double", "scaled_float")
_DATES = {
    "date": "strict_date_optional_time||epoch_millis",
    "date_nanos": "strict_date_optional_time_nanos||epoch_millis",
}
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_TEXTS, "text"),
    **dict.fromkeys((*_SMALL_INTEGERS, "long"), "integer"),
    "unsigned_long": "unsigned",
    **dict.fromkeys(_FLOATS, "float"),
    "boolean": "boolean",
    **dict.fromkeys(_DATES, "date"),
}  # fmt: skip
_ARROW: dict[Rule, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "unsigned": pa.decimal128(20, 0),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.timestamp("us", "UTC"),
    "json": pa.string(),
    "id": pa.string(),
    "unmapped": pa.string(),
}
_NUMBERS: dict[Rule, int] = {"integer": 1, "unsigned": 2, "float": 3}
_NANOSECONDS = pa.timestamp("ns", "UTC")
_WAYS_OUT = (
    "Name it in source_system.json_fields, which stages it as the documents have it, or in "
    "source_system.exclude_columns."
)


@dataclass(frozen=True)
class DocumentColumn(ObjectColumn):
    """A column of documents.

    name: the keys from the document's root, joined with dots. path: these keys, as the mapping
    nests them. rule: how a value becomes `type`. mapped: the type in the mapping. formats: of a
    date.
    """

    path: tuple[str, ...]
    rule: Rule
    mapped: str
    formats: DateFormats | None = None


def document_columns(
    mappings: Mapping[str, Any], config: ElasticsearchSource
) -> tuple[DocumentColumn, ...]:
    """All columns, selected or not, in the mappings' order; `_id` first, unmapped fields last.

    mappings: the answer of GET <index>/_mapping. An index without a field is fine. Types that
    differ between indices become one where every value fits it exactly: text for all kinds of
    text, the wider of two integers, nanoseconds for dates. Otherwise, for a date format that
    cannot be read exactly, and for an index without `_source`: ConfigurationError, unless the
    column is not read.
    """
    found: dict[str, dict[str, DocumentColumn]] = {}
    for index, answer in mappings.items():
        mapping = answer["mappings"]
        _require_source(index, mapping)
        for column in _fields(mapping.get("properties", {}), (), config):
            found.setdefault(column.name, {})[index] = column
    _require_known(found, config)
    columns = [_merged(by_index, config) for by_index in found.values()]
    if config.id_column is not None:
        columns.insert(0, _own(config.id_column, "id", found))
    open_mappings = (_is_open(answer["mappings"], config) for answer in mappings.values())
    if config.unmapped_fields == "column" and any(open_mappings):
        columns.append(_own(UNMAPPED, "unmapped", found))
    return tuple(columns)


def is_selected(name: str, config: ElasticsearchSource) -> bool:
    """Whether the config reads the field."""
    if config.include_columns:
        return name in config.include_columns
    return name not in config.exclude_columns


def _fields(
    properties: Mapping[str, Any], above: tuple[str, ...], config: ElasticsearchSource
) -> Iterator[DocumentColumn]:
    for key, spec in properties.items():
        path = (*above, key)
        name = ".".join(path)
        if spec.get("type") == "alias" or not _is_text(key):
            continue
        if not _is_object(spec):
            yield _column(path, spec, config)
        elif config.objects == "flatten" and name not in config.json_fields and _parts(spec):
            yield from _fields(_parts(spec), path, config)
        else:
            yield DocumentColumn(name, pa.string(), path, "json", _mapped(spec))
            inside = [named for named in _named(config) if named.startswith(f"{name}.")]
            if inside:
                flat = config.model_copy(update={"objects": "flatten"})
                for column in _fields(_parts(spec), path, flat):
                    if column.name in inside:
                        yield column


def _named(config: ElasticsearchSource) -> set[str]:
    """Names that may point into an object that is otherwise one column."""
    change_field = (config.change_field,) if config.change_field else ()
    named = (config.query_field, *change_field, *config.required_fields, *config.include_columns)
    return set(named)


def _is_object(spec: Mapping[str, Any]) -> bool:
    return spec.get("type", "object") in ("object", "passthrough")


def _is_text(key: str) -> bool:
    """Keys with half a surrogate pair name no column; documents with them have no row."""
    return not any(0xD800 <= ord(sign) <= 0xDFFF for sign in key)


def _parts(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mapped fields of an object; none if the server does not look into it."""
    parts: Mapping[str, Any] = spec.get("properties", {}) if _is_enabled(spec) else {}
    return parts


def _is_enabled(spec: Mapping[str, Any]) -> bool:
    return str(spec.get("enabled", True)).lower() != "false"


def _mapped(spec: Mapping[str, Any]) -> str:
    return str(spec.get("type", "object"))


def _column(
    path: tuple[str, ...], spec: Mapping[str, Any], config: ElasticsearchSource
) -> DocumentColumn:
    name, mapped = ".".join(path), _mapped(spec)
    rule = "json" if name in config.json_fields else _RULES.get(mapped, "json")
    if rule != "date":
        return DocumentColumn(name, _ARROW[rule], path, rule, mapped)
    nanoseconds = mapped == "date_nanos" or name in config.nanosecond_fields
    kind = _NANOSECONDS if nanoseconds else _ARROW["date"]
    text = spec.get("format", _DATES[mapped])
    try:
        formats = DateFormats(text, spec.get("locale"))
    except UnsupportedPattern:
        if is_selected(name, config):
            raise ConfigurationError(
                f"The date field {name!r} has the format {text!r}, which cannot be read exactly.",
                hint=_WAYS_OUT,
            ) from None
        formats = DateFormats(_DATES[mapped])
    return DocumentColumn(name, kind, path, rule, mapped, formats)


def _merged(by_index: Mapping[str, DocumentColumn], config: ElasticsearchSource) -> DocumentColumn:
    merged: DocumentColumn | None = None
    for column in by_index.values():
        both = column if merged is None else _common(merged, column)
        if both is None:
            if is_selected(column.name, config):
                raise _conflict(by_index)
            return column
        merged = both
    assert merged is not None
    return merged


def _common(one: DocumentColumn, other: DocumentColumn) -> DocumentColumn | None:
    """The column that holds every value of both exactly; None if there is none."""
    if one.rule == other.rule:
        if one.formats and other.formats and one.formats.meaning != other.formats.meaning:
            return None
        if one.rule == "integer" and other.mapped == "long":
            return other
        return other if other.type == _NANOSECONDS else one
    narrow, wide = sorted((one, other), key=lambda column: _NUMBERS.get(column.rule, 0))
    to_unsigned = (narrow.rule, wide.rule) == ("integer", "unsigned")
    to_float = narrow.mapped in _SMALL_INTEGERS and wide.rule == "float"
    return wide if to_unsigned or to_float else None


def _conflict(by_index: Mapping[str, DocumentColumn]) -> ConfigurationError:
    kinds: dict[str, list[str]] = {}
    for index, column in by_index.items():
        formats = f" with format {column.formats.text}" if column.formats else ""
        kinds.setdefault(column.mapped + formats, []).append(index)
    listed = "; ".join(f"{kind} in {_some(indices)}" for kind, indices in kinds.items())
    name = next(iter(by_index.values())).name
    return ConfigurationError(
        f"The field {name!r} is {listed}; no column holds all of that exactly.", hint=_WAYS_OUT
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def _require_source(index: str, mapping: Mapping[str, Any]) -> None:
    source = mapping.get("_source", {})
    if not _is_enabled(source) or source.get("mode") == "disabled":
        raise ConfigurationError(
            f"The index {index!r} does not keep _source, which documents are read from.",
            hint="Name other indices in source_system.index.",
        )


def _require_known(
    found: Mapping[str, Mapping[str, DocumentColumn]], config: ElasticsearchSource
) -> None:
    for key in ("json_fields", "nanosecond_fields"):
        for name in getattr(config, key):
            columns = found.get(name, {}).values()
            if not columns:
                problem = "does not exist"
            elif key == "nanosecond_fields" and all(c.rule != "date" for c in columns):
                problem = "is not a date"
            else:
                continue
            raise ConfigurationError(
                f"{key}: {name!r} {problem}.", hint=f"Correct source_system.{key}."
            )


def _own(
    name: str, rule: Rule, found: Mapping[str, Mapping[str, DocumentColumn]]
) -> DocumentColumn:
    if name in found:
        key = "id_column" if rule == "id" else "unmapped_fields"
        raise ConfigurationError(
            f"The documents have a field {name!r}, which source_system.{key} adds as a column.",
            hint="Choose another id_column." if rule == "id" else "Set it to reject or drop.",
        )
    return DocumentColumn(name, _ARROW[rule], (name,), rule, "")


def _is_open(mapping: Mapping[str, Any], config: ElasticsearchSource) -> bool:
    """Whether documents may hold fields that the mapping does not get."""

    def within(spec: Mapping[str, Any], inherited: str, above: str) -> bool:
        dynamic = str(spec.get("dynamic", inherited)).lower()
        if dynamic in ("false", "runtime"):
            return True
        if config.objects == "json":
            return False
        return any(
            within(part, dynamic, f"{above}{key}.")
            for key, part in _parts(spec).items()
            if _is_object(part) and _parts(part) and f"{above}{key}" not in config.json_fields
        )

    return within(mapping, "true", "")
