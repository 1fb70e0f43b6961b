"""elasticdump to a file of JSON lines."""

import json
import subprocess
from collections.abc import Callable

from benchmarks.elasticsearch.sides.side import SIDE_SECONDS, Job, main


def deliver(job: Job) -> Callable[[], int]:
    """One process with its options; Node's own start is in its time."""
    assert job.program is not None
    path = job.files / "window.jsonl"
    subprocess.run(
        [
            "node", job.program, f"--input={job.url}/{job.index}", f"--output={path}",
            "--type=data", f"--searchBody={json.dumps({'query': job.query})}", *job.options,
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=SIDE_SECONDS, check=True,
    )  # fmt: skip
    return lambda: path.read_bytes().count(b"\n") if path.exists() else 0


if __name__ == "__main__":
    main(deliver)
