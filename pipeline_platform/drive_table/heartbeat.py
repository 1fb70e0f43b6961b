"""Keeps a claim alive while its step works, and tells the worker when it is lost."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from pipeline_platform.drive_table.store import (
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    Claim,
    DriveStore,
)
from pipeline_platform.errors import ClaimLostError
from pipeline_platform.record import RecordKey

_LOG = logging.getLogger(__name__)


class Pulse:
    """Whether the claim is still ours; asked by the worker, kept up by the heartbeat's thread."""

    def __init__(self, store: DriveStore, claim: Claim, lease_seconds: float) -> None:
        self.claim = claim
        self._store = store
        self._lease_seconds = lease_seconds
        self._lost: ClaimLostError | None = None
        self._valid_until = 0.0

    def still_ours(self) -> None:
        """Raise ClaimLostError if the claim was taken over, or if its lease may have run out."""
        if self._lost is not None:
            raise ClaimLostError(self._lost.message, hint=self._lost.hint)
        if time.monotonic() >= self._valid_until:
            raise ClaimLostError(
                f"The lease on {self.claim.key.pipeline_name} "
                f"{self.claim.key.window_start_time.isoformat()} ran out: the drive table "
                f"{self._store.name} could not be reached for {self._lease_seconds:g} s.",
                hint="Nothing more is written. Check the database, then run the window again.",
            )

    def beat(self) -> None:
        """Extend the lease once. ClaimLostError, also later from `still_ours`, if it is gone."""
        # The lease starts somewhere inside the call: count from before it.
        asked = time.monotonic()
        try:
            self.claim = self._store.heartbeat(self.claim, self._lease_seconds)
        except ClaimLostError as error:
            self._lost = error
            raise
        self._valid_until = asked + self._lease_seconds

    def lease_lasts(self, seconds: float) -> None:
        """Take the lease as it stands, for so many seconds from now."""
        self._valid_until = time.monotonic() + seconds

    def lasts(self) -> bool:
        """Whether there still is a lease to extend."""
        return self._lost is None and time.monotonic() < self._valid_until


@contextmanager
def heartbeat(
    store: DriveStore,
    claim: Claim,
    *,
    every_seconds: float = HEARTBEAT_SECONDS,
    lease_seconds: float = LEASE_SECONDS,
    now: datetime | None = None,
) -> Iterator[Pulse]:
    """Extend the lease now and then every `every_seconds` from a thread of its own.

    With `now`, the database's time, a lease that still lasts for half its length is not extended at
    once. Raises what a first extension raises. After that an error of the store is logged and tried
    again until the lease has run out by this machine's clock. The worker learns of a lost claim
    from `pulse.still_ours()`. On leaving, the thread has ended; the claim is not released.
    """
    pulse = Pulse(store, claim, lease_seconds)
    left = (claim.lease_until - now).total_seconds() if now else 0.0
    if left > lease_seconds / 2:
        pulse.lease_lasts(left)
    else:
        pulse.beat()
    stop, thread = _start_beating(pulse, every_seconds)
    try:
        yield pulse
    finally:
        stop.set()
        thread.join()


class WaitingClaims:
    """Claims between two steps of a run in this process, which may wait for a pool's slot.

    A claim is kept alive from `hold` until `take`. Where each step has a process of its own nothing
    does that: such a step must begin before the lease ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, RecordKey], tuple[threading.Event, threading.Thread]] = {}

    def hold(
        self,
        store: DriveStore,
        claim: Claim,
        *,
        every_seconds: float = HEARTBEAT_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """Extend the lease every `every_seconds`. The step that ended left at least half of it."""
        pulse = Pulse(store, claim, lease_seconds)
        pulse.lease_lasts(lease_seconds / 2)
        stop, thread = _start_beating(pulse, every_seconds)
        with self._lock:
            self._held[claim.owner, claim.key] = stop, thread

    def take(self, owner: str, key: RecordKey) -> None:
        """The next step has begun and keeps the claim itself; nothing if none is held."""
        with self._lock:
            stop, thread = self._held.pop((owner, key), (None, None))
        if stop is not None and thread is not None:
            stop.set()
            thread.join()


WAITING_CLAIMS = WaitingClaims()


def _start_beating(pulse: Pulse, every_seconds: float) -> tuple[threading.Event, threading.Thread]:
    stop = threading.Event()
    thread = threading.Thread(
        target=_keep_beating, args=(pulse, stop, every_seconds), name="heartbeat", daemon=True
    )
    thread.start()
    return stop, thread


def _keep_beating(pulse: Pulse, stop: threading.Event, every_seconds: float) -> None:
    pause = every_seconds
    while not stop.wait(pause) and pulse.lasts():
        try:
            pulse.beat()
            pause = every_seconds
        except ClaimLostError as error:
            _LOG.error("%s", error)
            return
        except Exception as error:  # whatever it is, the lease still has time
            _LOG.warning("heartbeat of %s failed: %s", pulse.claim.key.pipeline_name, error)
            pause = min(every_seconds, 5.0)
