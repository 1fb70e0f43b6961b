"""Slices of a snapshot read and decoded side by side, with bounded memory."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from pipeline_platform.sources.elasticsearch.patience import Stopped

T = TypeVar("T")
Page = TypeVar("Page")
Batch = TypeVar("Batch")

_JOIN_SECONDS = 5.0


class Handover(Generic[T]):
    """A queue of at most `room` items between threads; it ends when `givers` have ended.

    The first error ends it at once for everybody: takers get the error.
    """

    def __init__(self, room: int, givers: int, stop: threading.Event) -> None:
        self._room = room
        self._givers = givers
        self._stop = stop
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None

    def give(self, item: T) -> None:
        """Wait for room; Stopped when nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._room or self._over())
            if self._over():
                raise Stopped
            self._items.append(item)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """One giver has ended."""
        with self._changed:
            self._givers -= 1
            if error is not None and self._error is None:
                self._error = error
            self._changed.notify_all()

    def wake(self) -> None:
        """Let everybody look at the stop sign."""
        with self._changed:
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or not self._givers or self._over())
                if self._error is not None:
                    raise self._error
                if self._stop.is_set():
                    raise Stopped
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item

    def _over(self) -> bool:
        return self._error is not None or self._stop.is_set()


class SliceReaders(Generic[Page, Batch]):
    """One thread per slice reads pages, as many decode them; the caller iterates the batches.

    While a page is decoded the next one is on its way. At most one page per slice waits, and one
    batch. An error in any thread ends all of them and is raised by the iteration.
    """

    def __init__(
        self,
        slices: Sequence[Callable[[], Iterator[Page]]],
        decode: Callable[[Page], Batch],
        stop: threading.Event,
    ) -> None:
        number = len(slices)
        self._decode = decode
        self._stop = stop
        self._pages: Handover[Page] = Handover(number, number, stop)
        self._batches: Handover[Batch] = Handover(number, number, stop)
        # Daemons: a thread that waits for a server that hangs must not hold the process.
        self._threads = [
            threading.Thread(target=self._read, args=(pages,), name=f"slice-{n}", daemon=True)
            for n, pages in enumerate(slices)
        ] + [
            threading.Thread(target=self._decode_all, name=f"decode-{n}", daemon=True)
            for n in range(number)
        ]

    def start(self) -> Iterator[Batch]:
        """Start all threads; the batches come in any order, each once."""
        for thread in self._threads:
            thread.start()
        return iter(self._batches)

    def stop(self) -> None:
        """Tell all threads to end; does not wait."""
        self._stop.set()
        self._pages.wake()
        self._batches.wake()

    def join(self) -> None:
        """Wait for the threads, at most 5 s: one whose request hangs is left behind."""
        until = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(until - time.monotonic(), 0))

    def _read(self, pages: Callable[[], Iterator[Page]]) -> None:
        def run() -> None:
            for page in pages():
                self._pages.give(page)

        _hand_over(run, self._pages)

    def _decode_all(self) -> None:
        def run() -> None:
            for page in self._pages:
                self._batches.give(self._decode(page))

        _hand_over(run, self._batches)


def _hand_over(run: Callable[[], None], to: Handover[T]) -> None:
    try:
        run()
    except Stopped:
        to.end()
    except BaseException as error:
        to.end(error)
    else:
        to.end()
