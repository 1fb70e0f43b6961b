"""The IO manager that carries a window's state between assets, through the drive table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import stamina
from pydantic import Field, PrivateAttr, TypeAdapter

from pipeline_platform.config.systems import StateSystem
from pipeline_platform.drive_table import build_store
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.errors import ClaimLostError, TransientError
from pipeline_platform.execution import ExecutionRow

if TYPE_CHECKING:
    from pipeline_platform.flow.step import Handover

DRIVE_TABLE = "drive_table"
HELD_WAIT_SECONDS = 600.0


class DriveTableIOManager(dg.ConfigurableIOManager):
    """Stores what a step hands over; rows of data never pass through it.

    `handle_output` appends the run's row, updates the window's record and, after the last selected
    step, frees the window, in one transaction under the claim. It is not called for a failed step:
    failures are stored by the step itself.
    """

    state: dict[str, Any] = Field(
        description="Where the drive table lives: `type` (duckdb, postgres or snowflake) and its "
        "connection."
    )
    base_dir: str = Field(".", description="Folder that relative paths count from.")
    held_wait_seconds: float = Field(
        HELD_WAIT_SECONDS, description="Seconds to wait for a window that another run holds."
    )

    _store: DriveStore | None = PrivateAttr(None)

    @property
    def store(self) -> DriveStore:
        """The drive store; connections are opened per operation."""
        if self._store is None:
            state = TypeAdapter[StateSystem](StateSystem).validate_python(self.state)
            self._store = build_store(state, base_dir=Path(self.base_dir))
        return self._store

    def handle_output(self, context: dg.OutputContext, obj: "Handover") -> None:
        """Store the hand-over; ClaimLostError if another run took the window over.

        A drive table that does not answer is tried again for a while: the step's work is done.
        Where an answer got lost, the hand-over may stand there already.
        """
        for attempt in stamina.retry_context(
            on=_may_pass, attempts=5, wait_initial=1.0, wait_max=20.0, timeout=None
        ):
            with attempt:
                try:
                    self.store.save(obj.claim, obj.record, obj.row, release=obj.release)
                except ClaimLostError:
                    if attempt.num == 1 or not self._stands_there(obj):
                        raise

    def _stands_there(self, obj: "Handover") -> bool:
        stored = self.store.run_of(obj.row.pipeline_name, obj.row.dagster_run_id)
        return stored is not None and (
            (stored.epoch, stored.revision, stored.pipeline_status)
            == (obj.row.epoch, obj.row.revision + 1, obj.row.pipeline_status)
        )

    def load_input(self, context: dg.InputContext) -> ExecutionRow | None:
        """The row of this Dagster run, or None. Runs before the body: it never decides or fails."""
        step_context = context.step_context
        try:
            return self.store.run_of(context.asset_key.path[0], step_context.run_id)
        except Exception as error:
            context.log.warning("The drive table could not be read for the input: %s", error)
            return None


def _may_pass(error: Exception) -> bool:
    """A claim that is lost does not come back."""
    return isinstance(error, TransientError) and not isinstance(error, ClaimLostError)
