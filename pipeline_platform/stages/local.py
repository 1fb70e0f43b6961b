"""The stage in a folder of this machine."""

from pathlib import Path

from pipeline_platform.config import systems
from pipeline_platform.stages.files import FileStage
from pipeline_platform.stages.local_storage import LocalStorage


class LocalStage(FileStage):
    """`<path>/<pipeline>/<window start, UTC>/run<epoch>/`; relative paths count from `base_dir`."""

    def __init__(self, system: systems.LocalStage, *, base_dir: Path) -> None:
        self._base_dir = base_dir
        super().__init__(LocalStorage(base_dir / system.path), system)

    def archive_storage(self, archive_root: str) -> LocalStorage:
        """Another folder of this machine; relative ones count from `base_dir`."""
        return LocalStorage(self._base_dir / archive_root)
