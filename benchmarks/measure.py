"""Samples taken side by side, and what they say against a bar."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from statistics import median
from typing import Any, Literal

Take = Callable[[], float]
Samples = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Measure:
    """One figure with its bar. `samples` are the raw ones by side, in the order they were taken."""

    id: str
    value: float
    unit: str
    bar: float
    rule: Literal["at least", "at most"]
    samples: Samples
    compared: str
    """One sentence: what was measured, against what."""
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the value is on the right side of its bar, the bar itself included."""
        if math.isnan(self.value):
            return False
        return self.value >= self.bar if self.rule == "at least" else self.value <= self.bar


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def interleaved(
    repeats: int,
    sides: Mapping[str, Take],
    *,
    before_each: Callable[[], None] = lambda: None,
    warm_up: bool = True,
) -> dict[str, list[float]]:
    """One sample of each side in turn, `repeats` times; every round begins with another side.

    `before_each` brings the systems back to the same state and is not measured. The warm-up is one
    round that is thrown away.
    """
    names = list(sides)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1 if warm_up else 0, repeats):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            before_each()
            sample = sides[name]()
            if number >= 0:
                samples[name].append(sample)
    return samples


def medians(samples: Samples) -> dict[str, float]:
    """The median of each side."""
    return {name: median(values) for name, values in samples.items()}


def median_of_ratios(samples: Samples, above: str, below: str) -> float:
    """The median of the rounds' ratios: what drifts from round to round meets both sides."""
    return median(a / b for a, b in zip(samples[above], samples[below], strict=True))


class Stopwatch:
    """Wall-clock seconds spent inside parts of the program.

    A part inside another one of the same thread is counted with the outer one. What runs in a
    thread of its own counts in full, so the sum is never less than what the parts cost.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._here = threading.local()
        self._lock = threading.Lock()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with the time inside it added to the part `name`."""

        @wraps(function)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            with self._inside(name):
                return function(*arguments, **options)

        return wrapper

    @contextmanager
    def _inside(self, name: str) -> Iterator[None]:
        if getattr(self._here, "busy", False):
            yield
            return
        self._here.busy = True
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self._here.busy = False
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + spent
