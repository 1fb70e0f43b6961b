"""Paths and URLs lead where the config says, or are refused (goals S1, S2)."""

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from snowflake.connector.util_text import construct_hostname

from pipeline_platform.config.elasticsearch import ElasticsearchConnection, IndexName
from pipeline_platform.config.fields import LOOPBACK, ArchiveLocation, Url
from pipeline_platform.config.load import parse_config
from pipeline_platform.config.problems import ConfigFileError
from pipeline_platform.config.s3 import S3Stage
from pipeline_platform.config.snowflake import SnowflakeConnection
from pipeline_platform.connections.elasticsearch import connect_elasticsearch
from pipeline_platform.connections.s3 import S3Bucket
from pipeline_platform.connections.snowflake import snowflake_resource
from pipeline_platform.errors import ConfigurationError, PipelineError
from pipeline_platform.movement import AttemptPath, WindowSlice
from pipeline_platform.sources.elasticsearch.pages import path_of
from pipeline_platform.stages.attempt import attempt_folder
from pipeline_platform.stages.local_storage import LocalStorage
from pipeline_platform.stages.s3_storage import S3Storage
from pipeline_platform.window import WindowPlan
from pipeline_platform_tests.config.examples import values
from pipeline_platform_tests.security.hostile import HOSTILE, LONG, NAMES
from pipeline_platform_tests.servers.http_proxy import HttpProxy

TEXTS = NAMES | st.sampled_from(LONG) | st.text(st.sampled_from("./\\:%@#?a-\n\0 ~*"), max_size=12)
PLAIN = {"select", "null", "x" * 63}
START = datetime(2024, 3, 10, tzinfo=timezone.utc)
ELSEWHERE = (
    "evil.example/x", "evil.example#", "evil.example?x=", "a@evil.example", "evil.example:443",
    "evil.example:443/", "evil.example\\", "acme\n", "\nacme", "acme.", ".acme", "acme%2fevil",
    "acmé", "evil.example;", "evil.example,acme", "[::1]", "acme evil", "acme\tevil", "http://e",
    "//evil.example", "acme\0", "",
)  # fmt: skip


def accepted(kind: Any, text: str) -> Any | None:
    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError:
        return None


# Paths and keys of the stage


@given(TEXTS)
@example("a/../../b")
@example("..\\..\\b")
@example("a/./b")
def test_a_path_stays_below_the_root_or_is_refused(path: str) -> None:
    root = Path("/srv/stage")
    bucket = S3Bucket(S3Stage(type="s3", bucket="acme-stage"), Path())
    for storage, prefix in (
        (LocalStorage(root), "/srv/stage/"),
        (S3Storage(bucket, "deep/er"), "s3://acme-stage/deep/er/"),
    ):
        try:
            location = storage.location(path)
        except (ConfigurationError, OSError):
            continue
        assert location == prefix + path
        assert not {".", "..", ""} & set(path.split("/"))
        assert storage.path(location) == path


@given(TEXTS)
def test_a_pipeline_s_name_is_one_folder_or_refused(name: str) -> None:
    attempt = AttemptPath(WindowSlice(name, START, START), 1)
    try:
        folder = attempt_folder(attempt)
    except ConfigurationError:
        return
    assert folder.split("/") == [name, "20240310T000000Z", "run1"]
    assert name not in (".", "..")


@pytest.mark.parametrize("name", sorted({*HOSTILE, *LONG, "Orders", "orders\n"} - PLAIN))
def test_a_config_takes_no_hostile_pipeline_name(name: str) -> None:
    with pytest.raises(ConfigFileError):
        parse_config(values(pipeline_metadata={"pipeline_name": name}))


@given(TEXTS)
@example("a/../b")
def test_a_prefix_leads_nowhere_else(prefix: str) -> None:
    try:
        stage = S3Stage(type="s3", bucket="acme-stage", prefix=prefix)
    except ValidationError:
        return
    storage = S3Storage(S3Bucket(stage, Path()), stage.prefix)
    folder = stage.prefix.strip("/")
    assert storage.location("a") == "/".join(["s3://acme-stage", *filter(None, [folder]), "a"])
    assert not {".", ".."} & set(folder.split("/"))


@given(TEXTS.map(lambda text: f"s3://acme-archive/{text}"))
@example("s3://acme-archive/../other")
@example("s3://acme-archive/..")
def test_an_archive_in_a_bucket_leads_nowhere_else(location: str) -> None:
    found = accepted(ArchiveLocation, location)
    assert found in (None, location)
    if found is not None:
        assert urlsplit(found)[:2] == ("s3", "acme-archive")
        assert not {".", ".."} & set(found.split("/"))


# URLs


@given(
    st.one_of(
        TEXTS,
        st.builds("{}://{}".format, st.sampled_from(["http", "https", "HTTPS", "file"]), TEXTS),
        st.sampled_from(ELSEWHERE).map(lambda text: f"https://search.example.com{text}"),
        st.sampled_from(ELSEWHERE).map(lambda text: f"http://localhost{text}"),
    )
)
@example("https://search.example.com\\@evil.example")
@example("http://localhost@evil.example")
@example("http://127.0.0.1.evil.example")
@example("http://localhost#@evil.example")
def test_a_url_names_one_host_without_credentials(url: str) -> None:
    found = accepted(Url, url)
    if found is None:
        return
    parts = urlsplit(found)
    assert parts.scheme in ("http", "https")
    assert parts.hostname
    assert parts.port
    assert (parts.username, parts.password, parts.query, parts.fragment) == (None, None, "", "")
    assert parts.scheme == "https" or parts.hostname in LOOPBACK
    assert accepted(Url, found) == found
    client_s = ElasticsearchConnection(hosts=[found])
    assert client_s.hosts == (found,)


@given(TEXTS)
@example("..")
@example("a%2f..%2f_security")
def test_an_index_is_one_step_of_the_path_or_refused(name: str) -> None:
    found = accepted(IndexName, name)
    if found is not None:
        path = path_of([found])
        assert path
        assert not set("/?#\\ \n%") & set(path.replace("%", "", path.count("%")))
        assert path not in (".", "..")
        assert unquote(path) == name


@pytest.mark.parametrize("name", ["..%2f_cluster%2fsettings", "<x>", "a%", '"x"', "größe", "a\\b"])
def test_what_the_server_is_asked_for(elasticsearch_proxy: HttpProxy, name: str) -> None:
    """The index stays one step on the wire too."""
    connection = ElasticsearchConnection(hosts=[elasticsearch_proxy.url])
    with (
        connect_elasticsearch(connection, Path(), application_name="tests") as client,
        pytest.raises(PipelineError),
    ):
        client.ask_json("POST", f"/{path_of([name])}/_pit", params={"keep_alive": "1s"})
    paths = [request.path.partition("?")[0] for request in elasticsearch_proxy.requests]
    assert paths
    assert all(path.split("/")[2:] == ["_pit"] for path in paths)


# Hosts that secrets are sent to


def snowflake(**settings: Any) -> SnowflakeConnection:
    return SnowflakeConnection(**{"user": "U", "database": "D", **settings})


@pytest.mark.parametrize("account", ELSEWHERE)
def test_an_account_that_steers_elsewhere_is_refused(account: str) -> None:
    with pytest.raises(ValidationError):
        snowflake(account=account)


@given(st.from_regex(r"[A-Za-z0-9_.:/@#?%\\-]{1,40}", fullmatch=True) | TEXTS)
@example("evil.example.com")
@example("acme.cn-north-1")
@example("acme.snowflakecomputing.com.evil.example")
def test_a_login_goes_to_snowflake_or_is_refused(account: str) -> None:
    try:
        connection = snowflake(account=account)
    except ValidationError:
        return
    host = construct_hostname(None, connection.account)
    assert host.endswith((".snowflakecomputing.com", ".snowflakecomputing.cn"))
    url = urlsplit(f"https://{host}:443/session/v1/login-request")
    assert url.hostname == host.lower()
    assert (url.username, url.password) == (None, None)


def test_the_driver_is_given_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s")
    given_ = snowflake(account="evil.example.com", password="env:SECRET")
    arguments = snowflake_resource(given_, Path())._connection_args
    assert not {"host", "region", "proxy_host", "protocol_host"} & set(arguments)
    assert arguments["protocol"] == "https"


@pytest.mark.parametrize("text", [text for text in ELSEWHERE if text != "evil.example:443"])
@pytest.mark.parametrize(
    "make",
    [
        lambda host: snowflake(account="acme", host=host),
        lambda host: parse_config(values(source_system={
            "type": "postgres", "host": host, "database": "d", "user": "u", "table": "t",
            "query_field": "at"})),
    ],
    ids=["snowflake", "postgres"],
)  # fmt: skip
def test_a_host_is_a_host(make: Callable[[str], object], text: str) -> None:
    if text in ("acme.", ".acme"):
        return  # a rooted name; it is no other host
    with pytest.raises((ValidationError, ConfigFileError)):
        make(text)


# Keys of partitions, which anybody may type into the UI


@given(TEXTS | st.dates().map(str) | st.datetimes().map(str))
@example("2024-03-10'; DROP TABLE x; --")
@example("2024-03-10-00:00")
@example("../2024-03-10")
@example("2024-03-1\N{ARABIC-INDIC DIGIT ZERO}")
def test_a_key_is_one_of_the_plan_s_or_refused(key: str) -> None:
    plan = WindowPlan("1d", "UTC", START.date())
    try:
        window = plan.window_of_key(key)
    except ConfigurationError:
        return
    assert window.key == key
    assert window.start.strftime("%Y-%m-%d") == key
