"""Processes that start together, each with a Dagster instance of its own, on one project.

`python -m pipeline_platform_tests.flow.contenders ROOT PIPELINE KEYS KEYS ...` forks one process
per list of window keys (comma-separated) and prints what each of them got, as JSON.
"""

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

import dagster as dg

from pipeline_platform.project import Project, find_project, reconstruct_job
from pipeline_platform.runner import run_window


def contend(
    project: Project, pipeline_name: str, keys: list[str], start: int
) -> list[dict[str, object]]:
    home = tempfile.mkdtemp(dir=project.root, prefix="dagster_home_")
    (Path(home) / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    os.environ["DAGSTER_HOME"] = home
    windows = project.pipeline(pipeline_name).pipeline.windows
    with dg.DagsterInstance.get() as instance:
        os.read(start, 1)  # until all are ready
        results = [
            run_window(project, pipeline_name, windows.window_of_key(key), instance) for key in keys
        ]
    return [
        {
            "key": result.window.key,
            "success": result.success,
            "status": result.row.pipeline_status if result.row else None,
            "reason": result.reason,
            "attempts": result.attempts,
        }
        for result in results
    ]


def main() -> None:
    root, pipeline_name, *lists = sys.argv[1:]
    project = find_project(Path(root))
    reconstruct_job(root, pipeline_name)  # loaded once, before the fork
    project.pipeline(pipeline_name)
    start, go = os.pipe()
    children = []
    for keys in lists:
        results, answer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                got = contend(project, pipeline_name, keys.split(","), start)
                os.write(answer, json.dumps(got).encode())
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os.close(answer)
        children.append((child, results))
    os.write(go, b"." * len(lists))
    told = []
    for child, results in children:
        with os.fdopen(results, "rb") as stream:
            told.append(json.loads(stream.read() or b"[]"))
        os.waitpid(child, 0)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
