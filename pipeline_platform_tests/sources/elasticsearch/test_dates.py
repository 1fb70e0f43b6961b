"""Date formats, held against what Elasticsearch itself makes of the same texts."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline_platform.sources.elasticsearch.date_patterns import UnsupportedPattern
from pipeline_platform.sources.elasticsearch.dates import DateFormats
from pipeline_platform_tests.servers.elasticsearch import ElasticsearchServer

FORMATS = [
    "strict_date_optional_time||epoch_millis", "epoch_millis||strict_date_optional_time",
    "date_optional_time||epoch_millis", "strict_date_optional_time_nanos", "iso8601||epoch_second",
    "epoch_millis", "epoch_second", "strict_year||epoch_millis", "yyyy||epoch_millis",
    "strict_date", "strict_date_time", "strict_year_month", "date_hour_minute_second_fraction",
    "strict_date_hour_minute_second", "date_hour_minute", "strict_ordinal_date",
    "basic_date", "basic_date_time", "basic_date_time_no_millis", "yyyyMMdd||epoch_millis",
    "yyyy-MM-dd HH:mm:ss", "yyyy-MM-dd HH:mm:ss[.SSSSSS]||yyyy-MM-dd HH:mm:ss.S",
    "yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "uuuu-MM-dd'T'HH:mm:ssX", "yyyy-MM-dd'T'HH:mm:ss'Z'",
    "dd/MM/yyyy", "d/M/yyyy", "yyyy", "yyyy-DDD", "HH:mm", "hh:mm a dd.MM.yy",
    "MM/dd/yyyy h:mm:ss a", "dd/MMM/yyyy:HH:mm:ss Z", "EEE MMM dd HH:mm:ss yyyy",
    "EEEE, d MMMM yyyy", "'day' dd 'of' MM''yyyy",
]  # fmt: skip
VALUES: list[Any] = [
    "2025", "2025-03", "2025-03-04", "2025-03-04T05", "2025-03-04T05:06", "2025-03-04T05:06:07",
    "2025-03-04T05:06:07.8", "2025-03-04T05:06:07.123", "2025-03-04T05:06:07.123456789Z",
    "2025-03-04T05:06:07,5Z", "2025-03-04T05:06:07Z", "2025-03-04T05:06:07+02:00",
    "2025-03-04T05:06:07-0930", "2025-03-04T05:06:07+02", "2025-03-04T05:06:07.123+01:00",
    "2025-03-04T05:06:07.123456", "2025-03-04 05:06:07", "2025-03-04 05:06:07.5",
    "2025-03-04 05:06:07.123456", "2025-3-4", "04/03/2025", "4/3/2025", "29/02/2024", "20250304",
    "20250304T050607.123Z", "20250304T050607+0100", "04/Mar/2025:05:06:07 +0100", "2024-366",
    "2025-063", "05:06 PM 04.03.25", "12:06 AM 04.03.25", "12:06 PM 04.03.99", "05:06",
    "03/04/2025 1:02:03 PM", "Tue Mar 04 05:06:07 2025", "Tuesday, 4 March 2025",
    "Wednesday, 4 March 2025", "day 04 of 03'2025", "1969-12-31T23:59:59.999Z", "0001-01-01",
    "9999-12-31", "-1", "0", "7", "1999", "12345", "99999", "123456789", "1234567890",
    "1741064767000", "1741064767.5", "1741064767123.456", "-62135596800000", "-2025",
    "2025-03-04T24:00", "2025-03-04T05:06:60Z", "2025-03-04T", "tomorrow", "",
    2025, 7, 0, -1, 99999, 20250304, 123456789, 1741064767, 1741064767000, 1741064767.5,
    12345678901234,
]  # fmt: skip
YEARS = range(-62_135_596_800_000, 253_402_300_800_000)


@pytest.fixture(scope="module")
def understood(
    elasticsearch_server: ElasticsearchServer,
) -> Iterator[dict[tuple[str, int], int | None]]:
    """Milliseconds that the server has for a format and the place of a value; None: it refused."""
    fields = {
        f"f{number}": {"type": "date", "format": text, "ignore_malformed": True}
        for number, text in enumerate(FORMATS)
    }
    index = elasticsearch_server.new_index({"properties": fields})
    documents = [{"n": place, **dict.fromkeys(fields, value)} for place, value in enumerate(VALUES)]
    elasticsearch_server.add(index, documents)
    answer = elasticsearch_server.client().search(
        index=index,
        size=len(VALUES),
        source={"includes": ["n"]},
        docvalue_fields=[{"field": name, "format": "epoch_millis"} for name in fields],
    )
    found = {hit["_source"]["n"]: hit.get("fields", {}) for hit in answer["hits"]["hits"]}
    assert len(found) == len(VALUES)
    yield {
        (text, place): int(found[place][f"f{number}"][0]) if f"f{number}" in found[place] else None
        for number, text in enumerate(FORMATS)
        for place in range(len(VALUES))
    }
    elasticsearch_server.drop_indices()


@pytest.mark.parametrize("text", FORMATS)
def test_what_the_server_takes_is_the_same_instant_here(
    text: str, understood: dict[tuple[str, int], int | None]
) -> None:
    formats = DateFormats(text)
    taken = 0
    for place, value in enumerate(VALUES):
        theirs = understood[text, place]
        if theirs is None:
            continue
        ours = formats.nanoseconds(value if isinstance(value, str) else json.dumps(value))
        if theirs in YEARS:
            assert ours is not None, value
            assert ours // 1_000_000 == theirs, value
            taken += 1
        else:
            assert ours is None or abs(ours) > 10**21, value
    assert taken


def test_sub_milliseconds_are_kept() -> None:
    formats = DateFormats("strict_date_optional_time||epoch_millis")
    assert formats.nanoseconds("2025-03-04T05:06:07.123456789Z") == 1741064767123456789
    assert formats.nanoseconds("1741064767123.456789") == 1741064767123456789
    assert formats.nanoseconds("-0.000001") == -1
    assert formats.nanoseconds("0.0000001") is None
    assert DateFormats("epoch_second").nanoseconds("-1.000000001") == -1_000_000_001


@pytest.mark.parametrize("text", ["2025-13-01", "2025-02-29", "2025-00-10", "2025-01-00"])
def test_days_that_do_not_exist(text: str) -> None:
    """Some formats of the server roll them over to another day."""
    assert DateFormats("strict_date").nanoseconds(text) is None


@pytest.mark.parametrize(
    "text",
    ["week_date", "YYYY", "yyyy-ww", "HH:mm z", "dd 'open", "[yyyy", "hh:mm", "yyyy yyyy",
     "SSSSSSSSSS", "VV", "yyyy||nonsense"],
)  # fmt: skip
def test_unsupported(text: str) -> None:
    with pytest.raises(UnsupportedPattern):
        DateFormats(text)


def test_names_in_other_languages() -> None:
    DateFormats("d MMM yyyy", "en_GB")
    DateFormats("dd.MM.yyyy", "de")
    with pytest.raises(UnsupportedPattern):
        DateFormats("d MMM yyyy", "de")
