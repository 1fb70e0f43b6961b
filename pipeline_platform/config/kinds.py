"""`type` chooses the model of a system: a short name, or an import path for one's own."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

IMPORT_PATH = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"
SUPPORTED_LATER = (
    "opensearch",
    "mysql",
    "http",
    "servicenow",
    "gcs",
    "bigquery",
)
_ALSO_KNOWN_AS = {"postgresql": "postgres", "pg": "postgres", "file": "local", "folder": "local"}


class ByType:
    """Annotation of a union of models that `type` tells apart.

    `kinds` and `custom` are the members of the union, in its order. Only the chosen model
    validates, so errors are about its fields and lie at their own paths; the JSON Schema says the
    same with if/then instead of a list of alternatives.
    """

    def __init__(
        self,
        kinds: Mapping[str, type[BaseModel]],
        *,
        custom: type[BaseModel] | None = None,
        default: str | None = None,
    ) -> None:
        self.kinds = dict(kinds)
        self.custom = custom
        self.default = default

    @property
    def known(self) -> str:
        """The kinds as text, for messages."""
        own = ["package.module:Class for one's own"] if self.custom else []
        return ", ".join([*self.kinds, *own])

    def choose(self, kind: object) -> type[BaseModel] | None:
        """The model of a kind; None if there is none."""
        if kind is None and self.default is not None:
            kind = self.default
        if isinstance(kind, str):
            return self.kinds.get(kind) or (self.custom if ":" in kind else None)
        return None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        alternatives = handler(schema)["anyOf"]
        patterns = [*self.kinds, *([IMPORT_PATH] if self.custom else [])]
        conditions: list[dict[str, Any]] = [{"const": kind} for kind in self.kinds]
        if self.custom is not None:
            conditions.append({"type": "string", "pattern": ":"})
        chosen: dict[str, Any] = {
            "type": "object",
            "properties": {
                "type": {
                    "type": "string",
                    # The message of `const` names what is right, that of `pattern` only itself.
                    "if": {"pattern": f"^({'|'.join(patterns)})$"},
                    "else": {"const": f"one of {self.known}"},
                    "description": f"Connector: {self.known}.",
                    "examples": list(self.kinds),
                }
            },
            "allOf": [
                {"if": {"properties": {"type": condition}, "required": ["type"]}, "then": then}
                for condition, then in zip(conditions, alternatives, strict=True)
            ],
        }
        if self.default is None:
            chosen["required"] = ["type"]
        else:
            # Without a type the condition on the default must hold as well.
            del chosen["allOf"][list(self.kinds).index(self.default)]["if"]["required"]
        return chosen

    def _validate(self, value: Any, union: core_schema.ValidatorFunctionWrapHandler) -> Any:
        if isinstance(value, BaseModel):
            return union(value)
        if not isinstance(value, Mapping):
            raise PydanticCustomError("section_type", "must be a section with keys")
        kind = value.get("type")
        model = self.choose(kind)
        if model is not None:
            return model.model_validate(value)
        raise ValidationError.from_exception_data(
            "system",
            [InitErrorDetails(type=self._refusal(kind), loc=("type",), input=None)],
        )

    def _refusal(self, kind: object) -> PydanticCustomError:
        if kind is None:
            return PydanticCustomError("kind_missing", f"is missing, known are {self.known}")
        if kind in SUPPORTED_LATER:
            return PydanticCustomError(
                "kind_later", f"{kind} is not supported yet, known are {self.known}"
            )
        name = str(kind).lower()
        near = difflib.get_close_matches(_ALSO_KNOWN_AS.get(name, name), self.kinds, n=1)
        meant = f"did you mean {near[0]}; " if near else ""
        return PydanticCustomError(
            "kind_unknown", f"unknown connector kind, {meant}known are {self.known}"
        )
