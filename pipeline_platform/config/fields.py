"""Types of config fields that several sections share, each checked where it stands.

Messages never repeat the refused text: somebody may have pasted a secret into the wrong place.
"""

import difflib
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipeline_platform.config.cron import check_cron
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.moment import parse_time_to_seconds

NOT_YET = "not_supported_yet"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

# The pattern that Dagster demands of an asset's owner.
_EMAIL = r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}$"
_BUCKET_PLACE = r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()=-]+)*/?"
_DURATION = r"^([0-9]+d ?)?([0-9]+h ?)?([0-9]+m ?)?([0-9]+s)?$"


def refused(problem: str, kind: str = "refused") -> PydanticCustomError:
    """An error whose text is exactly `problem`."""
    return PydanticCustomError(kind, "{problem}", {"problem": problem})


def not_yet(what: str) -> PydanticCustomError:
    """For a setting whose behaviour comes later: refused, never accepted in silence."""
    return refused(f"{what} is not supported yet; leave it out", NOT_YET)


@lru_cache(maxsize=1)
def known_zones() -> dict[str, str]:
    """IANA zones by their name in lower case."""
    return {name.lower(): name for name in sorted(available_timezones())}


def _zone(value: str) -> str:
    zones = known_zones()
    if zones.get(value.lower()) == value:
        return value
    near = [value.lower()] if value.lower() in zones else []
    near = near or difflib.get_close_matches(value.lower(), zones, n=1)
    meant = f"did you mean {zones[near[0]]}" if near else "use an IANA name"
    raise refused(f"unknown time zone, {meant}")


def _duration(least: int) -> Callable[[str], str]:
    def check(value: str) -> str:
        try:
            seconds = parse_time_to_seconds(value)
        except ConfigurationError:
            raise refused(
                "is not a duration: write days, hours, minutes and seconds in this order"
            ) from None
        if seconds < least:
            raise refused("must be longer than 0s")
        return value

    return check


def _cron(value: str) -> str:
    try:
        return check_cron(value)
    except ConfigurationError as error:
        raise refused(str(error)) from None


def _day(value: Any) -> Any:
    # A number would be taken for seconds since 1970.
    if isinstance(value, date) or (
        isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value)
    ):
        return value
    raise refused("must be a day, written YYYY-MM-DD")


def _within_reach(value: date) -> date:
    if not 1900 <= value.year < 2200:
        raise refused("must lie between 1900-01-01 and 2199-12-31")
    return value


def _local_path(value: str) -> str:
    if "://" in value or value.startswith(("md:", ":memory:")):
        raise refused("must be a path on this machine; other places are not supported yet", NOT_YET)
    if value.startswith("~"):
        raise refused("must be a path without ~, which is not expanded")
    return value


def _archive_location(value: str) -> str:
    if not value.startswith("s3://"):
        return _local_path(value)
    if not re.fullmatch(_BUCKET_PLACE, value) or {".", ".."} & set(value.split("/")):
        raise refused("must be s3://bucket/prefix")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise refused("is not a URL, e.g. https://search.example.com:9200") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise refused("must be a URL with scheme, host and port, https://search.example.com:9200")
    if parts.username is not None or parts.password is not None:
        raise refused("must not hold credentials; use user and password, or api_key")
    if parts.query or parts.fragment:
        raise refused("must end with host, port and path")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise refused("http does not verify the server and is accepted for localhost only")
    default = 443 if parts.scheme == "https" else 80
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port or default}{parts.path.rstrip('/')}"


Identifier = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]
Url = Annotated[str, Field(min_length=1, max_length=2048), BeforeValidator(_url)]
LocalPath = Annotated[
    str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$"), AfterValidator(_local_path)
]
ArchiveLocation = Annotated[
    str,
    Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$"),
    AfterValidator(_archive_location),
]
TimeZone = Annotated[str, AfterValidator(_zone)]
Email = Annotated[str, Field(pattern=_EMAIL)]
Cron = Annotated[str, AfterValidator(_cron)]
Day = Annotated[
    date,
    BeforeValidator(_day),
    AfterValidator(_within_reach),
    WithJsonSchema({"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
]
Duration = Annotated[
    str, AfterValidator(_duration(1)), WithJsonSchema({"type": "string", "pattern": _DURATION})
]
DurationOrZero = Annotated[
    str, AfterValidator(_duration(0)), WithJsonSchema({"type": "string", "pattern": _DURATION})
]
Percent = Annotated[
    Decimal,
    Field(ge=0, le=100, decimal_places=4),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100}),
]
