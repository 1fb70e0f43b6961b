"""A canary in every credential: windows that succeed and that fail tell it to nobody."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline_platform.flow.assets import FORCE_TAG
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform_tests.flagship.canary import Canaries, chain_of
from pipeline_platform_tests.flagship.canary_places import Told
from pipeline_platform_tests.flagship.credentials import Credentials
from pipeline_platform_tests.flagship.outcomes import require_whole
from pipeline_platform_tests.flagship.stack import MAPPINGS, Stack, failure
from pipeline_platform_tests.pipelines import make_pipeline, run_window
from pipeline_platform_tests.servers.elasticsearch import SecuredElasticsearch


@pytest.fixture(scope="module")
def secured(stack: Stack, elasticsearch_secured: SecuredElasticsearch) -> Iterator[dict[str, Any]]:
    """A source that needs a login, which is left out."""
    server = elasticsearch_secured
    index = server.new_index(MAPPINGS)
    server.add(index, stack.documents)
    yield {"hosts": [server.url], "ca_certs": str(server.ca_file), "index": index}
    server.drop_indices()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Nobody listens there, and nobody will while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


HURRY = {"max_attempts": 2}
Changes = dict[str, dict[str, Any]]
Spoil = Callable[[Credentials, Stack, int], Changes]


def wrong_passwords(has: Credentials, stack: Stack, port: int) -> Changes:
    return {
        "source_system": {"user": "admin", "password": has.env("search-password")},
        "stage_system": {"secret_access_key": has.env("S3-secret")},
        "target_system": {"password": None, "private_key": has.key_text()},
    }


def wrong_keys(has: Credentials, stack: Stack, port: int) -> Changes:
    return {
        "source_system": {"api_key": has.env("API-key")},
        "stage_system": {"access_key_id": has.env("S3-key"), "session_token": has.env("S3-token")},
        "target_system": {
            "password": None,
            "private_key": has.encrypted_key("another one"),
            "private_key_passphrase": has.env("passphrase"),
        },
    }


def wrong_token(has: Credentials, stack: Stack, port: int) -> Changes:
    return {
        "source_system": {"bearer_token": has.env("bearer-token")},
        "stage_system": {"bucket": "no-such-bucket"},
        "target_system": {"port": port, "password": has.env("Snowflake-password")},
    }


def refused(has: Credentials, stack: Stack, port: int) -> Changes:
    nobody = f"http://127.0.0.1:{port}"
    return {
        "source_system": {
            "hosts": [nobody], "ca_certs": None, "user": "admin",
            "password": has.env("search-password"),
        },
        "stage_system": {
            "endpoint_url": nobody, "secret_access_key": has.env("S3-secret"), **HURRY,
        },
        "target_system": {
            "type": "postgres", "host": "127.0.0.1", "port": port, "database": "d", "user": "u",
            "password": has.env("PostgreSQL-password"), "sslmode": "disable",
            "schema": "analytics", "table": "orders",
        },
    }  # fmt: skip


def not_trusted(has: Credentials, stack: Stack, port: int) -> Changes:
    """An authority that nobody knows, and two services that do not speak TLS."""
    https = stack.bucket.server.endpoint_url.replace("http:", "https:")
    return {
        "source_system": {"ca_certs": None, "api_key": has.env("API-key")},
        "stage_system": {
            "endpoint_url": https, "secret_access_key": has.env("S3-secret"), **HURRY,
        },
        "target_system": {"protocol": "https", "password": has.env("Snowflake-password")},
    }  # fmt: skip


def line_breaks(has: Credentials, stack: Stack, port: int) -> Changes:
    """What a header cannot hold, as variables get it from a file."""
    return {
        "source_system": {"bearer_token": has.env("bearer-token", "Kanari-of-search\n")},
        "stage_system": {"session_token": has.env("S3-token", "Kanari-of-S3\n"), **HURRY},
        "target_system": {"password": has.env("Snowflake-password", "Kanari-of-two\nlines")},
    }


def line_break_in_a_key(has: Credentials, stack: Stack, port: int) -> Changes:
    return {
        "source_system": {"api_key": has.env("API-key", "Kanari größe")},
        "stage_system": {"access_key_id": has.env("S3-key", "Kanari-key\n"), **HURRY},
        "target_system": {"port": port, "password": has.env("Snowflake-password")},
    }


SPOILS = {spoil.__name__: spoil for spoil in (wrong_passwords, wrong_keys, wrong_token, refused,
          not_trusted, line_breaks, line_break_in_a_key)}  # fmt: skip


@pytest.mark.parametrize("name", SPOILS)
@pytest.mark.fault_row(26, on="elasticsearch snowflake s3")
def test_a_failure_is_told_without_the_secret(
    stack: Stack,
    secured: dict[str, Any],
    credentials: Credentials,
    closed_port: int,
    told: Told,
    name: str,
) -> None:
    config = stack.config(source_system=secured)
    for section, change in SPOILS[name](credentials, stack, closed_port).items():
        config[section] = change if "type" in change else {**config[section], **change}
    row = stack.run(config, told.home.instance)
    assert row["phase_failed"] == "pre_validation"
    told.log_everything()  # Dagster has set the level of its config
    with pytest.raises(StepFailedError) as raised:
        run_window(make_pipeline(config, stack.folder), stack.store, stack.key)
    told.texts["error and its causes"] = chain_of(raised.value)
    everything = told.everything()
    assert credentials.canaries().leaks_in(everything) == {}
    # What was told of the failure itself is in all these places, so the search went through them.
    reason = failure(row).partition(": ")[2][:60]
    places = " ".join(Canaries({"reason": reason}).leaks_in(everything))
    for place in ("error and its causes", "stderr", "EXECUTION_LOG", ".db", "compute_logs"):
        assert place in places, (place, places)
    assert any(place.startswith("log line of snowflake.connector") for place, _ in everything)


@pytest.mark.parametrize("login", ["password", "API-key", "bearer-token"])
@pytest.mark.fault_row(26, on="elasticsearch snowflake s3")
def test_a_window_that_succeeds_tells_no_secret(
    stack: Stack,
    secured: dict[str, Any],
    elasticsearch_secured: SecuredElasticsearch,
    credentials: Credentials,
    told: Told,
    login: str,
) -> None:
    server, has = elasticsearch_secured, credentials
    logins = {
        "password": lambda: {"user": server.user, "password": has.env(login, server.password)},
        "API-key": lambda: {"api_key": has.env(login, server.create_api_key())},
        "bearer-token": lambda: {"bearer_token": has.env(login, server.create_token())},
    }
    target = {"password": None, **has.key_pair()} if login == "password" else {
        "password": has.env("Snowflake-password")}  # fmt: skip
    config = stack.config(
        source_system={**secured, **logins[login]()},
        stage_system={"secret_access_key": has.env("S3-secret", stack.bucket.server.secret_key)},
        target_system=target,
    )
    told.lines.clear()  # of how the test made the login
    row = stack.run(config, told.home.instance, **{FORCE_TAG: "true"})
    require_whole(stack, row)
    everything = told.everything()
    assert credentials.canaries().leaks_in(everything) == {}
    places = " ".join(Canaries({"note": stack.documents[-1]["note"]}).leaks_in(everything))
    for place in (".parquet", "ORDERS"):
        assert place in places, (place, places)
