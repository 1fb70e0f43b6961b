"""Row 5: races for one claim on PostgreSQL; the winner is one, and the losers change nothing."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from pipeline_platform.drive_table.store import Claim
from pipeline_platform_tests.drive_table.examples import a_record
from pipeline_platform_tests.faults.rows import ROWS
from pipeline_platform_tests.pipelines import postgres_store
from pipeline_platform_tests.servers.postgres import Database

RACERS = 4
RACES = 1_000 if ROWS in os.environ else 100


@pytest.mark.fault_row(5)
def test_row_05_a_thousand_races_for_a_claim(postgres: Database, tmp_path: Path) -> None:
    """A thousand in `make torture`, fewer in `make test`."""
    store = postgres_store(postgres, tmp_path)
    start = Barrier(RACERS)

    def race(racer: int) -> list[Claim | None]:
        claims = []
        for number in range(RACES):
            start.wait(30)
            claims.append(store.claim(a_record(number), f"run-{racer}"))
        return claims

    with ThreadPoolExecutor(RACERS) as pool:
        claims = list(pool.map(race, range(RACERS)))
    for of_one_window in zip(*claims, strict=True):
        [winner] = [claim for claim in of_one_window if claim is not None]
        assert winner.epoch == 1
        held = store.look_up(winner.key)
        assert held.record is not None
        assert held.claim_of(winner.owner) == winner
