"""Elasticsearch, S3 and Snowflake sections: what is accepted, and each refusal at its field."""

from typing import Any

import pytest

from pipeline_platform.config.elasticsearch import ElasticsearchSource
from pipeline_platform.config.load import parse_config
from pipeline_platform.config.problems import ConfigFileError
from pipeline_platform.config.s3 import S3Stage
from pipeline_platform.config.snowflake import SnowflakeTarget
from pipeline_platform_tests.config.examples import values

ELASTICSEARCH = {
    "type": "elasticsearch",
    "hosts": "https://one.example.com:9200, https://two.example.com",
    "index": "orders-*",
    "query_field": "created_at",
}
S3 = {"type": "s3", "bucket": "acme-stage", "prefix": "pipelines/stage"}
SNOWFLAKE = {
    "type": "snowflake",
    "account": "acme-analytics",
    "user": "PIPELINE",
    "private_key_path": "secrets/key.p8",
    "database": "analytics",
    "schema": "shop",
    "table": "orders",
}
SECTIONS = {"source_system": ELASTICSEARCH, "stage_system": S3, "target_system": SNOWFLAKE}
FINGERPRINT = ":".join(["AB"] * 32)


def parsed(section: str, **changes: Any) -> Any:
    system = {k: v for k, v in (SECTIONS[section] | changes).items() if v is not None}
    return getattr(parse_config(values(**{section: system})).config, section)


def refused(section: str, **changes: Any) -> list[tuple[str, str]]:
    system = {k: v for k, v in (SECTIONS[section] | changes).items() if v is not None}
    with pytest.raises(ConfigFileError) as caught:
        parse_config(values(**{section: system}))
    return [(one.field, one.problem) for one in caught.value.problems]


def test_the_flagship_stack_is_a_config() -> None:
    source = parsed("source_system")
    assert isinstance(source, ElasticsearchSource)
    assert source.hosts == ("https://one.example.com:9200", "https://two.example.com:443")
    assert source.index == ("orders-*",)
    assert isinstance(parsed("stage_system"), S3Stage)
    assert isinstance(parsed("target_system"), SnowflakeTarget)


@pytest.mark.parametrize(
    ("section", "changes", "field", "says"),
    [
        ("source_system", {"hosts": None}, "", "set hosts, or cloud_id"),
        ("source_system", {"cloud_id": "a:b"}, ".cloud_id", "cannot stand beside hosts"),
        ("source_system", {"hosts": "ftp://es:9200"}, ".hosts.0", "must be a URL"),
        ("source_system", {"hosts": "http://es.example.com:9200"}, ".hosts.0", "localhost only"),
        ("source_system", {"hosts": "https://u:p@es:9200"}, ".hosts.0", "not hold credentials"),
        ("source_system", {"hosts": "https://es:x"}, ".hosts.0", "is not a URL"),
        ("source_system", {"hosts": "https://es:9200/?a=b"}, ".hosts.0", "host, port and path"),
        ("source_system", {"user": "reader"}, "", "user and password go together"),
        ("source_system", {"api_key": "env:A", "bearer_token": "env:B"}, "", "more than one login"),
        ("source_system", {"api_key": "c2VjcmV0"}, ".api_key", "not a literal value"),
        ("source_system", {"ca_fingerprint": "AB:CD"}, ".ca_fingerprint", ""),
        ("source_system", {"index": []}, ".index", ""),
        ("source_system", {"index": "a/_search"}, ".index.0", ""),
        ("stage_system", {"bucket": "A"}, ".bucket", ""),
        ("stage_system", {"prefix": "../other"}, ".prefix", "lead elsewhere"),
        ("stage_system", {"prefix": "a//b"}, ".prefix", ""),
        ("stage_system", {"endpoint_url": "http://s3.example.com"}, ".endpoint_url", "localhost"),
        ("stage_system", {"secret_access_key": "env:A"}, ".secret_access_key", "access_key_id"),
        ("stage_system", {"kms_key_id": "abc"}, ".kms_key_id", "aws:kms"),
        ("target_system", {"private_key": "env:K"}, ".private_key_path", "beside private_key"),
        ("target_system", {"password": "env:P"}, ".password", "beside a private key"),
        ("target_system", {"protocol": "http"}, ".protocol", "localhost only"),
        ("target_system", {"protocol": "http", "host": "sf.example.com"}, ".protocol", "localhost"),
        ("target_system", {"account": "https://acme"}, ".account", ""),
        (
            "target_system",
            {"private_key_path": None, "private_key_passphrase": "env:P"},
            ".private_key_passphrase",
            "beside it",
        ),
    ],
)
def test_refusals_stand_at_their_field(
    section: str, changes: dict[str, Any], field: str, says: str
) -> None:
    ((at, problem),) = refused(section, **changes)
    assert at == section + field
    assert says in problem
    assert "u:p" not in problem
    assert "c2VjcmV0" not in problem


def test_what_a_test_server_needs_is_accepted_on_loopback() -> None:
    assert parsed("source_system", hosts="http://127.0.0.1:9200", ca_fingerprint=FINGERPRINT)
    assert parsed("source_system", hosts="http://[::1]:9200").hosts == ("http://[::1]:9200",)
    assert parsed("source_system", hosts=None, cloud_id="deployment:abc", api_key="env:KEY")
    stage = parsed(
        "stage_system", endpoint_url="http://localhost:7070", path_style=True, prefix=None
    )
    assert stage.prefix == ""
    assert parsed("target_system", host="127.0.0.1", port=8080, protocol="http")
