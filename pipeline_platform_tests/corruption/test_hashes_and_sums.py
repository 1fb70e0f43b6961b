"""Any change of staged bytes shows in hashes, any change of one value in counts or sums."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_platform.errors import VerificationError
from pipeline_platform.movement import Manifest
from pipeline_platform.stages.manifest import decode_manifest
from pipeline_platform.stages.summary import SummaryOfColumns
from pipeline_platform_tests.corruption.contract import SCHEMA, rows_at
from pipeline_platform_tests.corruption.plants import LOUD, SILENT
from pipeline_platform_tests.targets.staged import HOUR, START, WINDOW, Staging

Attempt = tuple[Staging, Manifest, list[Path]]


def staged(folder: Path, start: datetime = START) -> Attempt:
    staging = Staging(folder)
    window = replace(WINDOW, start=start, end=start + HOUR)
    manifest = staging.manifest(
        rows_at(start), window=window, schema=SCHEMA, query_field="placed_at"
    )
    return staging, manifest, [Path(name) for name in staging.stage.locations(manifest)]


@pytest.fixture(scope="module")
def attempt(tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    return staged(tmp_path_factory.mktemp("staged"))


@pytest.mark.parametrize("name", LOUD | SILENT)
def test_every_plant_is_seen_by_size_or_hash(name: str, tmp_path: Path) -> None:
    staging, manifest, files = staged(tmp_path)
    _, _, others = staged(tmp_path, START + HOUR)
    staging.stage.verify(manifest)
    (LOUD | SILENT)[name](files, others)
    with pytest.raises(VerificationError):
        staging.stage.verify(manifest)


@given(st.data())
def test_any_other_bytes_are_refused(attempt: Attempt, data: st.DataObject) -> None:
    staging, manifest, files = attempt
    file = data.draw(st.sampled_from(files))
    whole = file.read_bytes()
    first = data.draw(st.integers(0, len(whole)))
    last = data.draw(st.integers(first, min(len(whole), first + 64)))
    new = whole[:first] + data.draw(st.binary(max_size=64)) + whole[last:]
    try:
        file.write_bytes(new)
        if new == whole:
            staging.stage.verify(manifest)
            return
        with pytest.raises(VerificationError):
            staging.stage.verify(manifest)
    finally:
        file.write_bytes(whole)


def test_no_changed_byte_of_a_manifest_is_accepted(attempt: Attempt) -> None:
    _, manifest, files = attempt
    whole = (files[0].parent / "manifest.json").read_bytes()
    assert decode_manifest(whole) == manifest
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1
        assert decode_manifest(bytes(changed)) is None, position


MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(timezone.utc))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(-(2**63), 2**63 - 1),
    "amount": st.decimals(-(10**9), 10**9, places=2, allow_nan=False),
    "placed_at": MOMENTS,
    "note": st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
}


def summary(rows: list[dict[str, Any]]) -> Any:
    schema = pa.schema([SCHEMA.field(name) for name in VALUES])
    summaries = SummaryOfColumns(schema)
    for batch in pa.Table.from_pylist(rows, schema).to_batches(max_chunksize=3):
        summaries.add(batch)
    return summaries.result()


@given(
    st.lists(st.fixed_dictionaries({n: st.none() | v for n, v in VALUES.items()}), min_size=1),
    st.data(),
)
def test_one_other_value_changes_counts_or_sums(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Of a text, another number of bytes."""
    number = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(list(VALUES)))
    before, after = rows[number][name], data.draw(st.none() | VALUES[name])
    changed = [*rows[:number], {**rows[number], name: after}, *rows[number + 1 :]]
    if isinstance(before, str) and isinstance(after, str):
        same = len(before.encode()) == len(after.encode())
    else:
        same = before == after
    assert (summary(changed) == summary(rows)) is same


@given(
    st.lists(st.sampled_from(rows_at(START)), min_size=3, max_size=9, unique_by=lambda r: r["id"])
)
def test_a_row_for_another_changes_the_sums(rows: list[dict[str, Any]]) -> None:
    """Dropped plus doubled: as many rows as before."""
    assert summary([rows[1], *rows[1:]]) != summary(rows)


def test_an_hour_off_changes_the_sum() -> None:
    rows = rows_at(START)
    shifted = [{**row, "placed_at": row["placed_at"] + timedelta(hours=1)} for row in rows]
    rounded = [{**row, "amount": row["amount"].quantize(Decimal("0.1"))} for row in rows]
    assert len({repr(summary(one)) for one in (rows, shifted, rounded)}) == 3
