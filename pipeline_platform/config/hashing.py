"""Which settings decide rows and values, and a hash over them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pipeline_platform.config.secrets import is_secret_name


class NotHashed:
    """Marks a setting that changes how rows are moved, never which rows or their values.

    A setting without the mark counts: forgetting it costs a second move, never a wrong skip.
    """

    def __repr__(self) -> str:
        return "NOT_HASHED"


NOT_HASHED = NotHashed()


def hashed_settings(section: BaseModel) -> dict[str, Any]:
    """The settings of a section that count, as plain values; paths stay as written.

    Settings that are None or empty are left out, so that a new optional one changes no hash.
    """
    counted = {
        name: getattr(section, name)
        for name, field in type(section).model_fields.items()
        if NOT_HASHED not in field.metadata
    }
    return {
        name: _plain(value) for name, value in counted.items() if value not in (None, "", (), {})
    }


def digest(value: Any) -> str:
    """sha256 over canonical JSON, as hexadecimal text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        # Column lists are sets: their order changes no value.
        return sorted(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if not is_secret_name(str(key))}
    return value
