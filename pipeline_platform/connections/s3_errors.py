"""What the errors of S3 mean for the caller. Like the connection, for s3 stages only."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore.exceptions as raised
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from pipeline_platform.config.s3 import S3Connection
from pipeline_platform.errors import (
    ConfigurationError,
    PermanentError,
    PipelineError,
    TransientError,
)

# An answer that broke off, beside what botocore itself tries again.
BROKEN_ANSWERS = (
    raised.HTTPClientError,
    raised.IncompleteReadError,
    raised.FlexibleChecksumError,
    ResponseParserError,
    HTTPError,
)

_TRANSIENT_STATUSES = (429, 500, 502, 503, 504)
_TRANSIENT_CODES = (
    "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling",
    "ThrottlingException", "RequestLimitExceeded", "OperationAborted", "NoSuchUpload",
    "InvalidPart", "ConditionalRequestConflict", "BadDigest", "IncompleteBody",
    "XAmzContentSHA256Mismatch",
    # How some services say that a request reached them broken.
    "BadRequest",
)  # fmt: skip
_TRANSIENT_FAILURES = (
    *BROKEN_ANSWERS,
    raised.ConnectionError,
    raised.CredentialRetrievalError,
    raised.MetadataRetrievalError,
)
# Python quotes a header that cannot be sent, and in it a key or a token.
_UNSENDABLE = "Invalid header value"
_KEYS = "Check access_key_id and secret_access_key, or the AWS profile or role in use."
_HINTS = {
    "AccessDenied": "Grant s3:ListBucket and s3:ListBucketMultipartUploads on the bucket, and "
    "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on its objects.",
    "NoSuchBucket": "Check `bucket`; it must exist. It is not created by the platform.",
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "ExpiredToken": "The session token has expired: renew it.",
    "InvalidToken": "Check session_token.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "PermanentRedirect": "Check `region`: the bucket is in another one.",
    "AuthorizationHeaderMalformed": "Check `region`: the bucket is in another one.",
    "SlowDown": "The service asks for fewer requests; it is tried again.",
    "NoSuchUpload": "Another run, or a rule of the bucket, removed the unfinished upload.",
    "InvalidPart": "Another run, or a rule of the bucket, removed parts of the unfinished upload.",
}
_HINTS["403"] = _HINTS["AccessDenied"]


@contextmanager
def s3_errors(connection: S3Connection, place: str) -> Iterator[None]:
    """Map errors of botocore that leave the block."""
    try:
        yield
    except (raised.BotoCoreError, raised.ClientError, *BROKEN_ANSWERS) as error:
        # Without the original: an answer may quote the request that it refuses.
        raise s3_error(error, connection, place) from None


def s3_error(error: Exception, connection: S3Connection, place: str) -> PipelineError:
    """The platform's error for one of botocore. Holds no credential of the connection."""
    if isinstance(error, raised.ClientError):
        return _refusal(error, connection, place)
    if _UNSENDABLE in str(error):
        return ConfigurationError(f"{place}: a credential holds a line break.", hint=_KEYS)
    text = _without_secrets(str(error).partition("\n")[0].rstrip("."), connection)
    message = f"{place}: {text}."
    if isinstance(error, raised.SSLError):
        hint = "Check endpoint_url and ca_certs; the server's certificate must be trusted."
        return PermanentError(message, hint=hint)
    if isinstance(error, _TRANSIENT_FAILURES):
        return TransientError(message, hint="Check that the service is up and reachable from here.")
    if isinstance(error, (raised.NoCredentialsError, raised.PartialCredentialsError)):
        return PermanentError(message, hint=_KEYS)
    if isinstance(error, raised.ProfileNotFound):
        return ConfigurationError(message, hint="Check `profile`.")
    return PermanentError(message)


def answered(answer: dict[str, Any], name: str) -> Any:
    """What every whole answer holds. An answer that breaks off among its headers looks to Python
    like one that ends there."""
    if name not in answer:
        raise raised.HTTPClientError(error=f"the answer broke off before its {name}")
    return answer[name]


def error_code(error: raised.ClientError) -> str:
    """S3's own code, e.g. `NoSuchKey`; the HTTP status where an answer has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _refusal(error: raised.ClientError, connection: S3Connection, place: str) -> PipelineError:
    code = error_code(error)
    answer = error.response.get("ResponseMetadata", {})
    text = str(error.response.get("Error", {}).get("Message") or "refused").partition("\n")[0]
    request = f", request {answer['RequestId']}" if answer.get("RequestId") else ""
    message = f"{place}: {_without_secrets(text.rstrip('.'), connection)} ({code}{request})."
    hint = _HINTS.get(code, "")
    if code in _TRANSIENT_CODES or answer.get("HTTPStatusCode") in _TRANSIENT_STATUSES:
        return TransientError(message, hint=hint or "It is tried again.")
    return PermanentError(message, hint=hint)


def _without_secrets(text: str, connection: S3Connection) -> str:
    secrets = (connection.access_key_id, connection.secret_access_key, connection.session_token)
    for secret in secrets:
        try:
            value = secret.resolve() if secret is not None else None
        except ConfigurationError:
            continue
        if value:
            text = text.replace(value, "***")
    return text
