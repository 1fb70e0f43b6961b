"""How a bucket is reached, what errors of S3 become, and where credentials never show."""

import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import botocore.exceptions as botocore
import pytest
from pydantic import ValidationError

from pipeline_platform.config.s3 import S3Stage
from pipeline_platform.connections.s3 import BoundedS3Resource, S3Bucket
from pipeline_platform.connections.s3_errors import s3_error
from pipeline_platform.errors import (
    ConfigurationError,
    PermanentError,
    PipelineError,
    TransientError,
)
from pipeline_platform_tests.servers import s3
from pipeline_platform_tests.stages.buckets import stage_config, stage_in, storage_in

CANARIES = {"CANARY_ID": "canaryid4711", "CANARY_SECRET": "canarysecret4711"}
CANARY_TOKEN = "canarytoken4711"


def refusal(code: str, status: int = 400, message: str = "No.") -> botocore.ClientError:
    answer = {"HTTPStatusCode": status, "RequestId": "R1"}
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": answer}
    return botocore.ClientError(response, "PutObject")


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (refusal("SlowDown", 503), TransientError, "No (SlowDown, request R1). The service asks"),
        (refusal("InternalError", 500), TransientError, "InternalError"),
        (refusal("Whatever", 502), TransientError, "tried again"),
        (refusal("BadDigest"), TransientError, "BadDigest"),
        (refusal("BadRequest"), TransientError, "BadRequest"),
        (refusal("AccessDenied", 403), PermanentError, "s3:PutObject"),
        (refusal("403", 403), PermanentError, "s3:PutObject"),
        (refusal("NoSuchBucket", 404), PermanentError, "Check `bucket`"),
        (refusal("InvalidAccessKeyId", 403), PermanentError, "Check access_key_id"),
        (refusal("SignatureDoesNotMatch", 403), PermanentError, "secret_access_key"),
        (refusal("ExpiredToken"), PermanentError, "renew it"),
        (refusal("PermanentRedirect", 301), PermanentError, "Check `region`"),
        (refusal("SomethingNew"), PermanentError, "SomethingNew"),
        (botocore.EndpointConnectionError(endpoint_url="u"), TransientError, "reachable"),
        (botocore.ReadTimeoutError(endpoint_url="u"), TransientError, "reachable"),
        (botocore.ConnectTimeoutError(endpoint_url="u"), TransientError, "reachable"),
        (botocore.IncompleteReadError(actual_bytes=1, expected_bytes=2), TransientError, "1 read"),
        (botocore.SSLError(endpoint_url="u", error="bad"), PermanentError, "ca_certs"),
        (botocore.NoCredentialsError(), PermanentError, "Check access_key_id"),
        (botocore.ProfileNotFound(profile="p"), ConfigurationError, "Check `profile`"),
        (botocore.ParamValidationError(report="r"), PermanentError, "Parameter validation"),
    ],
)
def test_errors_say_what_to_do(error: Exception, kind: type[PipelineError], says: str) -> None:
    connection = S3Stage(type="s3", bucket="acme")
    mapped = s3_error(error, connection, "s3://acme/a")
    assert type(mapped) is kind
    assert str(mapped).startswith("s3://acme/a: ")
    assert says in str(mapped)


def test_the_client_has_what_the_config_says() -> None:
    connection = S3Stage(
        type="s3", bucket="acme", region="eu-central-1", endpoint_url="https://s3.example.com",
        path_style=True, connect_timeout_seconds=3, read_timeout_seconds=7,
        max_attempts=5,
    )  # fmt: skip
    client = S3Bucket(connection, Path()).client
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (3, 7)
    assert config.retries == {"mode": "standard", "total_max_attempts": 5}
    assert config.s3["addressing_style"] == "path"
    assert client.meta.region_name == "eu-central-1"
    assert client.meta.endpoint_url.startswith("https://s3.example.com")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"access_key_id": "env:A"}, "secret_access_key"),
        ({"secret_access_key": "env:A"}, "needs access_key_id"),
        ({"session_token": "env:A"}, "needs access_key_id"),
        ({"access_key_id": "env:A", "secret_access_key": "env:B", "profile": "p"}, "cannot stand"),
        ({"access_key_id": "AKIA123"}, "must be a reference"),
        ({"endpoint_url": "http://s3.example.com"}, "localhost only"),
        ({"endpoint_url": "https://a:b@s3.example.com"}, "credentials"),
        ({"prefix": "a/../b"}, "must not hold"),
        ({"prefix": "/a"}, "pattern"),
        ({"bucket": "Acme"}, "pattern"),
        ({"kms_key_id": "k"}, "aws:kms"),
    ],
)
def test_connections_that_cannot_be(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        S3Stage(**{"type": "s3", "bucket": "acme", **settings})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"bucket": "not-there-at-all"}, "Check `bucket`"),
        ({"secret_access_key": "env:CANARY_SECRET"}, "secret_access_key"),
        ({"access_key_id": "env:CANARY_ID"}, "No user exists"),
        ({"endpoint_url": "http://127.0.0.1:1", "max_attempts": 1}, "reachable"),
    ],
)
def test_the_check_says_what_is_wrong(
    settings: dict[str, Any], says: str, s3_bucket: s3.S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    [check] = stage_in(s3_bucket, **settings).check()
    assert not check.passed
    assert check.transient is ("endpoint_url" in settings)
    assert says in f"{check.detail} {check.hint}"
    [good] = stage_in(s3_bucket).check()
    assert good.passed
    assert s3_bucket.keys() == []


def test_a_missing_variable_is_named(s3_bucket: s3.S3Bucket) -> None:
    [check] = stage_in(s3_bucket, secret_access_key="env:NOT_SET_ANYWHERE").check()
    assert not check.passed
    assert "NOT_SET_ANYWHERE" in check.detail


def test_no_credential_is_ever_shown(
    s3_bucket: s3.S3Bucket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Row 26 of the fault matrix, with a service that refuses and one that accepts them."""
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CANARY_TOKEN", CANARY_TOKEN)
    shown: list[str] = []
    caplog.set_level(logging.DEBUG)
    foreign = {"access_key_id": "env:CANARY_ID", "secret_access_key": "env:CANARY_SECRET"}
    for settings in (
        foreign,
        {"secret_access_key": "env:CANARY_SECRET"},
        {"session_token": "env:CANARY_TOKEN"},
        {**foreign, "endpoint_url": "http://127.0.0.1:1", "max_attempts": 1},
        {},
    ):
        storage = storage_in(s3_bucket, **settings)
        stage = stage_in(s3_bucket, **settings)
        shown += [repr(storage), repr(stage), repr(vars(storage)), repr(vars(storage._bucket))]
        shown += [repr(stage.check()), stage.name]
        try:
            storage.put_if_absent("a/1", b"x")
        except PipelineError:
            shown.append(traceback.format_exc())
    shown.append(repr(stage_config(s3_bucket, **foreign)))
    shown += [caplog.text, *capfd.readouterr()]
    secrets = [*CANARIES.values(), CANARY_TOKEN, s3_bucket.server.secret_key]
    assert [secret for secret in secrets if secret in "\n".join(shown)] == []


def test_an_answer_that_quotes_a_credential_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_ID", CANARIES["CANARY_ID"])
    monkeypatch.delenv("CANARY_SECRET", raising=False)
    connection = S3Stage(
        type="s3", bucket="acme", access_key_id="env:CANARY_ID",
        secret_access_key="env:CANARY_SECRET",
    )  # fmt: skip
    mapped = s3_error(refusal("No", 403, f"Key {CANARIES['CANARY_ID']}?"), connection, "s3://acme")
    assert "Key ***?" in str(mapped)


def test_the_resource_shows_no_credential() -> None:
    resource = BoundedS3Resource(
        aws_access_key_id="canaryid4711", aws_secret_access_key="canarysecret4711",
        connect_timeout_seconds=1, read_timeout_seconds=1, path_style=True, ca_certs=None,
    )  # fmt: skip
    assert "canary" not in f"{resource} {resource!r} {[resource]}"


def test_nothing_of_aws_is_imported_without_an_s3_stage() -> None:
    program = (
        "import sys, pipeline_platform.stages, pipeline_platform.config.pipeline, "
        "pipeline_platform.component; "
        "print([name for name in sys.modules if name.split('.')[0] in ('boto3', 'dagster_aws')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
