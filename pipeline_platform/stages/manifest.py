"""The manifest's text: canonical JSON that carries its own sha256 (pure).

    {"manifest": { ... }, "sha256": "..."}

The hash covers the bytes of the inner object as they are stored, so any change of them shows.
"""

import base64
import hashlib
import json
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from pipeline_platform.movement import ColumnSummary, Manifest, StagedFile

MANIFEST_FORMAT = 1

_HEAD = b'{"manifest": '
_MIDDLE = b', "sha256": "'
_TAIL = b'"}\n'
_HASH_LENGTH = 64


def encode_manifest(manifest: Manifest) -> tuple[Manifest, bytes]:
    """The manifest with its hash, and the bytes to store. The same manifest gives the same bytes.

    Times must be aware; they are stored in UTC.
    """
    fields = {
        "format": MANIFEST_FORMAT,
        "pipeline_name": manifest.pipeline_name,
        "window_start": _time_text(manifest.window_start),
        "window_end": _time_text(manifest.window_end),
        "epoch": manifest.epoch,
        "pipeline_id": manifest.pipeline_id,
        "created_at": _time_text(manifest.created_at),
        "query_field": manifest.query_field,
        "snapshot_kind": manifest.snapshot_kind,
        "snapshot_count": manifest.snapshot_count,
        "change_value": manifest.change_value,
        "rows": manifest.rows,
        "rejected": manifest.rejected,
        "rejected_reasons": manifest.rejected_reasons,
        "files": [asdict(file) for file in manifest.files],
        "rejected_file": asdict(manifest.rejected_file) if manifest.rejected_file else None,
        "schema": base64.b64encode(manifest.schema.serialize().to_pybytes()).decode(),
        "fields": [
            {"name": field.name, "type": str(field.type), "nullable": field.nullable}
            for field in manifest.schema
        ],
        "original_names": manifest.original_names,
        "columns": {name: asdict(summary) for name, summary in manifest.columns.items()},
        "config_hashes": manifest.config_hashes,
    }
    body = json.dumps(fields, sort_keys=True, indent=1, allow_nan=False).encode()
    digest = hashlib.sha256(body).hexdigest()
    return replace(manifest, hash=digest), _HEAD + body + _MIDDLE + digest.encode() + _TAIL


def decode_manifest(data: bytes) -> Manifest | None:
    """The manifest of stored bytes; None where they are torn, changed or of another format."""
    end = len(_MIDDLE) + _HASH_LENGTH + len(_TAIL)
    body, rest = data[len(_HEAD) : -end], data[-end:]
    digest = hashlib.sha256(body).hexdigest()
    if not data.startswith(_HEAD) or rest != _MIDDLE + digest.encode() + _TAIL:
        return None
    try:
        return _manifest(json.loads(body), digest)
    except (KeyError, TypeError, ValueError, pa.ArrowException):
        return None


def _manifest(fields: dict[str, Any], digest: str) -> Manifest | None:
    if fields.pop("format") != MANIFEST_FORMAT:
        return None
    del fields["fields"]
    schema = pa.ipc.read_schema(pa.BufferReader(base64.b64decode(fields.pop("schema"))))
    files = tuple(StagedFile(**file) for file in fields.pop("files"))
    rejected_file = fields.pop("rejected_file")
    summaries = fields.pop("columns")
    for name in ("window_start", "window_end", "created_at"):
        fields[name] = datetime.fromisoformat(fields[name])
    return Manifest(
        files=files,
        rejected_file=StagedFile(**rejected_file) if rejected_file else None,
        schema=schema,
        columns={name: ColumnSummary(**summaries[name]) for name in schema.names},
        hash=digest,
        **fields,
    )


def _time_text(time: datetime) -> str:
    return time.astimezone(timezone.utc).isoformat(timespec="microseconds")
