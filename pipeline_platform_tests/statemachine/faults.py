"""One step of a worker: where it fails, dies or pauses, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline_platform.errors import PipelineError
from pipeline_platform.fault_points import FAULT_POINTS, InjectedFaultError, fault_hook

DOUBTFUL = ("before_commit", "after_commit")


class KilledError(BaseException):
    """The worker's process is gone; what it does on the way out, a database would do for it."""


@dataclass(frozen=True)
class Fault:
    """What happens at a point: an error that the worker sees, or its end.

    `then`: where the fault leaves a commit's outcome unknown, the worker dies while it finds out.
    """

    point: str
    how: Literal["error", "kill"] = "error"
    then: str | None = None

    @property
    def in_doubt(self) -> bool:
        """The worker cannot know whether its transaction committed."""
        return self.how == "error" and self.point.endswith(DOUBTFUL)


@dataclass
class Outcome:
    """What a step did: the points it came to, what was injected there, and how it ended."""

    reached: list[str] = field(default_factory=list)
    fired: Fault | None = None
    died: bool = False
    error: PipelineError | None = None
    value: Any = None

    @property
    def went_well(self) -> bool:
        return self.error is None and not self.died

    def came_to(self, point: str) -> bool:
        return point in self.reached

    def __str__(self) -> str:
        ended = "killed" if self.died else repr(self.error) if self.error else "done"
        return f"{ended} after {', '.join(self.reached) or 'no point'} (fault: {self.fired})"


@dataclass(frozen=True)
class Pause:
    """The step stops at this point, once, and others act."""

    point: str
    action: Callable[[], None]


def points_of(purpose: str) -> list[str]:
    """The points where a step of this kind is hit first."""
    return [name for name in FAULT_POINTS
            if name.startswith(f"{purpose}.") and not name.endswith("_resolve")]  # fmt: skip


def watched(
    step: Callable[[], Any], fault: Fault | None = None, pause: Pause | None = None
) -> Outcome:
    """Run a step to its end, whatever that is."""
    outcome = Outcome()
    waiting = [pause] if pause else []
    broken: list[BaseException] = []
    dead: list[str] = []

    def hook(name: str) -> None:
        outcome.reached.append(name)
        if waiting and name == waiting[0].point:
            try:
                waiting.pop().action()
            except BaseException as error:
                broken.append(error)
                raise
        if dead:
            raise KilledError(name)
        if fault is None:
            return
        if outcome.fired is None and name == fault.point:
            outcome.fired = fault
            if fault.how == "kill":
                dead.append(name)
                raise KilledError(name)
            raise InjectedFaultError(f"Injected fault at {name}.")
        if outcome.fired is not None and fault.then and name.endswith(fault.then):
            dead.append(name)
            raise KilledError(name)

    with fault_hook(hook):
        try:
            outcome.value = step()
        except BaseException as error:
            _take(outcome, error)
        finally:
            if broken:
                raise broken[0]
    return outcome


def _take(outcome: Outcome, error: BaseException) -> None:
    """Errors that the platform knows are an outcome, all others are faults of their own."""
    if isinstance(error, KilledError):
        outcome.died = True
    elif isinstance(error, PipelineError):
        outcome.error = error
    else:
        raise error
