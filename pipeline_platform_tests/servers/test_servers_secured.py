"""What other tests rely on in the Elasticsearch with TLS and login."""

from typing import Any

import pytest
from elastic_transport import TlsError
from elasticsearch import AuthenticationException, AuthorizationException, ConnectionError

from pipeline_platform_tests.servers.elasticsearch import SecuredElasticsearch


@pytest.fixture
def index(elasticsearch_secured: SecuredElasticsearch) -> str:
    index = elasticsearch_secured.new_index()
    elasticsearch_secured.add(index, [{"n": 1}])
    return index


def test_each_way_to_log_in_is_accepted(
    elasticsearch_secured: SecuredElasticsearch, index: str
) -> None:
    logins: list[dict[str, Any]] = [
        {"basic_auth": (elasticsearch_secured.user, elasticsearch_secured.password)},
        {"api_key": elasticsearch_secured.create_api_key()},
        {"bearer_auth": elasticsearch_secured.create_token()},
    ]
    counts = [elasticsearch_secured.client(**login).count(index=index) for login in logins]
    assert [count["count"] for count in counts] == [1, 1, 1]


@pytest.mark.parametrize(
    "login",
    [{"basic_auth": ("admin", "wrong")}, {"api_key": "d3Jvbmc6a2V5"}, {"bearer_auth": "x"}],
)
def test_a_wrong_login_is_refused(
    elasticsearch_secured: SecuredElasticsearch, login: dict[str, Any]
) -> None:
    with pytest.raises(AuthenticationException):
        elasticsearch_secured.client(**login).info()


def test_a_key_reads_its_indices_only_and_says_so_only_when_asked_for_others(
    elasticsearch_secured: SecuredElasticsearch, index: str
) -> None:
    other = elasticsearch_secured.new_index()
    elasticsearch_secured.add(other, [{"n": 2}])
    reader = elasticsearch_secured.client(api_key=elasticsearch_secured.create_reader(index))

    with pytest.raises(AuthorizationException):
        reader.count(index=[index, other])

    assert reader.count(index="pipeline-platform-test-*")["count"] == 1
    assert reader.count(index=[index, other], ignore_unavailable=True)["count"] == 1


def test_the_authority_is_checked(elasticsearch_secured: SecuredElasticsearch) -> None:
    pinned = {"ca_certs": None, "ssl_assert_fingerprint": elasticsearch_secured.fingerprint}
    assert elasticsearch_secured.client(**pinned).info().meta.status == 200
    for wrong in ({"ca_certs": None}, {**pinned, "ssl_assert_fingerprint": "00" * 32}):
        with pytest.raises(TlsError):
            elasticsearch_secured.client(**wrong, max_retries=0).info()


def test_http_is_not_spoken(elasticsearch_secured: SecuredElasticsearch) -> None:
    plain = elasticsearch_secured.url.replace("https", "http")
    client = elasticsearch_secured.client(hosts=[plain], ca_certs=None, max_retries=0)
    with pytest.raises(ConnectionError):
        client.info()
