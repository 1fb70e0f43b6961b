"""The platform: its Elasticsearch source read into its local stage, proof and manifest included."""

from collections.abc import Callable
from datetime import datetime

from benchmarks.elasticsearch.sides.side import Job, main
from pipeline_platform.config import elasticsearch, systems
from pipeline_platform.movement import AttemptPath, WindowSlice
from pipeline_platform.sources import build_source
from pipeline_platform.stages import build_stage

import pyarrow as pa  # isort: skip  # behind the platform, which settles its memory

# Where pandas is installed, as in the environment of the tests, pyarrow imports it at the first
# array that is made of a list.
pa.array([0])


def deliver(job: Job) -> Callable[[], int]:
    """One attempt; its rows are counted from the files' footers."""
    settings = elasticsearch.ElasticsearchSource.model_validate(
        {
            "type": "elasticsearch", "hosts": [job.url], "index": job.index,
            "query_field": "placed_at", "slices": job.slices,
        }
    )  # fmt: skip
    stage_settings = systems.LocalStage.model_validate({"type": "local", "path": "stage"})
    source = build_source(settings, base_dir=job.files)
    stage = build_stage(stage_settings, base_dir=job.files)
    bounds = (datetime.fromisoformat(moment) for moment in (job.start, job.end))
    window = WindowSlice("bench", *bounds)
    with source.read(window) as snapshot:
        manifest = stage.write(
            AttemptPath(window, 1),
            snapshot,
            pipeline_id="bench",
            query_field="placed_at",
            config_hashes={},
            still_ours=lambda: None,
        )
    assert manifest.rejected == 0
    return lambda: stage.count(manifest)


if __name__ == "__main__":
    main(deliver)
