"""Secrets are references in a config and values only at the moment of use."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pipeline_platform.errors import ConfigurationError

_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_LATER = ("aws-secretsmanager:", "vault:")
_SECRET_NAME = re.compile(
    r"(^|.*[_.-])(passwords?|passwd|passphrase|secrets?|token|api[_-]?key|access[_-]?key|"
    r"private[_-]?key|credentials?)$",
    re.IGNORECASE,
)

# A validator quotes the value it refuses, except under `const`: there it names the expected one.
_JSON_SCHEMA: dict[str, Any] = {
    "if": {"type": "string", "pattern": f"^{_ENV.pattern}$"},
    "else": {"const": "env:NAME_OF_A_VARIABLE"},
    "examples": ["env:DB_PASSWORD"],
}


class SecretReference:
    """Where a secret is to be found, e.g. `env:ORDERS_DB_PASSWORD`; never the secret itself."""

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def resolve(self) -> str:
        """The value, read now. ConfigurationError names the variable that is not set."""
        name = self.reference.removeprefix("env:")
        value = os.environ.get(name)
        if value is None:
            raise ConfigurationError(
                f"The environment variable {name} is not set.",
                hint=f"The config refers to it as {self.reference!r}: set it where Dagster runs.",
            )
        return value

    def __repr__(self) -> str:
        return f"SecretReference({self.reference!r})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretReference) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    @classmethod
    def _parse(cls, value: Any) -> "SecretReference":
        if isinstance(value, SecretReference):
            return value
        if isinstance(value, str) and value.startswith(_LATER):
            raise PydanticCustomError(
                "secret_not_supported",
                "this kind of secret reference is not supported yet; use env:NAME",
            )
        if not isinstance(value, str) or not _ENV.fullmatch(value):
            # The value itself stays out of the message: it may be the secret.
            raise PydanticCustomError(
                "secret_literal",
                "must be a reference to a secret, env:NAME, not a literal value",
            )
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._parse,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda secret: secret.reference
            ),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return _JSON_SCHEMA


# `anyOf` would make a validator quote the refused value.
OptionalSecret = Annotated[
    SecretReference | None,
    WithJsonSchema({**_JSON_SCHEMA, "if": {**_JSON_SCHEMA["if"], "type": ["string", "null"]}}),
]


def is_secret_name(name: str) -> bool:
    """Whether a setting of this name holds a secret, e.g. `api_key` or `db_password`."""
    return _SECRET_NAME.fullmatch(name) is not None


def refuse_literal_secrets(options: dict[str, Any]) -> dict[str, Any]:
    """Settings of one's own connector: one that is named like a secret must be a reference."""
    for name, value in _leaves(options):
        if value is not None and is_secret_name(name):
            try:
                SecretReference._parse(value)
            except PydanticCustomError as error:
                raise PydanticCustomError(
                    "secret_option", f"{name} {error.message_template}"
                ) from None
    return options


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _leaves(item, name)
    else:
        yield name, value
