"""How Elasticsearch is reached, and what its errors mean for the caller."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import elastic_transport
import elasticsearch
import msgspec

from pipeline_platform.config.elasticsearch import ElasticsearchConnection
from pipeline_platform.config.secrets import SecretReference
from pipeline_platform.connections.named_file import named_file
from pipeline_platform.errors import (
    ConfigurationError,
    PermanentError,
    PipelineError,
    SnapshotLostError,
    TransientError,
)

_COMPATIBLE = "application/vnd.elasticsearch+json"
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")

_LOST = ("search_context_missing_exception", "search_context_missing_nodes_exception")
_BUSY = ("circuit_breaking_exception", "es_rejected_execution_exception")
_BUSY_STATUSES = (429, 502, 503, 504)
_LONGEST_REASON = 500

_HINTS = {
    "index_not_found_exception": "Check source_system.index.",
    "index_closed_exception": "Open the index, or leave it out of source_system.index.",
    400: "Check source_system.query and source_system.index.",
    401: "Check user and password, api_key or bearer_token of the connection.",
    403: "Grant read and view_index_metadata on everything that source_system.index names, and "
    "on the indices behind an alias.",
}


class ClusterBusyError(TransientError):
    """The cluster asks for patience: 429, 502, 503, 504 or a circuit breaker."""


class ConnectionBrokenError(TransientError):
    """Refused, reset or cut short; asking again may help at once."""


class ElasticsearchClient:
    """Sends requests and gives answers as bytes, so that the caller chooses how to decode them.

    Nothing is asked twice of one host. Safe to use from several threads.
    """

    def __init__(self, client: elasticsearch.Elasticsearch, place: str) -> None:
        self._client = client
        self.place = place
        """Shown to people, e.g. `Elasticsearch search.example.com:9200`; never a secret."""

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> bytes:
        """One request. A broken connection or an error status is an error of the platform."""
        client = self._client
        if timeout_seconds is not None:
            client = client.options(request_timeout=timeout_seconds)
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            response = client.perform_request(
                method, path, params=params, headers=headers, body=body
            )
        except elasticsearch.UnsupportedProductError as error:
            raise PermanentError(
                f"{self.place} is not Elasticsearch.",
                hint="Servers of version 8 and 9 are supported; check hosts for a proxy.",
            ) from error
        except elasticsearch.ApiError as error:
            raise _refused(self.place, error.meta.status, error.body) from error
        except elastic_transport.TransportError as error:
            raise _broken(self.place, error) from error
        if not isinstance(response.body, bytes):
            raise _not_json(self.place)
        return response.body

    def ask_json(self, method: str, path: str, **request: Any) -> Any:
        """The same, decoded; TransientError if the answer is no JSON."""
        try:
            return msgspec.json.decode(self.ask(method, path, **request))
        except msgspec.DecodeError as error:
            raise _not_json(self.place) from error


@contextmanager
def connect_elasticsearch(
    connection: ElasticsearchConnection,
    base_dir: Path,
    *,
    application_name: str,
    parallel: int = 1,
) -> Iterator[ElasticsearchClient]:
    """A client for `parallel` threads. Nothing is sent yet; leaving the block closes it.

    ConfigurationError: a secret's variable is not set or does not fit into a header, or the
    certificate authority is missing.
    """
    client = elasticsearch.Elasticsearch(
        **_parameters(connection, base_dir),
        opaque_id=application_name,
        connections_per_node=parallel + 1,
    )
    try:
        yield ElasticsearchClient(client, place_of(connection))
    finally:
        client.close()


def place_of(connection: ElasticsearchConnection) -> str:
    """Hosts with ports, or the name in the cloud id."""
    if connection.cloud_id is not None:
        return f"Elasticsearch {connection.cloud_id.partition(':')[0]}"
    return "Elasticsearch " + ", ".join(url.partition("://")[2] for url in connection.hosts)


class _BytesSerializer(elastic_transport.Serializer):
    """Requests as JSON, answers as they came: documents never become Python objects."""

    mimetype = "application/json"

    def loads(self, data: bytes) -> bytes:
        return data

    def dumps(self, data: Any) -> bytes:
        return msgspec.json.encode(data)


def _parameters(connection: ElasticsearchConnection, base_dir: Path) -> dict[str, Any]:
    as_bytes = _BytesSerializer()
    parameters: dict[str, Any] = {
        "request_timeout": connection.request_timeout_seconds,
        "http_compress": connection.compress,
        # Another host is tried where one cannot be reached; all else is for the caller.
        "max_retries": max(len(connection.hosts) - 1, 0),
        "retry_on_timeout": False,
        "retry_on_status": (),
        "serializers": {"application/json": as_bytes, _COMPATIBLE: as_bytes},
    }
    if connection.cloud_id is not None:
        parameters["cloud_id"] = connection.cloud_id
    else:
        parameters["hosts"] = list(connection.hosts)
    if connection.user is not None and connection.password is not None:
        parameters["basic_auth"] = (connection.user, connection.password.resolve())
    if connection.api_key is not None:
        parameters["api_key"] = _header_value("api_key", connection.api_key)
    if connection.bearer_token is not None:
        parameters["bearer_auth"] = _header_value("bearer_token", connection.bearer_token)
    return parameters | _tls(connection, base_dir)


def _header_value(key: str, secret: SecretReference) -> str:
    """A value that no header can have would be quoted in the client's error."""
    value = secret.resolve()
    if not _HEADER_VALUE.fullmatch(value):
        raise ConfigurationError(
            f"The value of {key} is empty, or holds a space, a line break or a non-ASCII letter.",
            hint=f"Correct the variable behind {secret.reference!r}.",
        )
    return value


def _tls(connection: ElasticsearchConnection, base_dir: Path) -> dict[str, Any]:
    given = connection.ca_certs or connection.ca_fingerprint
    if given and any(url.startswith("http:") for url in connection.hosts):
        raise ConfigurationError(
            "ca_certs and ca_fingerprint need hosts that begin with https://.",
            hint="Correct hosts, or leave the two out.",
        )
    if connection.ca_fingerprint is not None:
        return {"ssl_assert_fingerprint": connection.ca_fingerprint}
    if connection.ca_certs is None:
        return {}
    return {"ca_certs": named_file(base_dir, connection.ca_certs, "ca_certs")}


def _broken(place: str, error: elastic_transport.TransportError) -> PipelineError:
    text = str(error.message).strip().partition("\n")[0].rstrip(".")
    if isinstance(error, elastic_transport.TlsError):
        return PermanentError(
            f"{place}: the TLS connection failed: {text}.",
            hint="Check ca_certs or ca_fingerprint, the name in hosts, and that the server "
            "speaks https on this port.",
        )
    if isinstance(error, elastic_transport.ConnectionTimeout):
        return TransientError(
            f"{place} did not answer within request_timeout_seconds.",
            hint="It is tried again; check the load of the cluster.",
        )
    if isinstance(error, elastic_transport.ConnectionError):
        return ConnectionBrokenError(
            f"{place}: the connection failed: {text}.",
            hint="Check that the server is up and reachable from here.",
        )
    return _not_json(place)


def _not_json(place: str) -> ConnectionBrokenError:
    return ConnectionBrokenError(
        f"{place} gave an answer that is cut short or not JSON.", hint="Check hosts for a proxy."
    )


def _refused(place: str, status: int, body: Any) -> PipelineError:
    """The platform's error for a status, told apart by the types of error in the answer."""
    error = _error_of(body)
    types = set(_types(error))
    cause = _root_cause(error)
    kind, reason = str(cause.get("type") or ""), str(cause.get("reason") or "").rstrip(".")
    words = [f"HTTP {status}", kind, reason[:_LONGEST_REASON]]
    message = f"{place}: {': '.join(word for word in words if word)}."
    if kind == "index_not_found_exception":
        message = f"{place}: the index or pattern {cause.get('index')!r} does not exist."
    if types.intersection(_LOST):
        return SnapshotLostError(
            f"{place} lost the window's point in time: {reason or kind}.",
            hint="The window is read again; raise source_system.keep_alive if this repeats.",
        )
    if status in _BUSY_STATUSES or types.intersection(_BUSY):
        return ClusterBusyError(message, hint="It is tried again; check the load of the cluster.")
    if status >= 500:
        return TransientError(message, hint="It is tried again; see the log of the cluster.")
    hint = _HINTS.get(kind) or _HINTS.get(status) or "Check hosts, and for a proxy before them."
    if status == 400 and kind not in _HINTS:
        return ConfigurationError(message, hint=hint)
    return PermanentError(message, hint=hint)


def _error_of(body: Any) -> Any:
    """The `error` of an answer, which is an object or a text; {} for a page of a proxy."""
    try:
        answer = msgspec.json.decode(body) if isinstance(body, bytes) else None
    except msgspec.DecodeError:
        answer = None
    return answer.get("error", {}) if isinstance(answer, dict) else {}


def _types(error: Any) -> Iterator[str]:
    if isinstance(error, dict):
        if isinstance(error.get("type"), str):
            yield error["type"]
        for value in error.values():
            yield from _types(value)
    elif isinstance(error, list):
        for value in error:
            yield from _types(value)


def _root_cause(error: Any) -> dict[str, Any]:
    """The first root cause, which says more than the error around it."""
    if not isinstance(error, dict):
        return {"reason": error}
    causes = error.get("root_cause")
    first = causes[0] if isinstance(causes, list) and causes else error
    return dict(first) if isinstance(first, dict) else error
