"""What every target does about each corruption that reaches its load."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline_platform.errors import DataError, PermanentError
from pipeline_platform.fault_points import fault_hook
from pipeline_platform.movement import LoadRequest
from pipeline_platform.query_field import QueryField
from pipeline_platform_tests.corruption.plants import LOUD, UNREADABLE, Plant
from pipeline_platform_tests.targets.staged import HOUR, START, WINDOW, Staging
from pipeline_platform_tests.targets.warehouse import Warehouse, stop_at

SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "placed_at": pa.timestamp("us", "UTC"),
        "amount": pa.decimal128(12, 2),
        "note": pa.string(),
        "updated_at": pa.timestamp("us", "UTC"),
    }
)
PLACED_AT = QueryField("placed_at")
NEIGHBOUR = replace(WINDOW, start=START + HOUR, end=START + 2 * HOUR)


def rows_at(start: Any, first: int = 0) -> list[dict[str, Any]]:
    """Twenty-one rows of an hour; three files."""
    return [
        {
            "id": first + n,
            "placed_at": start + n * timedelta(minutes=2),
            "amount": Decimal(n * 137 + 11) / 100,
            "note": None if n % 4 == 1 else f"n{n}",
            "updated_at": start + timedelta(hours=3),
        }
        for n in range(21)
    ]


class CorruptionContract(ABC):
    # The files are opened and looked at before it and read after it.
    LAST_POINT = "load.before_begin"
    PLANTS = LOUD

    @pytest.fixture
    @abstractmethod
    def warehouse(self, request: pytest.FixtureRequest) -> Warehouse: ...

    @pytest.fixture
    def staging(self, tmp_path: Path) -> Staging:
        return Staging(tmp_path)

    def request(self, staging: Staging, epoch: int, **more: Any) -> LoadRequest:
        return staging.request(
            rows_at(START), epoch, schema=SCHEMA, query_field="placed_at", **more
        )

    def test_no_planted_corruption_is_loaded(self, warehouse: Warehouse, staging: Staging) -> None:
        """The hashes were looked at before; what is left are counts, NULLs and exact sums."""
        target = warehouse.target(query_field=PLACED_AT)
        target.prepare(SCHEMA)
        target.load(self.request(staging, 1))
        others = staging.request(
            rows_at(NEIGHBOUR.start, 100), schema=SCHEMA, query_field="placed_at", window=NEIGHBOUR
        )
        before = warehouse.everything()
        loaded: list[str] = []
        for epoch, (name, plant) in enumerate(self.PLANTS.items(), 2):
            request = self.request(staging, epoch)
            damage = stop_at(self.LAST_POINT, _planting(plant, request, others))
            # What cannot be read at all ends in an error of the database's own.
            kind = Exception if name in UNREADABLE else DataError
            with fault_hook(damage), suppress(kind):
                target.load(request)
                loaded.append(name)
            assert warehouse.everything() == before, name
        assert loaded == []
        result = target.load(self.request(staging, 100))
        assert result.details["columns_verified"] == len(SCHEMA)

    def test_a_column_that_rounds_is_refused(self, warehouse: Warehouse, staging: Staging) -> None:
        warehouse.execute("CREATE SCHEMA analytics")
        warehouse.execute(
            "CREATE TABLE analytics.orders (id numeric(38,0), placed_at timestamptz, "
            "amount numeric(10,1), note varchar, updated_at timestamptz)"
        )
        target = warehouse.target(query_field=PLACED_AT, adopt=True)
        target.prepare(SCHEMA)
        failed = [check.name for check in target.check_columns(SCHEMA) if not check.passed]
        assert [name.lower() for name in failed] == ["column amount"]
        with pytest.raises(PermanentError, match="amount"):
            target.load(self.request(staging, 1))
        assert warehouse.execute("SELECT count(*) FROM analytics.orders") == [(0,)]


def _planting(plant: Plant, request: LoadRequest, others: LoadRequest) -> Callable[[], None]:
    files, other_files = ([Path(name) for name in one.files] for one in (request, others))
    assert len(files) == len(other_files) == 3
    return lambda: plant(files, other_files)
