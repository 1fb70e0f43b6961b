"""Logins, TLS, and logins that may read only a part, on a server with real security."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.errors import ConfigurationError, PermanentError, PipelineError
from pipeline_platform.movement import Prerequisite
from pipeline_platform.sources.elasticsearch.source import ElasticsearchSource
from pipeline_platform_tests.servers.certificate import certificate_for_loopback
from pipeline_platform_tests.servers.elasticsearch import SecuredElasticsearch
from pipeline_platform_tests.sources.contract import START, WINDOW
from pipeline_platform_tests.sources.elasticsearch.documents import ORDERS, Documents, ids_of

SECRET = "PIPELINE_PLATFORM_TEST_SECRET"
CANARY = "canary-5f0c2e"


@pytest.fixture(scope="module")
def documents(
    elasticsearch_secured: SecuredElasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Documents]:
    documents = Documents(elasticsearch_secured, tmp_path_factory.mktemp("documents"))
    for number, table in enumerate(("mine", "theirs")):
        documents.create(table, ORDERS)
        documents.insert(table, [(number, START)])
    yield documents
    elasticsearch_secured.drop_indices()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda value: monkeypatch.setenv(SECRET, value)


def source_with(documents: Documents, table: str = "mine", **settings: Any) -> ElasticsearchSource:
    """Only what `settings` say, beside hosts and authority."""
    nobody = {"user": None, "password": None}
    return documents.source(table, **{**nobody, **settings})


def failed(source: ElasticsearchSource) -> Prerequisite:
    (check,) = [check for check in source.check() if not check.passed]
    assert check.hint
    return check


@pytest.mark.parametrize("login", ["password", "api_key", "bearer_token"])
def test_every_login_reads(
    documents: Documents, elasticsearch_secured: SecuredElasticsearch, secret: Any, login: str
) -> None:
    server = elasticsearch_secured
    settings: dict[str, Any] = {login: f"env:{SECRET}"}
    if login == "password":
        secret(server.password)
        settings["user"] = server.user
    else:
        secret(server.create_token() if login == "bearer_token" else server.create_api_key())
    source = source_with(documents, **settings)
    assert all(check.passed for check in source.check())
    assert ids_of(source) == [0]


def test_reader_of_one_index_reads_it(
    documents: Documents, elasticsearch_secured: SecuredElasticsearch, secret: Any
) -> None:
    secret(elasticsearch_secured.create_reader(documents.index("mine")))
    source = source_with(documents, api_key=f"env:{SECRET}", change_field="id")
    assert all(check.passed for check in source.check()), source.check()
    assert ids_of(source) == [0]
    assert source.change_value(WINDOW) == "0"


def test_login_that_may_read_a_part_fails_the_check(
    documents: Documents, elasticsearch_secured: SecuredElasticsearch, secret: Any
) -> None:
    mine, theirs = documents.index("mine"), documents.index("theirs")
    prefix = mine[:-12]
    assert theirs.startswith(prefix)
    secret(elasticsearch_secured.create_reader(mine))
    key = f"env:{SECRET}"
    for index in ([mine, theirs], f"{prefix}*", "*", [mine, f"{theirs[:-1]}*"]):
        source = source_with(documents, index=index, api_key=key)
        check = failed(source)
        assert (check.name, check.transient) == ("source permissions", False)
        assert "the login lacks read on" in check.detail
    # What the check is for: the server itself says nothing.
    assert source_with(documents, index=f"{prefix}*", api_key=key).count(WINDOW) == 1
    with pytest.raises(PermanentError, match="HTTP 403"):
        source_with(documents, index=[mine, theirs], api_key=key).count(WINDOW)
    secret(elasticsearch_secured.create_reader(f"{prefix}*"))
    source = source_with(documents, index=f"{prefix}*", api_key=key)
    # Other tests' indices match the pattern too; their columns are not what this is about.
    assert {check.name: check.passed for check in source.check()}["source permissions"]
    assert ids_of(source) == [0, 1]


def test_alias_needs_grants_on_itself_and_on_its_indices(
    documents: Documents, elasticsearch_secured: SecuredElasticsearch, secret: Any
) -> None:
    alias = elasticsearch_secured.new_name()
    indices = [documents.index("mine"), documents.index("theirs")]
    elasticsearch_secured.client().indices.put_alias(index=indices, name=alias)
    source = source_with(documents, index=alias, api_key=f"env:{SECRET}")
    secret(elasticsearch_secured.create_reader(*indices))
    assert failed(source).name == "source permissions"
    # A point in time names the indices behind the alias.
    secret(elasticsearch_secured.create_reader(alias))
    assert failed(source).name == "source readable"
    secret(elasticsearch_secured.create_reader(alias, *indices))
    assert all(check.passed for check in source.check())
    assert ids_of(source) == [0, 1]


def test_fingerprint_instead_of_authority(
    documents: Documents, elasticsearch_secured: SecuredElasticsearch
) -> None:
    pinned = {"ca_certs": None, "ca_fingerprint": elasticsearch_secured.fingerprint}
    assert ids_of(documents.source("mine", **pinned)) == [0]
    wrong = documents.source("mine", **{**pinned, "ca_fingerprint": "ab" * 32})
    check = failed(wrong)
    assert (check.name, check.transient) == ("source reachable", False)
    assert "TLS" in check.detail


def test_unknown_authority_is_refused(documents: Documents, tmp_path: Path) -> None:
    other = certificate_for_loopback(tmp_path)
    for ca_certs in (None, str(other.ca_file)):
        source = documents.source("mine", ca_certs=ca_certs)
        check = failed(source)
        assert (check.name, check.transient) == ("source reachable", False)
        assert "TLS" in check.detail
        with pytest.raises(PermanentError, match="TLS"):
            source.count(WINDOW)
    with pytest.raises(ConfigurationError, match="ca_certs"):
        documents.source("mine", ca_certs="no-such-file.pem").count(WINDOW)


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({"user": "admin", "password": f"env:{SECRET}"}, CANARY),
        ({"api_key": f"env:{SECRET}"}, CANARY),
        ({"bearer_token": f"env:{SECRET}"}, CANARY),
        ({"api_key": f"env:{SECRET}"}, f"{CANARY}\n"),
        ({"bearer_token": f"env:{SECRET}"}, f"{CANARY}ä"),
        ({}, CANARY),
    ],
)
def test_refused_login_is_permanent_and_its_secret_is_told_to_nobody(
    documents: Documents,
    secret: Any,
    settings: dict[str, str],
    value: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret(value)
    source = source_with(documents, **settings)
    caplog.set_level(logging.DEBUG)
    check = failed(source)
    assert (check.name, check.transient) == ("source reachable", False)
    told = [repr(check), source.name, repr(vars(source))]
    for call in (lambda: source.count(WINDOW), lambda: source.read(WINDOW).__enter__()):
        with pytest.raises(PipelineError) as raised:
            call()
        error: BaseException | None = raised.value
        assert isinstance(error, (PermanentError, ConfigurationError))
        while error is not None:
            told += [str(error), repr(error)]
            error = error.__cause__ or error.__context__
    assert CANARY not in "".join(told) + caplog.text


def test_expired_key_is_refused(
    documents: Documents, elasticsearch_secured: SecuredElasticsearch, secret: Any
) -> None:
    secret(elasticsearch_secured.create_api_key(expiration="1ms"))
    assert "401" in failed(source_with(documents, api_key=f"env:{SECRET}")).detail
