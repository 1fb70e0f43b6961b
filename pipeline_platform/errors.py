"""Every error of the platform. Choosing the class chooses the recovery.

    PipelineError
    ├── TransientError            retried after a backoff
    │   ├── WindowHeldError       another run holds the window: no claim, no drive row
    │   ├── ClaimLostError        this run's claim was taken over: it must not write any more
    │   └── SnapshotLostError     the source's snapshot is gone: read again in the same run
    ├── PermanentError            fails now, a person has to act
    ├── ConfigurationError        refused before anything runs
    └── DataError                 the rows are not what they must be
        ├── WindowNotReadyError   the window ends too close to now: not retried
        ├── ToleranceError        loss over tolerance, shrink guard: not retried
        └── VerificationError     counts or sums disagree after a write: retried from zero
            └── AuditMismatchError   the target is not what the commit row says: retried from zero

An exception of any other class counts as permanent.
"""

from typing import ClassVar


class PipelineError(Exception):
    """Base of all errors; the message says what happened, where, and the next step.

    `hint` is the next step for the person who reads it. `facts` are the numbers behind the
    verdict (observed, expected, loss_percent, tolerance_percent ...); they go into check
    metadata and into the drive row, so they must never hold a secret or a row's values.
    """

    category: ClassVar[str] = "permanent"
    retryable: ClassVar[bool] = False
    from_zero: ClassVar[bool] = False

    def __init__(
        self, message: str, *, hint: str = "", facts: dict[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts: dict[str, object] = dict(facts or {})

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class TransientError(PipelineError):
    """Likely to succeed when tried again: timeouts, locks, refused connections, throttling."""

    category = "transient"
    retryable = True


class WindowHeldError(TransientError):
    """Another run holds the window and did not finish within the waiting time."""


class ClaimLostError(TransientError):
    """The window's epoch moved on: another run took the window over."""


class SnapshotLostError(TransientError):
    """The source's snapshot ended before all its rows were read; a new one starts from zero."""


class PermanentError(PipelineError):
    """Will fail again unchanged: permissions, missing table, wrong credentials."""


class ConfigurationError(PipelineError):
    """The config cannot work as written; refused before anything is moved."""

    category = "configuration"


class DataError(PipelineError):
    """The rows themselves are wrong, missing or too many."""

    category = "data"


class ToleranceError(DataError):
    """Loss over the configured tolerance, or a source that shrank more than allowed."""


class VerificationError(DataError):
    """What was written differs from what was read; nothing of it became visible."""

    retryable = True
    from_zero = True


class AuditMismatchError(VerificationError):
    """The target's rows are not what the window's commit row says."""


class WindowNotReadyError(DataError):
    """The window ends too close to now; its rows may still change (`x_time_back`)."""
