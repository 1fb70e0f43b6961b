import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline_platform.config import systems
from pipeline_platform.errors import ConfigurationError, PermanentError
from pipeline_platform.movement import AttemptPath, Snapshot, SourceBatch
from pipeline_platform.stages import build_stage
from pipeline_platform.stages.base import Stage
from pipeline_platform.stages.local import LocalStage
from pipeline_platform.stages.parquet import GREATEST_GROWTH, file_growth
from pipeline_platform_tests.stages.contract import StageContract
from pipeline_platform_tests.stages.examples import ATTEMPT, ROWS, WINDOW, snapshot_of


class TestLocalStage(StageContract):
    def make_stage(self, tmp_path: Path, **settings: Any) -> Stage:
        config = systems.LocalStage(type="local", **{"path": "stage", **settings})
        return build_stage(config, base_dir=tmp_path)

    def read(self, tmp_path: Path, relative: str) -> bytes:
        return (tmp_path / "stage" / relative).read_bytes()

    def overwrite(self, tmp_path: Path, relative: str, data: bytes | None) -> None:
        path = tmp_path / "stage" / relative
        if data is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def paths(self, tmp_path: Path) -> list[str]:
        root = tmp_path / "stage"
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())

    def archive_root(self, tmp_path: Path) -> str:
        return str(tmp_path / "archive")

    def make_archive(self, tmp_path: Path) -> Stage:
        return self.make_stage(tmp_path, path="archive")

    def test_files_are_private_and_unfinished_ones_never_visible(
        self, stage: Stage, tmp_path: Path
    ) -> None:
        self.write(stage)
        for path in self.paths(tmp_path):
            assert stat.S_IMODE((tmp_path / "stage" / path).stat().st_mode) == 0o600
        (tmp_path / "stage" / ATTEMPT.relative / ".tmp-0123").write_bytes(b"half")
        assert stage.attempts(WINDOW) == [3]
        assert stage.delete(ATTEMPT) == 3

    def test_link_out_of_the_root_is_refused(self, stage: Stage, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "precious").write_text("x")
        window_folder = (tmp_path / "stage" / ATTEMPT.relative).parent
        window_folder.mkdir(parents=True)
        (window_folder / "run3").symlink_to(outside)
        with pytest.raises(ConfigurationError):
            stage.delete(ATTEMPT)
        with pytest.raises(ConfigurationError):
            self.write(stage)
        assert (outside / "precious").exists()

    def test_root_that_cannot_be_written_fails_the_check(self, tmp_path: Path) -> None:
        (tmp_path / "stage").write_text("a file, not a folder")
        (check,) = self.make_stage(tmp_path).check()
        assert not check.passed
        assert "stage" in check.detail

    def test_archive_into_the_stage_itself_is_refused(self, stage: Stage, tmp_path: Path) -> None:
        manifest = self.write(stage)
        with pytest.raises(ConfigurationError):
            stage.archive(ATTEMPT, str(tmp_path / "stage"))
        stage.verify(manifest)


def test_a_terabyte_makes_at_most_a_thousand_files() -> None:
    growth = [file_growth(files) for files in range(1_000)]
    assert growth[:500] == [1] * 500
    assert growth == sorted(growth)
    assert sum(growth) * systems.LocalStage(type="local", path="stage").bytes_per_file > 10**12
    assert max(file_growth(files) for files in range(5_000)) == GREATEST_GROWTH


def test_files_of_great_windows_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_platform.stages.parquet.FILES_OF_WANTED_SIZE", 2)
    monkeypatch.setattr("pipeline_platform.stages.parquet.GROWTH_EVERY", 2)
    config = systems.LocalStage(type="local", path="stage", rows_per_file=1)
    stage = build_stage(config, base_dir=tmp_path)
    manifest = stage.write(
        ATTEMPT, snapshot_of(ROWS), pipeline_id="i", query_field="at", config_hashes={},
        still_ours=lambda: None,
    )  # fmt: skip
    assert [file.rows for file in manifest.files] == [1, 1, 2, 2, 4, 4, 8, 1]


DISK_FULL = """
import resource, sys
from pathlib import Path
from pipeline_platform.config import systems
from pipeline_platform.errors import PermanentError
from pipeline_platform.stages import build_stage
from pipeline_platform_tests.stages.examples import ATTEMPT, ROWS, snapshot_of
stage = build_stage(
    systems.LocalStage(type="local", path="stage", rows_per_group=1000), base_dir=Path(sys.argv[1])
)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    stage.write(ATTEMPT, snapshot_of(*[ROWS * 50] * 4), pipeline_id="i", query_field="at",
                config_hashes={}, still_ours=lambda: None)
except PermanentError as error:
    print(error)
"""

KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline_platform.config import systems
from pipeline_platform.stages import build_stage
from pipeline_platform_tests.stages.examples import ATTEMPT, ROWS, batch_of, snapshot_of
WATCHED = ("open", "os.rename", "os.link", "os.remove", "os.mkdir")
def write(folder, survived):
    def count_down(event, arguments):
        nonlocal survived
        if event in WATCHED and folder in str(arguments):
            survived -= 1
            if survived < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    system = systems.LocalStage(type="local", path="stage", rows_per_file=10)
    stage = build_stage(system, base_dir=Path(folder))
    sys.addaudithook(count_down)
    stage.write(ATTEMPT, snapshot_of(ROWS), pipeline_id="i", query_field="at", config_hashes={},
                still_ours=lambda: None)
batch_of(ROWS)  # loads pandas once, not in every child
for n in range(100):
    folder = os.path.join(sys.argv[1], str(n))
    os.mkdir(folder)
    child = os.fork()
    if not child:
        write(folder, n)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(n, os.waitstatus_to_exitcode(status), flush=True)
    if status == 0:
        break
"""


def run(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


@pytest.mark.fault_row(16)
def test_full_disk_is_a_clear_error_without_a_manifest(tmp_path: Path) -> None:
    done = run(DISK_FULL, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "stage file" in done.stdout
    stage = build_stage(systems.LocalStage(type="local", path="stage"), base_dir=tmp_path)
    assert stage.open_manifest(ATTEMPT) is None
    assert stage.attempts(WINDOW) == [3]
    stage.delete(ATTEMPT)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.fault_row(1, 16)
def test_killed_at_any_file_operation_it_is_whole_or_absent(tmp_path: Path) -> None:
    done = run(KILLED, str(tmp_path))
    codes = [int(line.split()[1]) for line in done.stdout.splitlines()]
    assert codes[-1] == 0, done.stderr
    assert set(codes[:-1]) == {-9}
    assert len(codes) > 20
    whole = []
    for n in range(len(codes)):
        system = systems.LocalStage(type="local", path="stage")
        stage = build_stage(system, base_dir=tmp_path / str(n))
        manifest = stage.open_manifest(ATTEMPT)
        whole.append(manifest is not None)
        if manifest is not None:
            stage.verify(manifest)
            assert stage.count(manifest) == 23
        stage.delete(ATTEMPT)
        assert stage.attempts(WINDOW) == []
    assert not whole[0]
    assert whole[-1]


def test_own_class_is_called_like_a_built_in_one(tmp_path: Path) -> None:
    path = f"{__name__}:OwnStage"
    stage = build_stage(
        systems.CustomStage(type=path, options={"folder": "elsewhere"}), base_dir=tmp_path
    )
    assert isinstance(stage, LocalStage)
    assert stage.attempts(AttemptPath(WINDOW, 1).window) == []
    assert stage.name == str(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "path", ["pipeline_platform.no_such_module:X", "pipeline_platform.stages.local:NoSuchClass"]
)
def test_unknown_class_is_a_configuration_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no_such_module|NoSuchClass"):
        build_stage(systems.CustomStage(type=path), base_dir=tmp_path)


class OwnStage(LocalStage):
    def __init__(self, system: systems.CustomStage, *, base_dir: Path) -> None:
        config = systems.LocalStage(type="local", path=system.options["folder"])
        super().__init__(config, base_dir=base_dir)


@pytest.mark.parametrize(
    "kind",
    [
        pa.null(), pa.duration("us"), pa.binary(4), pa.float16(), pa.time32("s"),
        pa.timestamp("s"), pa.timestamp("ns"), pa.large_string(), pa.list_(pa.int64()),
        pa.dictionary(pa.int32(), pa.string()), pa.struct({"a": pa.int64()}), pa.date64(),
    ],
    ids=str,
)  # fmt: skip
def test_a_connector_of_ones_own_may_stage_any_arrow_type(tmp_path: Path, kind: Any) -> None:
    stage = build_stage(systems.LocalStage(type="local", path="stage"), base_dir=tmp_path)
    schema = pa.schema({"v": kind})
    batch = pa.RecordBatch.from_arrays([pa.nulls(3, kind)], schema=schema)
    snapshot = Snapshot("exact", 6, schema, iter([SourceBatch(batch), SourceBatch(batch)]))
    manifest = stage.write(
        ATTEMPT, snapshot, pipeline_id="i", query_field="v", config_hashes={},
        still_ours=lambda: None,
    )  # fmt: skip
    assert stage.open_manifest(ATTEMPT) == manifest
    table = pa.Table.from_batches(stage.scan(manifest))
    assert table.schema == manifest.schema
    assert table.column("v").null_count == 6
    assert manifest.columns["v"].nulls == 6


def test_a_type_that_parquet_lacks_is_a_clear_error(tmp_path: Path) -> None:
    stage = build_stage(systems.LocalStage(type="local", path="stage"), base_dir=tmp_path)
    schema = pa.schema({"v": pa.month_day_nano_interval()})
    with pytest.raises(PermanentError, match="cannot be written as Parquet"):
        stage.write(
            ATTEMPT, Snapshot("exact", 0, schema, iter([])), pipeline_id="i", query_field="v",
            config_hashes={}, still_ours=lambda: None,
        )  # fmt: skip
