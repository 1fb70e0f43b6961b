"""A bucket of an S3 service as a stage."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from pipeline_platform.config.connections import Section
from pipeline_platform.config.fields import Identifier, Url, refused
from pipeline_platform.config.hashing import NOT_HASHED
from pipeline_platform.config.secrets import OptionalSecret
from pipeline_platform.config.system_fields import StageFields


def _no_way_out(prefix: str) -> str:
    if {".", ".."} & set(prefix.split("/")):
        raise refused("must not hold . or .., which lead elsewhere")
    return prefix


class S3Connection(Section):
    """Amazon S3, or a service that speaks its protocol with conditional writes."""

    bucket: str = Field(
        min_length=3,
        max_length=63,
        pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$",
        description="Bucket; it must exist.",
        examples=["acme-data-stage"],
    )
    region: Annotated[str | None, NOT_HASHED] = Field(
        None,
        pattern=r"^[a-z0-9-]+$",
        description="Region of the bucket; default: as the AWS environment says.",
        examples=["eu-central-1"],
    )
    access_key_id: Annotated[OptionalSecret, NOT_HASHED] = Field(
        None,
        description="Reference to the access key's id. Without it the usual AWS chain is asked: "
        "environment, profile, role of the machine.",
        examples=["env:STAGE_ACCESS_KEY_ID"],
    )
    secret_access_key: Annotated[OptionalSecret, NOT_HASHED] = Field(
        None,
        validate_default=True,
        description="Reference to the access key's secret, with access_key_id.",
    )
    session_token: Annotated[OptionalSecret, NOT_HASHED] = Field(
        None, description="Reference to the session token of temporary credentials."
    )
    profile: Annotated[Identifier | None, NOT_HASHED] = Field(
        None, description="Profile of the AWS configuration files.", examples=["data-platform"]
    )
    endpoint_url: Url | None = Field(
        None,
        description="URL of a service other than Amazon's. Plain http is accepted for localhost "
        "only.",
        examples=["https://objects.example.com"],
    )
    path_style: Annotated[bool, NOT_HASHED] = Field(
        False, description="Put the bucket into the URL's path instead of its host name."
    )
    ca_certs: Annotated[str | None, NOT_HASHED] = Field(
        None,
        description="File with the certificate authority to trust; default: AWS_CA_BUNDLE, or "
        "the public authorities.",
        examples=["certs/objects-ca.pem"],
    )
    server_side_encryption: Annotated[Literal["AES256", "aws:kms"] | None, NOT_HASHED] = Field(
        None, description="Encryption to ask for; default: as the bucket is set."
    )
    kms_key_id: Annotated[str | None, NOT_HASHED] = Field(
        None, max_length=2048, description="Key for aws:kms; default: the account's own."
    )
    connect_timeout_seconds: Annotated[float, NOT_HASHED] = Field(
        10.0, gt=0, description="Seconds to wait for a connection."
    )
    read_timeout_seconds: Annotated[float, NOT_HASHED] = Field(
        60.0, gt=0, description="Seconds to wait for the next bytes of an answer."
    )
    max_attempts: Annotated[int, NOT_HASHED] = Field(
        8, ge=1, le=50, description="Tries of one request, with growing pauses."
    )

    @property
    def unverified(self) -> str | None:
        """A service that is asked by plain http."""
        url = self.endpoint_url or ""
        return f"plain http: {url}" if url.startswith("http:") else None

    @field_validator("secret_access_key")
    @classmethod
    def _whole_key(cls, secret: OptionalSecret, info: ValidationInfo) -> OptionalSecret:
        key = info.data.get("access_key_id")
        if secret is not None and key is None:
            raise refused("needs access_key_id beside it")
        if secret is None and key is not None:
            raise refused("is missing; access_key_id needs it")
        return secret

    @field_validator("session_token")
    @classmethod
    def _token_of_a_key(cls, token: OptionalSecret, info: ValidationInfo) -> OptionalSecret:
        if token is not None and info.data.get("access_key_id") is None:
            raise refused("needs access_key_id beside it")
        return token

    @field_validator("profile")
    @classmethod
    def _profile_or_key(cls, profile: str | None, info: ValidationInfo) -> str | None:
        if profile is not None and info.data.get("access_key_id") is not None:
            raise refused("cannot stand beside access_key_id; use one of them")
        return profile

    @field_validator("kms_key_id")
    @classmethod
    def _key_of_kms(cls, key: str | None, info: ValidationInfo) -> str | None:
        if key is not None and info.data.get("server_side_encryption") != "aws:kms":
            raise refused("needs server_side_encryption: aws:kms beside it")
        return key


class S3Stage(StageFields, S3Connection):
    """A prefix of a bucket."""

    type: Literal["s3"] = Field(description="Connector.")
    prefix: Annotated[str, AfterValidator(_no_way_out)] = Field(
        "",
        max_length=512,
        pattern=r"^([A-Za-z0-9!_.*'()=-]+/)*([A-Za-z0-9!_.*'()=-]+)?$",
        description="Keys of the stage begin with it.",
        examples=["pipeline_platform/stage"],
    )

    @field_validator("prefix")
    @classmethod
    def _prefix_leads_nowhere_else(cls, prefix: str) -> str:
        if {".", ".."} & set(prefix.split("/")):
            raise refused("must not hold . or .. as a folder")
        return prefix
