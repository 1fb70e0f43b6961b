"""What a stage does about files and manifests that were changed behind its back."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline_platform.errors import (
    VerificationError,
)
from pipeline_platform.movement import (
    AttemptPath,
    Manifest,
    RejectedRecord,
    Snapshot,
)
from pipeline_platform.stages.base import Stage
from pipeline_platform_tests.stages.examples import (
    ATTEMPT,
    NOBODY,
    ROWS,
    WINDOW,
    snapshot_of,
)


class StageTests(ABC):
    """What the contract asks of a stage's test class: fresh stages, and access to their files."""

    @abstractmethod
    def make_stage(self, tmp_path: Path, **settings: Any) -> Stage: ...

    @abstractmethod
    def read(self, tmp_path: Path, relative: str) -> bytes: ...

    @abstractmethod
    def overwrite(self, tmp_path: Path, relative: str, data: bytes | None) -> None:
        """Replace a stored file behind the stage's back; None removes it."""

    @abstractmethod
    def paths(self, tmp_path: Path) -> list[str]:
        """All stored files, below the root, unfinished ones too."""

    @abstractmethod
    def archive_root(self, tmp_path: Path) -> str:
        """An archive as the config names it."""

    @abstractmethod
    def make_archive(self, tmp_path: Path) -> Stage:
        """A stage on what was archived."""

    @pytest.fixture
    def stage(self, tmp_path: Path) -> Stage:
        return self.make_stage(tmp_path)

    def write(
        self,
        stage: Stage,
        snapshot: Snapshot | None = None,
        attempt: AttemptPath = ATTEMPT,
        still_ours: Callable[[], None] = NOBODY,
    ) -> Manifest:
        return stage.write(
            attempt,
            snapshot or snapshot_of(ROWS[:10], ROWS[10:]),
            pipeline_id="orders_20251115T1000Z_run3",
            query_field="at",
            config_hashes={"source": "a", "stage": "b"},
            still_ours=still_ours,
        )


class DamageContract(StageTests):
    """Part of `StageContract`."""

    @pytest.mark.fault_row(18)
    def test_changed_files_are_refused(self, tmp_path: Path) -> None:
        stage = self.make_stage(tmp_path, rows_per_file=8)
        rejected = [RejectedRecord("id is NULL", "{}")]
        manifest = self.write(stage, snapshot_of(ROWS, rejected=rejected))
        assert manifest.rejected_file is not None
        stage.verify(manifest)
        for staged in (*manifest.files, manifest.rejected_file):
            path = f"{ATTEMPT.relative}/{staged.path}"
            whole = self.read(tmp_path, path)
            middle = len(whole) // 2
            edited = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
            for damaged in (None, b"", whole[:-1], whole + b"\n", edited):
                self.overwrite(tmp_path, path, damaged)
                with pytest.raises(VerificationError) as raised:
                    stage.verify(manifest)
                assert raised.value.facts["file"] == staged.path
            self.overwrite(tmp_path, path, whole)
        stage.verify(manifest)

    @pytest.mark.fault_row(18)
    def test_swapped_files_are_refused(self, tmp_path: Path) -> None:
        stage = self.make_stage(tmp_path, rows_per_file=8)
        manifest = self.write(stage)
        first, second = (f"{ATTEMPT.relative}/{file.path}" for file in manifest.files[:2])
        one, two = self.read(tmp_path, first), self.read(tmp_path, second)
        self.overwrite(tmp_path, first, two)
        self.overwrite(tmp_path, second, one)
        with pytest.raises(VerificationError):
            stage.verify(manifest)

    def test_unreadable_file_fails_the_count_and_the_scan(
        self, stage: Stage, tmp_path: Path
    ) -> None:
        manifest = self.write(stage)
        path = f"{ATTEMPT.relative}/{manifest.files[0].path}"
        for data in (None, b"PAR1 torn"):
            self.overwrite(tmp_path, path, data)
            with pytest.raises(VerificationError):
                stage.count(manifest)
            with pytest.raises(VerificationError):
                list(stage.scan(manifest))

    @pytest.mark.fault_row(18)
    def test_no_damaged_manifest_is_whole(self, stage: Stage, tmp_path: Path) -> None:
        self.write(stage)
        path = f"{ATTEMPT.relative}/manifest.json"
        whole = self.read(tmp_path, path)
        assert json.loads(whole)["manifest"]["rows"] == 23
        edited = whole.replace(b'"rows": 23', b'"rows": 22')
        assert edited != whole
        for damaged in (b"", b"{}", whole[:-1], whole[: len(whole) // 2], edited, whole + b" "):
            self.overwrite(tmp_path, path, damaged)
            assert stage.open_manifest(ATTEMPT) is None
            assert list(stage.manifests("orders")) == []
        self.overwrite(tmp_path, path, None)
        assert stage.open_manifest(ATTEMPT) is None

    @pytest.mark.fault_row(18)
    def test_manifest_of_another_window_or_attempt_is_not_ours(
        self, stage: Stage, tmp_path: Path
    ) -> None:
        self.write(stage)
        data = self.read(tmp_path, f"{ATTEMPT.relative}/manifest.json")
        longer = replace(WINDOW, end=WINDOW.end + timedelta(hours=1))
        for other in (replace(ATTEMPT, epoch=4), AttemptPath(longer, 3)):
            self.overwrite(tmp_path, f"{other.relative}/manifest.json", data)
            assert stage.open_manifest(other) is None
