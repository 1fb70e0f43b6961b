"""An Elasticsearch cluster, and documents of it as a source."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from pipeline_platform.config.connections import Section
from pipeline_platform.config.fields import Duration, Identifier, Url, refused
from pipeline_platform.config.hashing import NOT_HASHED
from pipeline_platform.config.secrets import OptionalSecret
from pipeline_platform.config.system_fields import SourceFields

_TEXT_OR_LIST = WithJsonSchema(
    {"type": ["string", "array"], "items": {"type": "string"}, "minLength": 1}
)
_CREDENTIALS = ("user", "api_key", "bearer_token")


def _several(value: Any) -> Any:
    """One name, names with commas, or a list of names."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _not_empty(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise refused("must name at least one")
    return names


def _no_way_up(name: str) -> str:
    if name in (".", ".."):
        raise refused("is a step in a path, not the name of an index")
    return name


IndexName = Annotated[
    str,
    Field(min_length=1, max_length=255, pattern=r"^[^\x00\s,/?#]+$"),
    AfterValidator(_no_way_up),
]


class ElasticsearchConnection(Section):
    """An Elasticsearch cluster, versions 8 and 9."""

    hosts: Annotated[tuple[Url, ...], BeforeValidator(_several), _TEXT_OR_LIST] = Field(
        (),
        description="URLs of nodes that answer searches, with port. Plain http is accepted for "
        "localhost only.",
        examples=[["https://search.example.com:9200"]],
    )
    cloud_id: str | None = Field(
        None, description="Cloud id of a hosted deployment, instead of hosts.", max_length=1024
    )
    user: Annotated[Identifier | None, NOT_HASHED] = Field(
        None, description="User for basic login, with password.", examples=["reader"]
    )
    password: Annotated[OptionalSecret, NOT_HASHED] = Field(
        None, description="Reference to the user's password.", examples=["env:SEARCH_PASSWORD"]
    )
    api_key: Annotated[OptionalSecret, NOT_HASHED] = Field(
        None,
        description="Reference to an API key in its encoded form, instead of user and password.",
        examples=["env:SEARCH_API_KEY"],
    )
    bearer_token: Annotated[OptionalSecret, NOT_HASHED] = Field(
        None, description="Reference to a bearer token, instead of user and password."
    )
    ca_certs: Annotated[str | None, NOT_HASHED] = Field(
        None,
        description="File with the certificate authority to trust; default: the system's.",
        examples=["certs/search-ca.pem"],
    )
    ca_fingerprint: Annotated[str | None, NOT_HASHED] = Field(
        None,
        pattern=r"^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$",
        description="SHA-256 fingerprint of the server's certificate or its authority, which then "
        "is the only one trusted.",
    )
    request_timeout_seconds: Annotated[float, NOT_HASHED] = Field(
        120.0,
        gt=0,
        description="Seconds to wait for a connection, and for each part of an answer.",
    )
    busy_timeout_seconds: Annotated[float, NOT_HASHED] = Field(
        300.0,
        ge=0,
        description="Seconds to go on trying, with growing pauses and smaller pages, while the "
        "cluster says that it is too busy (429, 503, circuit breaker).",
    )
    compress: Annotated[bool, NOT_HASHED] = Field(
        False,
        description="Have responses compressed: a gain on links below about 50 MB/s, a loss on "
        "faster ones.",
    )

    @property
    def unverified(self) -> str | None:
        """Hosts that are asked by plain http."""
        plain = [url for url in self.hosts if url.startswith("http:")]
        return f"plain http: {', '.join(plain)}" if plain else None

    @field_validator("cloud_id")
    @classmethod
    def _hosts_or_cloud(cls, cloud_id: str | None, info: ValidationInfo) -> str | None:
        if cloud_id is not None and info.data.get("hosts"):
            raise refused("cannot stand beside hosts; use one of them")
        return cloud_id

    @model_validator(mode="after")
    def _one_place_one_login(self) -> Self:
        if not (self.hosts or self.cloud_id):
            raise refused("nothing says where the cluster is: set hosts, or cloud_id")
        if sum(getattr(self, name) is not None for name in _CREDENTIALS) > 1:
            raise refused("more than one login: use user with password, api_key, or bearer_token")
        if (self.user is None) != (self.password is None):
            raise refused("user and password go together")
        return self


class ElasticsearchSource(SourceFields, ElasticsearchConnection):
    """Documents of Elasticsearch indices, aliases, data streams or patterns."""

    type: Literal["elasticsearch"] = Field(description="Connector.")
    index: Annotated[
        tuple[IndexName, ...], BeforeValidator(_several), AfterValidator(_not_empty), _TEXT_OR_LIST
    ] = Field(
        description="Index, alias, data stream or pattern; several as a list.",
        examples=["orders-*", ["orders-2025", "orders-2026"]],
    )
    query: dict[str, Any] | None = Field(
        None,
        description="Query in Elasticsearch's own language that documents must match beside the "
        "window; it does not change the score or the order.",
        examples=[{"term": {"country": "de"}}],
    )
    id_column: Identifier | None = Field(
        None, description="Column for the document's _id; default: it is not read."
    )
    objects: Literal["json", "flatten"] = Field(
        "json",
        description="Objects in documents: one column of JSON text each, or one column per field "
        "in them. Nested fields (arrays of objects) are JSON text in both.",
    )
    json_fields: tuple[Identifier, ...] = Field(
        (),
        description="Fields staged as JSON text, exactly as the document has them, whatever their "
        "mapping says: fields that hold lists, or values of several types.",
        examples=[["tags"]],
    )
    nanosecond_fields: tuple[Identifier, ...] = Field(
        (),
        description="Date fields staged with nanoseconds instead of microseconds; years 1678 to "
        "2262 only. Documents with more digits than are staged are rejected.",
    )
    unmapped_fields: Literal["column", "reject", "drop"] = Field(
        "column",
        description="Fields of documents that the mapping does not have. column: an object of JSON "
        "text in the column unmapped_fields, if the mapping lets such fields in (dynamic false or "
        "runtime); reject: the document is rejected; drop: they are not read.",
    )
    slices: Annotated[int | None, NOT_HASHED] = Field(
        None,
        ge=1,
        le=64,
        description="Parallel readers of one window; default: as many as the indices have primary "
        "shards, at most one per core.",
    )
    trim_responses: bool = Field(
        False,
        description="Have the server cut documents to include_columns and exclude_columns. Fewer "
        "bytes, but more work for the server, which also writes numbers with a fraction anew: in "
        "text fields and objects 1.10 becomes 1.1. Not done for include_columns where documents "
        "with unmapped fields are to be rejected.",
    )
    page_bytes: Annotated[int, NOT_HASHED] = Field(
        8 << 20,
        ge=64 << 10,
        le=90 << 20,
        description="Bytes that one response should have; the number of documents per page "
        "follows. Bounds memory together with slices.",
    )
    keep_alive: Annotated[Duration, NOT_HASHED] = Field(
        "5m", description="How long the server keeps the window's point in time between two pages."
    )
