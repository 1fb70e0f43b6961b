"""What an upload leaves of a process: its memory, and its traces after a kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pipeline_platform
from pipeline_platform.stages.s3_upload import PART_BYTES, PART_THREADS
from pipeline_platform_tests.servers.s3 import S3Bucket
from pipeline_platform_tests.stages.buckets import storage_in, unfinished

PROJECT = Path(pipeline_platform.__file__).parent.parent

WRITE = """
import json, os, resource, signal, sys
from pathlib import Path
from pipeline_platform.config.s3 import S3Stage
from pipeline_platform.connections.s3 import S3Bucket
from pipeline_platform.stages.s3_storage import S3Storage

def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

storage = S3Storage(S3Bucket(S3Stage(type="s3", **json.loads(sys.argv[1])), Path()), "stage")
piece = os.urandom(1 << 20)

def write(name, mebibytes, then=lambda: None):
    with storage.create(f"a/run1/{name}") as sink:
        for _ in range(mebibytes):
            sink.write(piece)
        then()

if sys.argv[2] == "killed":
    write("file", 40, lambda: os.kill(os.getpid(), signal.SIGKILL))
write("small", 40)
small = megabytes()
write("large", 300)
large = megabytes()
with storage.open("a/run1/large") as stream:
    while stream.read(1 << 20):
        pass
print(json.dumps({"small": small, "large": large, "read": megabytes()}))
"""


def run(bucket: S3Bucket, how: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **bucket.server.environment, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, "-c", WRITE, json.dumps(bucket.as_config()), how],
        capture_output=True, text=True, timeout=120, check=False, env=environment,
    )  # fmt: skip


def test_memory_is_flat_in_the_size_of_a_file(s3_bucket: S3Bucket) -> None:
    done = run(s3_bucket, "whole")
    assert done.returncode == 0, done.stderr
    peak = json.loads(done.stdout)
    part = PART_BYTES / 2**20
    assert peak["large"] - peak["small"] <= (PART_THREADS + 2) * part
    assert peak["large"] <= 1.15 * peak["small"]
    # Blocks that are read ahead are half as large as parts.
    assert peak["read"] <= 1.3 * peak["small"]


def test_a_killed_upload_leaves_nothing_visible(s3_bucket: S3Bucket) -> None:
    assert run(s3_bucket, "killed").returncode == -signal.SIGKILL
    storage = storage_in(s3_bucket)
    assert s3_bucket.keys() == []
    assert storage.names("a") == []
    assert unfinished(s3_bucket) == ["stage/a/run1/file"]
    assert storage.delete_folder("a/run1") == 1
    assert unfinished(s3_bucket) == []
