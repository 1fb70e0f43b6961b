"""How long the machine runs, and how to run it longer.

A usual run takes the same steps each time. For a long one, with new steps each time:

    PIPELINE_PLATFORM_STEPS=10000 python -m pytest -s \
        pipeline_platform_tests/statemachine/test_machine.py
"""

import os
from collections import Counter
from math import ceil

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from pipeline_platform_tests.statemachine.machine import WindowMachine
from pipeline_platform_tests.statemachine.place import Place

VARIABLE = "PIPELINE_PLATFORM_STEPS"
STEPS_OF_AN_EXAMPLE = 40


def run_machine(
    place: Place,
    steps: int,
    *,
    of_an_example: int = STEPS_OF_AN_EXAMPLE,
    derandomize: bool = True,
    shrink: bool = True,
) -> Counter[str]:
    """About so many steps, each example from an empty place; returns what happened in them."""
    tally: Counter[str] = Counter()

    class Machine(WindowMachine):
        def __init__(self) -> None:
            super().__init__(place, tally)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=ceil(steps / of_an_example),
            stateful_step_count=of_an_example,
            derandomize=derandomize,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return tally


def long_run() -> int | None:
    """Steps that somebody asked for."""
    wanted = os.environ.get(VARIABLE)
    return int(wanted) if wanted else None
