"""What a source must do."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from pipeline_platform.movement import Prerequisite, Snapshot, WindowSlice


class Source(Protocol):
    """A system that rows are read from. All windows are `[start, end)` of the query field.

    Raises TransientError for what a retry may heal (timeouts, refused connections, locks),
    PermanentError otherwise (credentials, missing table). Every call to the system has a timeout.
    """

    name: str
    """Shown to people, e.g. `postgres://db.example/shop.public.orders`; never a secret."""

    def check(self) -> Sequence[Prerequisite]:
        """Reachable, object there, query field there, of a usable type and single-valued."""
        ...

    def count(self, window: WindowSlice) -> int:
        """Rows of the window now; a count query, no row is read."""
        ...

    def change_value(self, window: WindowSlice) -> str | None:
        """Greatest value of `change_field` in the window as text; None without such a field."""
        ...

    def read(self, window: WindowSlice) -> AbstractContextManager[Snapshot]:
        """Open one snapshot of the window. Leaving the context closes it, whatever happened."""
        ...
