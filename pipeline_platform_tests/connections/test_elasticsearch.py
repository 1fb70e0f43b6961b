import base64
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.config.elasticsearch import ElasticsearchConnection
from pipeline_platform.connections.elasticsearch import (
    ClusterBusyError,
    ConnectionBrokenError,
    connect_elasticsearch,
)
from pipeline_platform.errors import (
    ConfigurationError,
    PermanentError,
    PipelineError,
    SnapshotLostError,
    TransientError,
)
from pipeline_platform_tests.servers.http_proxy import Answer, HttpProxy

CLOSED = "http://127.0.0.1:1"


def ask(config: dict[str, Any], path: str = "/_cluster/health") -> Any:
    connection = ElasticsearchConnection.model_validate(config)
    with connect_elasticsearch(connection, Path("/"), application_name="tests") as client:
        return client.ask_json("GET", path)


def error_of(config: dict[str, Any]) -> PipelineError:
    with pytest.raises(PipelineError) as raised:
        ask(config)
    assert raised.value.hint
    return raised.value


def test_answers_are_decoded_and_requests_say_who_asks(elasticsearch_proxy: HttpProxy) -> None:
    assert ask({"hosts": [elasticsearch_proxy.url]})["timed_out"] is False
    (request,) = elasticsearch_proxy.requests
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert headers["x-opaque-id"] == "tests"
    assert "gzip" not in headers.get("accept-encoding", "")


def test_compressed_answers(elasticsearch_proxy: HttpProxy) -> None:
    assert ask({"hosts": [elasticsearch_proxy.url], "compress": True})["timed_out"] is False
    (request,) = elasticsearch_proxy.requests
    assert request.headers["accept-encoding"] == "gzip"


def test_another_host_answers_where_one_is_down(elasticsearch_proxy: HttpProxy) -> None:
    for _ in range(6):
        assert ask({"hosts": [CLOSED, elasticsearch_proxy.url]})["timed_out"] is False
    assert len(elasticsearch_proxy.requests) == 6


@pytest.mark.parametrize(
    ("status", "kind", "type_of_error"),
    [
        (400, "parsing_exception", ConfigurationError),
        (400, "index_closed_exception", PermanentError),
        (401, "security_exception", PermanentError),
        (403, "security_exception", PermanentError),
        (404, "index_not_found_exception", PermanentError),
        (404, "search_context_missing_exception", SnapshotLostError),
        (404, "search_context_missing_nodes_exception", SnapshotLostError),
        (429, "es_rejected_execution_exception", ClusterBusyError),
        (429, "circuit_breaking_exception", ClusterBusyError),
        (500, "circuit_breaking_exception", ClusterBusyError),
        (500, "null_pointer_exception", TransientError),
        (502, "", ClusterBusyError),
        (503, "no_shard_available_action_exception", ClusterBusyError),
        (504, "", ClusterBusyError),
    ],
)
def test_what_a_status_means(
    elasticsearch_proxy: HttpProxy, status: int, kind: str, type_of_error: type[PipelineError]
) -> None:
    cause = {"type": kind, "reason": "the reason", "index": "orders"}
    failed = [{"shard": 0, "index": "orders", "reason": cause}]
    error = {"type": "search_phase_execution_exception", "root_cause": [cause]}
    body = {"error": {**error, "failed_shards": failed}, "status": status}
    elasticsearch_proxy.refuse(status, body)
    raised = error_of({"hosts": [elasticsearch_proxy.url]})
    assert type(raised) is type_of_error
    assert "the reason" in raised.message or "'orders'" in raised.message
    assert elasticsearch_proxy.url.removeprefix("http://") in raised.message


@pytest.mark.parametrize(
    ("answer", "type_of_error", "text"),
    [
        (Answer(502, {"Content-Type": "text/html"}, b"<p>Bad gateway"), ClusterBusyError, "502"),
        (Answer(404, {}, b"gone"), PermanentError, "404"),
        (Answer(200, {"Content-Type": "text/html"}, b"<p>Log in"), PermanentError,
         "is not Elasticsearch"),
        (Answer(200, {"Content-Type": "text/html", "X-Elastic-Product": "Elasticsearch"}, b"<p>"),
         ConnectionBrokenError, "not JSON"),
        (Answer(200, {"Content-Type": "image/png", "X-Elastic-Product": "Elasticsearch"}, b"x"),
         ConnectionBrokenError, "not JSON"),
        (Answer(200, {"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"},
                b'{"timed_out": fal'), ConnectionBrokenError, "cut short"),
    ],
)  # fmt: skip
def test_answers_of_something_else(
    elasticsearch_proxy: HttpProxy, answer: Answer, type_of_error: type[PipelineError], text: str
) -> None:
    elasticsearch_proxy.spoil(lambda _, __: answer)
    error = error_of({"hosts": [elasticsearch_proxy.url]})
    assert type(error) is type_of_error
    assert text in error.message


def test_nobody_there() -> None:
    error = error_of({"hosts": [CLOSED]})
    assert type(error) is ConnectionBrokenError
    assert "127.0.0.1:1" in error.message


def test_name_in_a_cloud_id_is_shown() -> None:
    where = base64.b64encode(b"invalid:9$elasticsearch$kibana").decode()
    error = error_of({"cloud_id": f"my-deployment:{where}"})
    assert isinstance(error, TransientError)
    assert error.message.startswith("Elasticsearch my-deployment:")


def test_settings_that_cannot_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCH_KEY", "canary 7e1b")
    for config, text in (
        ({"hosts": [CLOSED], "ca_certs": "ca.pem"}, "https"),
        ({"hosts": ["https://127.0.0.1:1"], "ca_certs": "none.pem"}, "does not exist"),
        ({"hosts": [CLOSED], "api_key": "env:NOT_THERE"}, "NOT_THERE"),
        ({"hosts": [CLOSED], "api_key": "env:SEARCH_KEY"}, "api_key"),
    ):
        error = error_of(config)
        assert isinstance(error, ConfigurationError)
        assert text in str(error)
        assert "canary" not in str(error)
