"""How long the machine runs, and how to run it longer.

PIPELINE_PLATFORM_STEPS=10000 pytest pipeline_platform_tests/statemachine -k contract -s
"""

import os
from collections import Counter
from math import ceil

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from pipeline_platform_tests.statemachine.machine import WindowMachine
from pipeline_platform_tests.statemachine.place import Place

STEPS = "PIPELINE_PLATFORM_STEPS"
STEPS_PER_EXAMPLE = 40


def run_machine(
    place: Place,
    steps: int,
    *,
    derandomize: bool = True,
    shrink: bool = True,
) -> Counter[str]:
    """At least so many steps in examples of at most 40; returns what happened in them."""
    tally: Counter[str] = Counter()
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    run_state_machine_as_test(
        lambda: WindowMachine(place, tally),
        settings=settings(
            max_examples=ceil(steps / STEPS_PER_EXAMPLE),
            stateful_step_count=STEPS_PER_EXAMPLE,
            derandomize=derandomize,
            deadline=None,
            database=None,
            print_blob=True,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return tally


def steps_wanted(usual: int) -> tuple[int, bool]:
    """Number of steps, and whether they are the same each time."""
    wanted = os.environ.get(STEPS)
    return (int(wanted), False) if wanted else (usual, True)
