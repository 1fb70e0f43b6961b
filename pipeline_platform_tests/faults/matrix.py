"""The fault matrix: every row, how it is provoked here, and the systems in which it must be proven.

Tests carry `@pytest.mark.fault_row(<number>)`. `python -m pipeline_platform_tests.faults.matrix`
prints the table of the guide.
"""

from dataclasses import dataclass

TARGETS = ("postgres", "duckdb", "snowflake")
SOURCES = ("postgres", "elasticsearch")
ALL = ("elasticsearch", *TARGETS)


@dataclass(frozen=True)
class FaultRow:
    """One row; `on` are the systems where it can happen."""

    fault: str
    provoked: str
    on: tuple[str, ...]


MATRIX: dict[int, FaultRow] = {
    1: FaultRow(
        "kill -9 before, during and after each write",
        "SIGKILL at each numbered fault point in turn, at random moments, and again while the "
        "next run resumes; the same points raise errors",
        ALL,
    ),
    2: FaultRow(
        "kill -9 between the target's COMMIT and the drive row",
        "SIGKILL right after COMMIT; the next run finds the commit row and loads nothing",
        TARGETS,
    ),
    3: FaultRow(
        "the connection breaks during COMMIT",
        "a proxy cuts the connection before and after the server gets COMMIT; both outcomes are "
        "read from the commit row",
        TARGETS,
    ),
    4: FaultRow(
        "a worker sleeps past its lease and wakes up",
        "SIGSTOP while it reads, stages and loads; another run moves the window; SIGCONT",
        ("postgres", "elasticsearch", "snowflake"),
    ),
    5: FaultRow(
        "two runs want one window at once",
        "1,000 races for a claim on PostgreSQL; eight processes on the same windows",
        TARGETS,
    ),
    6: FaultRow(
        "the machine's clock jumps an hour; days of clock changes",
        "the worker's clock is moved by an hour both ways; every minute of 23- and 25-hour days "
        "is moved",
        ("postgres", "duckdb"),
    ),
    7: FaultRow(
        "SIGTERM, or a run cancelled in Dagster",
        "interrupts while a window is read and while it is loaded; a run of the daemon is "
        "cancelled as in the UI, the worker of another gets SIGTERM",
        ("postgres", "duckdb"),
    ),
    8: FaultRow(
        "code server or host dies, the run stays STARTED",
        "runs whose process is gone: the next run, or the lease sweep, closes their rows",
        ("postgres", "duckdb"),
    ),
    9: FaultRow(
        "Elasticsearch answers 429, 503 or with a circuit breaker",
        "an HTTP proxy answers instead of the server, for a while and for good",
        ("elasticsearch",),
    ),
    10: FaultRow(
        "partial answers: failed shards, timed_out",
        "a node of two is killed; an HTTP proxy rewrites answers",
        ("elasticsearch",),
    ),
    11: FaultRow(
        "the point in time expires or its node leaves",
        "it is deleted, left to expire, and its node killed, in the middle of a read",
        ("elasticsearch",),
    ),
    12: FaultRow(
        "rows arrive, change or go while the window is read",
        "they are written between two batches of the read",
        SOURCES,
    ),
    13: FaultRow(
        "short and empty pages, equal sort values, uneven slices",
        "ten thousand documents with one timestamp; slices of very different sizes",
        ("elasticsearch",),
    ),
    14: FaultRow(
        "damaged answers, values of the wrong type, new or missing fields",
        "an HTTP proxy cuts and corrupts bodies; a corpus of hostile documents",
        ("elasticsearch",),
    ),
    15: FaultRow(
        "values that the target's column cannot hold",
        "too many digits, nanoseconds, NUL, times out of range",
        TARGETS,
    ),
    16: FaultRow(
        "the stage's disk is full, read-only or fails",
        "a write that fails with the operating system's error; a kill at each file operation",
        ("local",),
    ),
    17: FaultRow(
        "S3: 500, SlowDown, torn uploads, lost answers",
        "a proxy between us and a real S3 server",
        ("s3",),
    ),
    18: FaultRow(
        "a staged file or manifest is missing, edited, truncated, swapped",
        "files are damaged between staging and load",
        ("local", "s3", *TARGETS),
    ),
    19: FaultRow(
        "a load fails half-way, or rows differ from the manifest",
        "errors at every step of the transaction; triggers and COPY counts that lose rows",
        TARGETS,
    ),
    20: FaultRow(
        "DDL inside the load transaction",
        "every statement of a session is checked; recorded statements are compared",
        ("snowflake",),
    ),
    21: FaultRow(
        "a path that was loaded already is loaded again",
        "the same manifest twice; the commit row taken away; recorded COPY statements have no "
        "FORCE",
        TARGETS,
    ),
    22: FaultRow(
        "the drive table is down, slow or of another version",
        "its schema is taken away in the middle of a run; locks that do not come free; a newer "
        "version",
        TARGETS,
    ),
    23: FaultRow(
        "the target table is dropped, a column renamed, a right revoked",
        "by SQL, between two runs; the run says so before it reads a row",
        TARGETS,
    ),
    24: FaultRow(
        "slow, cut and silent links",
        "toxiproxy: latency, bandwidth, blackhole, reset between us and each server",
        ("elasticsearch", "postgres", "snowflake", "s3"),
    ),
    25: FaultRow(
        "the source is down and 1,000 windows are due",
        "ticks of the sensor on a source that refuses, then on one that is back",
        ("postgres",),
    ),
    26: FaultRow(
        "secrets in errors, logs, events, manifests",
        "logins that fail and succeed with marked secrets; everything written is searched",
        ("elasticsearch", "postgres", "snowflake", "s3"),
    ),
}


def main() -> None:
    print("| row | fault | how it is provoked | shown on |")
    print("| --- | --- | --- | --- |")
    for number, row in MATRIX.items():
        print(f"| {number} | {row.fault} | {row.provoked} | {', '.join(row.on)} |")


if __name__ == "__main__":
    main()
