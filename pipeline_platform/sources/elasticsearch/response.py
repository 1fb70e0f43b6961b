"""What Elasticsearch answers, decoded without Python objects for the documents themselves."""

import msgspec


class Hit(msgspec.Struct, frozen=True, gc=False):
    """One document; `source` is its JSON text as stored, a view into the response's bytes.

    `sort` is the JSON text of the values it was sorted by.
    """

    id: str = msgspec.field(name="_id", default="")
    index: str = msgspec.field(name="_index", default="")
    sort: msgspec.Raw = msgspec.field(default=msgspec.Raw())
    source: msgspec.Raw = msgspec.field(name="_source", default=msgspec.Raw())
    ignored: tuple[str, ...] = msgspec.field(name="_ignored", default=())


class Total(msgspec.Struct, frozen=True):
    """Number of matching documents; `eq`: exactly, `gte`: at least."""

    value: int
    relation: str


class Hits(msgspec.Struct, frozen=True):
    """The documents of one page, and their total where it was asked for."""

    hits: list[Hit] = []
    total: Total | None = None


class Shards(msgspec.Struct, frozen=True):
    """How many shards were asked, and how many answered."""

    total: int
    successful: int
    failed: int


class Clusters(msgspec.Struct, frozen=True):
    """The same of the clusters of a search across clusters."""

    total: int
    successful: int


class SearchResponse(msgspec.Struct, frozen=True):
    """One page. A field without a default must be there, so a cut response is an error."""

    timed_out: bool
    shards: Shards = msgspec.field(name="_shards")
    hits: Hits = Hits()
    pit_id: str = ""
    took: int = 0
    terminated_early: bool = False
    clusters: Clusters | None = msgspec.field(name="_clusters", default=None)


SEARCH_RESPONSE = msgspec.json.Decoder(SearchResponse)
