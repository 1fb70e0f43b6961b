"""How long a server that is busy or cut off is asked again."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline_platform.connections.elasticsearch import ClusterBusyError, ConnectionBrokenError
from pipeline_platform.errors import TransientError

T = TypeVar("T")

_BROKEN_TRIES = 3
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 20.0


class Stopped(Exception):
    """The reader left; not an error."""


def nothing() -> None:
    """For requests that cannot be made smaller."""


@dataclass(frozen=True)
class Patience:
    """How a request is repeated: pauses double up to 20 s, each cut at random by up to a half.

    A busy cluster is asked again for `busy_seconds`, a broken connection twice.
    """

    busy_seconds: float
    stop: threading.Event

    def until_answered(self, ask: Callable[[], T], on_busy: Callable[[], None] = nothing) -> T:
        """The answer; the last error when patience ends, Stopped when the reader left."""
        began = time.monotonic()
        longest, broken = _FIRST_PAUSE_SECONDS, 0
        while True:
            if self.stop.is_set():
                raise Stopped
            pause = longest * random.uniform(0.5, 1.0)  # noqa: S311
            longest = min(longest * 2, _LONGEST_PAUSE_SECONDS)
            try:
                return ask()
            except ClusterBusyError as error:
                left = self.busy_seconds - (time.monotonic() - began)
                if left <= 0:
                    raise _still(error, self.busy_seconds) from error
                on_busy()
                pause = min(pause, left)
            except ConnectionBrokenError:
                broken += 1
                if broken >= _BROKEN_TRIES:
                    raise
            self.stop.wait(pause)


def _still(error: ClusterBusyError, seconds: float) -> TransientError:
    return TransientError(
        f"{error.message} It said so for {seconds:g} s (busy_timeout_seconds).", hint=error.hint
    )
