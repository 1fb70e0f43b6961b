"""A point is one thing that is checked; running it gives an outcome."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline_platform.verify_snowflake.scratch import Scratch

Verdict = Literal["passed", "failed", "not applicable", "not on this server"]


@dataclass(frozen=True)
class Point:
    """`check` returns what it saw, in words; an exception of any kind is a failure.

    `test_server_lacks`: what keeps the point from running on the server that tests start.
    """

    name: str
    check: Callable[[Scratch], str]
    test_server_lacks: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a point."""

    point: Point
    verdict: Verdict
    detail: str
    seconds: float


class NotApplicableError(Exception):
    """The point needs something that this account or config does not have."""


class DisprovedError(Exception):
    """The account does not do what the platform relies on."""


def expect(condition: bool, otherwise: str) -> None:
    """Raise DisprovedError unless the condition holds."""
    if not condition:
        raise DisprovedError(otherwise)


def run_points(scratch: Scratch, points: Sequence[Point]) -> Iterator[Outcome]:
    """Run each in order; one that fails does not stop the others."""
    for point in points:
        began = time.monotonic()
        verdict, detail = _run(scratch, point)
        yield Outcome(point, verdict, detail, time.monotonic() - began)


def _run(scratch: Scratch, point: Point) -> tuple[Verdict, str]:
    if scratch.is_test_server and point.test_server_lacks:
        return "not on this server", f"the test server lacks {point.test_server_lacks}"
    try:
        return "passed", point.check(scratch)
    except NotApplicableError as reason:
        return "not applicable", str(reason)
    except DisprovedError as error:
        return "failed", str(error)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
