"""Numbered places where tests stop, kill or fail a run, to prove that nothing is lost there.

Outside of tests a fault point does nothing. The environment variable PIPELINE_PLATFORM_FAULT
arms one for a whole process:

    load.after_delete:raise    raise InjectedFaultError whenever that point is reached
    load.after_delete:kill     SIGKILL this process there
    #7:kill                    the same at the 7th point of any name that this process reaches
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from pipeline_platform.errors import ConfigurationError, TransientError

VARIABLE = "PIPELINE_PLATFORM_FAULT"

FAULT_POINTS: tuple[str, ...] = (
    "claim.before_begin",
    "claim.after_update",
    "claim.after_commit",
    "close.before_begin",
    "close.after_update",
    "close.after_commit",
    "save.before_begin",
    "save.after_update",
    "save.after_commit",
    "stage.before_read",
    "stage.after_batch",
    "stage.before_manifest",
    "stage.after_manifest",
    "prepare.before_create",
    "prepare.after_create",
    "copy.after_create",
    "copy.after_put",
    "copy.after_copy",
    "copy.after_drop",
    "load.before_commit_row",
    "load.before_begin",
    "load.after_begin",
    "load.after_fence",
    "load.after_refusals",
    "load.after_delete",
    "load.after_insert",
    "load.after_verify",
    "load.after_update",
    "load.before_commit",
    "load.after_commit",
    "load.before_resolve",
    "load.after_resolve",
    "audit.before_verdict",
    "audit.after_begin",
    "audit.after_fence",
    "audit.after_update",
    "audit.before_commit",
    "audit.after_commit",
    "audit.before_resolve",
    "audit.after_resolve",
    "audit.after_verdict",
    "clean.before_delete",
    "clean.after_manifest",
    "clean.after_delete",
    "delete.after_begin",
    "delete.after_fence",
    "delete.after_delete",
    "delete.after_update",
    "delete.before_commit",
    "delete.after_commit",
    "delete.before_resolve",
    "delete.after_resolve",
)

FaultHook = Callable[[str], None]

_hook: FaultHook | None = None
_hits = count(1)


class InjectedFaultError(TransientError):
    """Raised by an armed fault point."""


def fault_point(name: str) -> None:
    """A place between two steps; does nothing unless a test armed it.

    `load.after_commit` and its like lie where the commit's answer could still get lost: what is
    raised there is handled as an unknown outcome.
    """
    if _hook is not None:
        _hook(name)
    order = os.environ.get(VARIABLE)
    if order is not None:
        _obey(order, name, next(_hits))


@contextmanager
def fault_hook(hook: FaultHook) -> Iterator[None]:
    """Call `hook(name)` at every fault point of this process, in every thread."""
    global _hook
    previous, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = previous


def _obey(order: str, name: str, hit: int) -> None:
    point, _, action = order.rpartition(":")
    if action not in ("raise", "kill") or not (point[:1] == "#" or point in FAULT_POINTS):
        raise ConfigurationError(f"{VARIABLE}={order} names no fault point and action.")
    if point not in (name, f"#{hit}"):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise InjectedFaultError(f"Injected fault at {name} (#{hit}).")
