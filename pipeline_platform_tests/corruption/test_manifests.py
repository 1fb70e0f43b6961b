"""Forged manifests: the files fit what they say, and still nothing of them is loaded."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_platform.errors import VerificationError
from pipeline_platform.flow.step import StepFailedError
from pipeline_platform.movement import ColumnSummary, Manifest, StagedFile
from pipeline_platform.stages.manifest import decode_manifest, encode_manifest
from pipeline_platform_tests.corruption.conftest import AFTER_STAGING, Place
from pipeline_platform_tests.corruption.plants import SILENT, Files, Plant


def described_as_it_is(file: StagedFile, path: Path) -> StagedFile:
    data = path.read_bytes()
    return replace(file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def forged(files: Files) -> Manifest:
    """The manifest beside the files with their new sizes and hashes."""
    manifest = decode_manifest((files[0].parent / "manifest.json").read_bytes())
    assert manifest is not None
    pairs = zip(manifest.files, files, strict=True)
    return replace(manifest, files=tuple(described_as_it_is(*pair) for pair in pairs))


def hashes_of_files_only(files: Files, others: Files) -> None:
    """The manifest's own hash is left alone."""
    SILENT["values_of_two_rows_swapped"](files, others)
    path = files[0].parent / "manifest.json"
    stored = json.loads(path.read_bytes())
    _, data = encode_manifest(forged(files))
    path.write_bytes(data.replace(json.loads(data)["sha256"].encode(), stored["sha256"].encode()))


def all_hashes(files: Files, others: Files) -> None:
    SILENT["values_of_two_rows_swapped"](files, others)
    (files[0].parent / "manifest.json").write_bytes(encode_manifest(forged(files))[1])


def all_hashes_and_sums(files: Files, others: Files) -> None:
    SILENT["text_of_the_same_length"](files, others)
    manifest = forged(files)
    columns = {**manifest.columns, "price": ColumnSummary(0)}
    forgery = replace(manifest, columns={n: columns[n] for n in manifest.schema.names})
    (files[0].parent / "manifest.json").write_bytes(encode_manifest(forgery)[1])


def gone(files: Files, others: Files) -> None:
    (files[0].parent / "manifest.json").unlink()


FORGERIES = [hashes_of_files_only, all_hashes, all_hashes_and_sums, gone]
# What is found out here, no target has a part in.
pytestmark = pytest.mark.parametrize("place", ["duckdb"], indirect=True)


@pytest.mark.parametrize("plant", FORGERIES, ids=lambda plant: plant.__name__)
def test_in_the_same_run(place: Place, plant: Plant) -> None:
    """The drive table knows which manifest the run wrote."""
    key, number = place.new_key(), place.number()
    with (
        place.damaged_at(AFTER_STAGING, plant, key),
        pytest.raises(StepFailedError) as caught,
    ):
        place.run(key)
    assert isinstance(caught.value.error, VerificationError)
    assert (place.of_day(key), place.number()) == ([], number)
    place.require_healed(key)


@pytest.mark.parametrize("plant", FORGERIES, ids=lambda plant: plant.__name__)
def test_before_a_resumed_run(place: Place, plant: Plant) -> None:
    """The next run does not go on from it: it reads the window again at once."""
    key = place.new_key()
    place.stage_only(key)
    place.damage(plant, key)
    row = place.require_healed(key)
    assert row.phases["pre_validation"].phase_specific_details["action"] == "start_over"
    assert row.phases["source_to_stage_transfer"].status == "COMPLETED"
