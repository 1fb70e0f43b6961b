"""Writing while the next batch is being read."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec

from typing_extensions import Self

P = ParamSpec("P")


class OneBehind:
    """Runs calls one after another in a thread of their own, at most one behind the caller.

    An error of a call is raised by the next `run` or `wait`. Leaving the block waits for the call
    under way, so nothing is written after it.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stage-writer")
        self._call: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True)

    def run(self, call: Callable[P, None], *arguments: P.args, **options: P.kwargs) -> None:
        """Wait for the call before, then start this one."""
        self.wait()
        self._call = self._thread.submit(call, *arguments, **options)

    def wait(self) -> None:
        """Until the last call is done."""
        call, self._call = self._call, None
        if call is not None:
            call.result()
