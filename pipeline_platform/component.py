"""From one config to Dagster definitions. The file to read first.

type: pipeline_platform.WindowedPipeline
attributes: {...the sections of the config...}   or   attributes: {config: orders.yaml}
"""

from functools import cache, cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel
from typing_extensions import Self

from pipeline_platform.automation.due_windows import due_windows_sensor
from pipeline_platform.automation.lease_sweep import lease_sweep_sensor
from pipeline_platform.automation.recheck import recheck_sensor
from pipeline_platform.config.attributes import (
    PipelineAttributes,
    StateAttributes,
    load_attributes,
    load_state,
    switched_off,
)
from pipeline_platform.config.load import LoadedConfig
from pipeline_platform.drive_table.io_manager import (
    DRIVE_TABLE,
    HELD_WAIT_SECONDS,
    DriveTableIOManager,
)
from pipeline_platform.errors import ConfigurationError
from pipeline_platform.flow.assets import PIPELINE_TAG, build_assets
from pipeline_platform.flow.catalog import ConfigPlace
from pipeline_platform.flow.pipeline import Pipeline
from pipeline_platform.partitions import partitions_definition, refuse_key_mismatch
from pipeline_platform.scaffold import DriveTableScaffolder, PipelineScaffolder


@dg.scaffold_with(PipelineScaffolder)
class WindowedPipeline(dg.Component):
    """A time-windowed pipeline: source, stage, target, audit and cleaning as partitioned assets.

    Each window of time is one partition, moved exactly once, counted at every hand-over, with a
    row of the drive table per run. Give the sections of the config inline, or `config:` with the
    path of a YAML or JSON file beside this one.
    """

    def __init__(self, loaded: LoadedConfig) -> None:
        self.loaded = loaded
        self.pipeline = Pipeline(loaded.config, loaded.base_dir)

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The attributes that `dg check yaml` accepts."""
        return PipelineAttributes

    @classmethod
    def load(
        cls, attributes: BaseModel | None, context: dg.ComponentLoadContext
    ) -> "WindowedPipeline":
        """Read the config; all its errors are reported at once, with file and line.

        Of a pipeline that is off only a PipelineOff is left.
        """
        assert isinstance(attributes, PipelineAttributes)
        values = context.resolution_context.resolve_value(attributes.root, as_type=dict)
        off = switched_off(values)
        if off is not None:
            return PipelineOff(off)
        loaded = load_attributes(values, context.path, project_root=Path(context.project_root))
        metadata = loaded.config.pipeline_metadata
        return cls(loaded) if metadata.enabled else PipelineOff(metadata.pipeline_name)

    @property
    def name(self) -> str:
        """The pipeline's name, also of one that is off."""
        return self.pipeline.name

    @property
    def job_name(self) -> str:
        """The job that runs all five assets of one window."""
        return f"{self.pipeline.name}_windows"

    @cached_property
    def partitions(self) -> dg.TimeWindowPartitionsDefinition:
        """One partition per window; refused if Dagster would cut the windows differently."""
        definition = partitions_definition(self.pipeline.windows)
        refuse_key_mismatch(self.pipeline.windows, definition)
        return definition

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Five assets with inline checks, their job, and the sensors that start it."""
        DriveTable.require_one(context)
        sensors = [due_windows_sensor(self.pipeline, self.job_name)]
        if self.pipeline.config.recheck.enabled:
            sensors.append(recheck_sensor(self.pipeline, self.job_name))
        return dg.Definitions(
            assets=build_assets(self.pipeline, self.partitions, self._place(context)),
            jobs=[
                dg.define_asset_job(
                    self.job_name,
                    selection=dg.AssetSelection.groups(self.pipeline.name),
                    description=f"One window of {self.pipeline.name}, from source to audit.",
                    tags={PIPELINE_TAG: self.pipeline.name},
                )
            ],
            sensors=sensors,
        )

    def _place(self, context: dg.ComponentLoadContext) -> ConfigPlace:
        return ConfigPlace(self.loaded.path, Path(context.project_root), self.loaded.locate)


class PipelineOff(WindowedPipeline):
    """What is loaded of a pipeline with `enabled: false`: its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """What the config calls it."""
        return self._name

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Nothing."""
        return dg.Definitions()


@dg.scaffold_with(DriveTableScaffolder)
class DriveTable(dg.Component):
    """The drive table of all pipelines: where the state of every run is kept.

    `type` chooses the warehouse (duckdb, postgres or snowflake); the other attributes are its
    connection. Give them inline, or `config:` with the path of a YAML file beside this one.
    """

    def __init__(self, state: dict[str, Any], base_dir: Path) -> None:
        self.io_manager = DriveTableIOManager(
            state=state, base_dir=str(base_dir), held_wait_seconds=HELD_WAIT_SECONDS
        )

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The attributes that `dg check yaml` accepts."""
        return StateAttributes

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Read the connection; secrets stay references until they are used."""
        assert isinstance(attributes, StateAttributes)
        resolve = context.resolution_context.resolve_value
        state = load_state(dict(resolve(attributes.root)), context.path, resolve)
        return cls(state, Path(context.project_root))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The IO manager under the key that every pipeline's assets use, and the lease sweep."""
        tree = context.component_tree

        @cache
        def pipelines() -> frozenset[str]:
            found = tree.get_all_components(of_type=WindowedPipeline)
            return frozenset(component.name for component in found)

        return dg.Definitions(
            resources={DRIVE_TABLE: self.io_manager}, sensors=[lease_sweep_sensor(pipelines)]
        )

    @classmethod
    def require_one(cls, context: dg.ComponentLoadContext) -> "DriveTable":
        """The one that the project has.

        ConfigurationError if it has none, or more; Dagster would name a resource instead.
        """
        found = context.component_tree.get_all_components(of_type=cls)
        if not found:
            raise ConfigurationError(
                f"{context.project_root} has no drive table, which its pipelines need.",
                hint="Make one: dg scaffold defs pipeline_platform.DriveTable drive_table",
            )
        if len(found) > 1:
            raise ConfigurationError(
                f"{context.project_root} has {len(found)} drive tables, its pipelines need one.",
                hint="Remove all but one component of type pipeline_platform.DriveTable.",
            )
        return found[0]
