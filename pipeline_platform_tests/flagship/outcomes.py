"""A fault in the middle of a read, and the two ways in which the run may end then."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pipeline_platform.fault_points import fault_hook
from pipeline_platform.sources.elasticsearch import pages as elasticsearch_pages
from pipeline_platform.sources.elasticsearch import patience as elasticsearch_patience
from pipeline_platform_tests.flagship.stack import Row, Stack, failure

TRANSFER = "source_to_stage_transfer"


@contextmanager
def while_reading(act: Callable[[], object], *, batches: int = 2) -> Iterator[None]:
    """`act` once, when so many batches have come and most are still to come."""
    reached = 0

    def hook(name: str) -> None:
        nonlocal reached
        if name == "stage.after_batch":
            reached += 1
            if reached == batches:
                act()

    with fault_hook(hook):
        yield
    assert reached >= batches, "the fault never happened"


def require_whole(stack: Stack, row: dict[str, Any]) -> None:
    """The run moved the window: target, manifest and bucket hold exactly the documents."""
    assert row["pipeline_status"] == "SUCCESS", failure(row)
    number = len(stack.documents)
    manifest = stack.manifest(row["epoch"])
    assert (manifest["snapshot_count"], manifest["rows"], manifest["rejected"]) == (
        number, number, 0,
    )  # fmt: skip
    files = {file["path"] for file in manifest["files"]}
    assert set(stack.staged(row["epoch"])) == files | {"manifest.json"}
    assert stack.rows() == stack.expected()


def require_nothing(
    stack: Stack, row: dict[str, Any], before: list[Row], reason: str, phase: str = TRANSFER
) -> None:
    """The run failed and says why; it left nothing in the bucket, and the target as it was."""
    assert (row["pipeline_status"], row["error_category"]) == ("FAILED", "transient")
    assert re.search(f"^{phase}: .*({reason})", failure(row)), failure(row)
    assert stack.staged(row["epoch"]) == []
    client = stack.bucket.client()
    assert "Uploads" not in client.list_multipart_uploads(Bucket=stack.bucket.name)
    assert stack.rows() == before


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Shorter pauses between two tries; a server that hangs is not asked for long to clean up."""
    patch.setattr(elasticsearch_patience, "_FIRST_PAUSE_SECONDS", 0.1)
    patch.setattr(elasticsearch_patience, "_LONGEST_PAUSE_SECONDS", 1.0)
    patch.setattr(elasticsearch_pages, "_CLOSE_SECONDS", 0.5)
