"""A storage in a bucket when the network or the service fails (fault matrix, rows 16-18, 24)."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from urllib.parse import urlsplit

import numpy
import pyarrow as pa
import pytest

from pipeline_platform.errors import TransientError
from pipeline_platform.movement import Snapshot, SourceBatch
from pipeline_platform.stages.s3_upload import PART_BYTES
from pipeline_platform_tests.servers.s3 import S3Bucket
from pipeline_platform_tests.servers.toxiproxy import Relay, Toxiproxy
from pipeline_platform_tests.stages.buckets import (
    MEBIBYTE,
    Storage,
    stage_in,
    storage_in,
    through,
    unfinished,
)
from pipeline_platform_tests.stages.busy_service import BusyService, busy_service
from pipeline_platform_tests.stages.examples import ATTEMPT, NOBODY, ROWS, snapshot_of

PARTS = 3


@pytest.fixture
def relay(toxiproxy: Toxiproxy, s3_bucket: S3Bucket) -> Iterator[Relay]:
    relay = toxiproxy.relay(urlsplit(s3_bucket.server.endpoint_url).netloc)
    yield relay
    relay.remove()


@pytest.fixture
def busy(s3_bucket: S3Bucket) -> Iterator[BusyService]:
    with busy_service(s3_bucket.server.endpoint_url) as service:
        yield service


def write(storage: Storage, disturb: Callable[[], object] = lambda: None) -> None:
    """Three parts; `disturb` is called after the first."""
    with storage.create("a/run1/file") as sink:
        for n in range(PARTS * PART_BYTES // len(MEBIBYTE)):
            if n == PART_BYTES // len(MEBIBYTE) + 2:
                disturb()
            sink.write(MEBIBYTE)


def at_request(storage: Storage, operation: str, *acts: Callable[[], object]) -> list[float]:
    """Call the n-th act before the n-th try of an operation; returns when tries were made."""
    tries: list[float] = []

    def act(**_: Any) -> None:
        tries.append(time.monotonic())
        if len(tries) <= len(acts):
            acts[len(tries) - 1]()

    storage.events.register(f"before-send.s3.{operation}", act)
    return tries


FAULTS: dict[str, Callable[[Relay], Any]] = {
    "hang": lambda relay: relay.hang(),
    "hang-up": lambda relay: relay.hang("upstream"),
    "reset": lambda relay: relay.reset(),
    "cut": lambda relay: relay.cut_after(100_000, "upstream"),
    "down": lambda relay: relay.down(),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.fault_row(17)
def test_an_upload_that_breaks_off_leaves_nothing_visible(
    name: str, relay: Relay, s3_bucket: S3Bucket
) -> None:
    storage = storage_in(s3_bucket, **through(relay))
    began = time.monotonic()
    with ExitStack() as faults, pytest.raises(TransientError, match="s3://"):
        write(storage, lambda: faults.enter_context(FAULTS[name](relay)))
    assert time.monotonic() - began < 20
    assert s3_bucket.keys() == []
    # The end of the upload could not be told to the service; cleaning the attempt does it.
    storage_in(s3_bucket).delete_folder("a/run1")
    assert unfinished(s3_bucket) == []
    write(storage)
    assert s3_bucket.get("stage/a/run1/file") == MEBIBYTE * (PARTS * PART_BYTES // len(MEBIBYTE))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_passes_is_not_noticed(name: str, relay: Relay, s3_bucket: S3Bucket) -> None:
    storage = storage_in(s3_bucket, **through(relay, max_attempts=4))
    with ExitStack() as faults:
        begin = lambda: faults.enter_context(FAULTS[name](relay))  # noqa: E731
        tries = at_request(storage, "UploadPart", begin, time.time, time.time, faults.close)
        write(storage)
    assert len(tries) > PARTS
    assert s3_bucket.get("stage/a/run1/file") == MEBIBYTE * (PARTS * PART_BYTES // len(MEBIBYTE))


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.fault_row(17)
def test_the_answer_to_the_end_of_an_upload_gets_lost(
    attempts: int, relay: Relay, s3_bucket: S3Bucket
) -> None:
    storage = storage_in(s3_bucket, **through(relay, max_attempts=attempts))
    with ExitStack() as faults:
        begin = lambda: faults.enter_context(relay.hang())  # noqa: E731
        at_request(storage, "CompleteMultipartUpload", begin, faults.close)
        at_request(storage, "HeadObject", faults.close)
        write(storage)
    assert len(s3_bucket.get("stage/a/run1/file")) == PARTS * PART_BYTES


@pytest.mark.fault_row(17)
def test_the_end_of_an_upload_that_did_not_arrive(relay: Relay, s3_bucket: S3Bucket) -> None:
    """An object of an earlier upload under the same name is not taken for this one's."""
    s3_bucket.put("stage/a/run1/file", bytes(PARTS * PART_BYTES))
    storage = storage_in(s3_bucket, **through(relay, max_attempts=1))
    with ExitStack() as faults:
        begin = lambda: faults.enter_context(relay.hang("upstream"))  # noqa: E731
        at_request(storage, "CompleteMultipartUpload", begin)
        at_request(storage, "HeadObject", faults.close)
        with pytest.raises(TransientError):
            write(storage)
    assert s3_bucket.get("stage/a/run1/file") == bytes(PARTS * PART_BYTES)
    assert unfinished(s3_bucket) == []


@pytest.mark.fault_row(17)
def test_the_answer_to_a_manifest_gets_lost(relay: Relay, s3_bucket: S3Bucket) -> None:
    """The second try finds the first one's object: 412 on one's own manifest is success."""
    stage = stage_in(s3_bucket, **through(relay, max_attempts=3))
    storage = stage._storage
    assert hasattr(storage, "_bucket")
    events = storage._bucket.client.meta.events
    tries: list[bool] = []
    with ExitStack() as faults:

        def lose(request: Any, **_: Any) -> None:
            if b"If-None-Match" in request.headers or "If-None-Match" in request.headers:
                tries.append(True)
                if len(tries) == 1:
                    faults.enter_context(relay.hang())
                else:
                    faults.close()

        events.register("before-send.s3.PutObject", lose)
        manifest = stage.write(
            ATTEMPT, snapshot_of(ROWS), pipeline_id="i", query_field="at", config_hashes={},
            still_ours=NOBODY,
        )  # fmt: skip
    assert len(tries) == 2
    assert stage.open_manifest(ATTEMPT) == manifest


@pytest.mark.parametrize("name", ["hang", "reset", "cut", "down"])
def test_reading_gives_all_or_an_error(name: str, relay: Relay, s3_bucket: S3Bucket) -> None:
    def fault() -> AbstractContextManager[None]:
        return relay.cut_after(100_000) if name == "cut" else FAULTS[name](relay)

    data = MEBIBYTE * 12
    s3_bucket.put("stage/a/file", data)
    storage = storage_in(s3_bucket, **through(relay))
    with storage.open("a/file") as stream, fault(), pytest.raises(TransientError, match="s3://"):
        stream.read()
    storage = storage_in(s3_bucket, **through(relay, max_attempts=6))
    with storage.open("a/file") as stream, ExitStack() as faults:
        faults.enter_context(fault())
        tries = at_request(storage, "GetObject", *[time.time] * 5, faults.close)
        assert stream.read() == data
        assert len(tries) > 5


@pytest.mark.fault_row(24)
def test_a_slow_link_is_no_failure(relay: Relay, s3_bucket: S3Bucket) -> None:
    """Timeouts count from byte to byte: a part may take longer than any of them."""
    settings = through(relay, max_attempts=1, read_timeout_seconds=3)
    storage = storage_in(s3_bucket, **settings)
    data = MEBIBYTE * 8
    began = time.monotonic()
    with relay.bandwidth(3_000, "upstream"), storage.create("a/file") as sink:
        sink.write(data)
    assert time.monotonic() - began > 5 * settings["connect_timeout_seconds"]
    assert s3_bucket.get("stage/a/file") == data
    storage = storage_in(s3_bucket, **through(relay, max_attempts=1))
    with relay.bandwidth(5_000), storage.open("a/file") as stream:
        began = time.monotonic()
        assert stream.read() == data
    assert time.monotonic() - began > settings["connect_timeout_seconds"]


@pytest.mark.fault_row(24)
def test_a_link_that_is_too_slow_is_a_failure(relay: Relay, s3_bucket: S3Bucket) -> None:
    """Row 24: bytes that trickle in keep every timeout from byte to byte."""
    settings = through(relay, max_attempts=1, read_timeout_seconds=0.1)
    storage = storage_in(s3_bucket, **settings)
    s3_bucket.put("stage/a/file", MEBIBYTE * 4)
    with relay.bandwidth(1_000), storage.open("a/file") as stream:
        began = time.monotonic()
        with pytest.raises(TransientError):
            stream.read()
        assert 1 <= time.monotonic() - began < 3.5
    with relay.bandwidth(1_000, "upstream"):
        began = time.monotonic()
        with pytest.raises(TransientError, match="a/run1/file"):
            write(storage)
        assert 1 <= time.monotonic() - began < 20
    assert s3_bucket.keys() == ["stage/a/file"]


@pytest.mark.parametrize(
    ("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (409, "OperationAborted")]
)
@pytest.mark.fault_row(17)
def test_a_busy_service(status: int, code: str, busy: BusyService, s3_bucket: S3Bucket) -> None:
    storage = storage_in(s3_bucket, endpoint_url=busy.url, max_attempts=2)
    busy.status, busy.code = status, code
    busy.refusals = 1_000
    for call in (
        lambda: storage.put_if_absent("a/1", b"x"),
        lambda: storage.open("a/1"),
        lambda: storage.names("a"),
        lambda: storage.delete_folder("a"),
        lambda: write(storage),
    ):
        with pytest.raises(TransientError, match=f"Try less .{code}, request R1"):
            call()
    busy.refusals = busy.refused
    assert storage.names("a") == []
    assert storage.put_if_absent("a/1", b"x")
    with storage.open("a/1") as stream:
        assert stream.read() == b"x"


def test_a_put_that_meets_another_one_is_tried_again(
    busy: BusyService, s3_bucket: S3Bucket
) -> None:
    storage = storage_in(s3_bucket, endpoint_url=busy.url, max_attempts=3)
    busy.status, busy.code, busy.refusals = 409, "ConditionalRequestConflict", 2
    assert storage.put_if_absent("a/1", b"x")
    busy.refused = 0
    assert not storage.put_if_absent("a/1", b"y")
    busy.refused, busy.refusals = 0, 3
    with pytest.raises(TransientError, match="ConditionalRequestConflict"):
        storage.put_if_absent("a/2", b"x")
    assert s3_bucket.get("stage/a/1") == b"x"


def test_a_load_from_a_bucket_that_breaks_off(relay: Relay, s3_bucket: S3Bucket) -> None:
    """What goes wrong while pyarrow reads keeps its class."""
    stage = stage_in(s3_bucket, **through(relay, max_attempts=1))
    batches = [
        pa.record_batch({"at": pa.array(numpy.random.default_rng(n).random(250_000))})
        for n in range(16)
    ]
    rows = (SourceBatch(batch) for batch in batches)
    manifest = stage.write(
        ATTEMPT, Snapshot("exact", 4_000_000, batches[0].schema, rows), pipeline_id="i",
        query_field="at", config_hashes={}, still_ours=NOBODY,
    )  # fmt: skip
    scan = stage.scan(manifest)
    first = next(scan)
    with relay.hang(), pytest.raises(TransientError):
        list(scan)
    with relay.hang(), pytest.raises(TransientError):
        stage.verify(manifest)
    stage.verify(manifest)
    read = pa.Table.from_batches(stage.scan(manifest))
    assert read.equals(pa.Table.from_batches(batches))
    assert first.equals(read.to_batches()[0])
