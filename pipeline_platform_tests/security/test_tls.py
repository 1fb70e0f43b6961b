"""TLS is verified unless a flag says otherwise, on this machine only, and the run says so (S4).

Elasticsearch with a wrong and a right authority: sources/elasticsearch/test_secured.py.
"""

from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from pipeline_platform.config.connections import PostgresConnection
from pipeline_platform.config.elasticsearch import ElasticsearchConnection
from pipeline_platform.config.load import parse_config
from pipeline_platform.config.s3 import S3Connection, S3Stage
from pipeline_platform.config.snowflake import SnowflakeConnection
from pipeline_platform.connections.elasticsearch import connect_elasticsearch
from pipeline_platform.connections.postgres import postgres_conninfo
from pipeline_platform.connections.s3 import S3Bucket
from pipeline_platform.connections.snowflake import snowflake_resource
from pipeline_platform.flow.source import unverified_connections
from pipeline_platform_tests.config.examples import POSTGRES, values
from pipeline_platform_tests.flow.conftest import KEY, World, make_world, world
from pipeline_platform_tests.pipelines import run_window
from pipeline_platform_tests.servers.certificate import certificate_for_loopback
from pipeline_platform_tests.servers.left_out import in_environment, or_left_out
from pipeline_platform_tests.servers.versitygw import VersityGateway
from pipeline_platform_tests.stages.buckets import stage_in

__all__ = ["make_world", "world"]

KINDS: dict[str, Any] = {
    "elasticsearch": ElasticsearchConnection,
    "postgres": PostgresConnection,
    "s3": S3Connection,
    "snowflake": SnowflakeConnection,
}
USUAL: dict[str, dict[str, Any]] = {
    "elasticsearch": {"hosts": "https://es.example.com"},
    "postgres": {"host": "db.example.com", "database": "d", "user": "u"},
    "s3": {"bucket": "acme-stage", "endpoint_url": "https://s3.example.com"},
    "snowflake": {"account": "acme", "user": "u", "database": "d", "password": "env:SECRET"},
}
# What takes TLS away, by the flag that each kind has for it.
WITHOUT: list[tuple[str, dict[str, Any]]] = [
    ("elasticsearch", {"hosts": "http://{host}:9200"}),
    ("postgres", {"host": "{host}", "sslmode": "require"}),
    ("postgres", {"host": "{host}", "sslmode": "disable"}),
    ("s3", {"endpoint_url": "http://{host}:7070"}),
    ("snowflake", {"host": "{host}", "protocol": "http"}),
]


def connection(kind: str, at: str = "", **changes: Any) -> Any:
    filled = {name: value.format(host=at) for name, value in changes.items()}
    return KINDS[kind](**{**USUAL[kind], **filled})


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_on_by_default(kind: str) -> None:
    assert connection(kind).unverified is None


@pytest.mark.parametrize(("kind", "flag"), WITHOUT)
@pytest.mark.parametrize("host", ["db.example.com", "10.0.0.7", "127.0.0.1.example.com"])
def test_no_flag_takes_it_away_from_another_machine(
    kind: str, flag: dict[str, Any], host: str
) -> None:
    with pytest.raises(ValidationError, match="localhost only"):
        connection(kind, host, **flag)


@pytest.mark.parametrize(("kind", "flag"), WITHOUT)
def test_on_this_machine_it_is_taken_away_and_told(kind: str, flag: dict[str, Any]) -> None:
    told = connection(kind, "127.0.0.1", **flag).unverified
    assert told is not None
    assert "127.0.0.1" in told


def test_no_setting_turns_the_verification_off() -> None:
    """None of the keys that clients have for it is a key here."""
    keys = {key for kind in KINDS.values() for key in kind.model_fields}
    assert not [key for key in keys if "verify" in key or "insecure" in key or "ocsp" in key]


def test_clients_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    here = Path()
    with connect_elasticsearch(
        connection("elasticsearch"), here, application_name="tests"
    ) as client:
        [node] = client._client.transport.node_pool.all()
        assert (node.config.scheme, node.config.verify_certs) == ("https", True)
        assert node.config.ssl_assert_hostname is None
    s3 = S3Bucket(S3Stage(type="s3", **USUAL["s3"]), here).client
    assert s3._endpoint.http_session._verify  # True, or the machine's authorities
    conninfo = conninfo_to_dict(
        postgres_conninfo(connection("postgres"), here, application_name="tests")
    )
    assert conninfo["sslmode"] == "verify-full"
    arguments = snowflake_resource(connection("snowflake"), here)._connection_args
    assert arguments["protocol"] == "https"
    assert not {"insecure_mode", "disable_ocsp_checks", "ocsp_fail_open"} & set(arguments)


def test_a_bucket_s_authority_has_to_be_the_right_one(tmp_path: Path) -> None:
    other = certificate_for_loopback(tmp_path)
    with or_left_out(VersityGateway(tls=True)) as server, in_environment(server.environment):
        bucket = server.new_bucket()
        for ca_certs in (None, str(other.ca_file)):
            [check] = stage_in(bucket, ca_certs=ca_certs, max_attempts=1).check()
            assert not check.passed
            assert "ca_certs" in f"{check.detail} {check.hint}"
        client = stage_in(bucket)._storage._bucket.client  # type: ignore[attr-defined]
        assert client.list_objects_v2(Bucket=bucket.name)["KeyCount"] == 0


def test_a_config_says_which_connections_are_bare() -> None:
    bare = {**POSTGRES, "host": "localhost", "sslmode": "disable"}
    found = unverified_connections(parse_config(values(source_system=bare)).config)
    assert [(check.name, check.passed) for check in found] == [("source TLS", True)]
    assert found[0].detail == "sslmode disable: the server at localhost is not verified"
    assert unverified_connections(parse_config(values(source_system=POSTGRES)).config) == []


@pytest.mark.parametrize("world", ["postgres"], indirect=True)
def test_the_run_shows_it(world: World) -> None:
    row = run_window(world.pipeline(), world.store, KEY)
    listed = row.phases["pre_validation"].phase_specific_details["validation_checks"]
    shown = {check["name"]: check for check in listed if check["name"].endswith("TLS")}
    assert set(shown) == {"source TLS", "target TLS"}
    assert "sslmode disable" in str(shown["target TLS"])
