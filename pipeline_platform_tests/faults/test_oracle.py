"""The oracle of the fault tests sees what they are looking for."""

from pipeline_platform_tests.faults.cases import Case, Fault, new_case
from pipeline_platform_tests.faults.conftest import PairOf
from pipeline_platform_tests.faults.pairs import PAIRS
from pipeline_platform_tests.faults.torture import WEIGHTS, plan


def test_rows_lost_doubled_and_foreign_are_found(pair_of: PairOf) -> None:
    pair = pair_of("postgres-postgres")
    key = pair.new_window()
    assert pair.run(key).code == 0, pair.log()
    first, second = pair.oracle[key][:2]
    with pair.warehouse.open() as query:
        query(f"DELETE FROM analytics.orders WHERE id = {first.id}")
        query(f"INSERT INTO analytics.orders SELECT * FROM analytics.orders WHERE id = {second.id}")
    found = pair.look([key])
    assert (found.lost, found.doubled) == (1, 1)
    assert not pair.after_the_fault(key, [sorted([*pair.oracle[key][1:], second])])
    assert pair.after_the_fault(key, [[], pair.oracle[key]]).wrong

    with pair.warehouse.open() as query:
        query(f"UPDATE analytics.orders SET amount = amount + 0.01 WHERE id = {second.id}")
    found = pair.look([key])
    assert (found.lost, found.doubled) == (2, 2)
    pair.drop_target()


def test_states_that_are_wrong_are_found(pair_of: PairOf) -> None:
    pair = pair_of("postgres-postgres")
    key = pair.new_window()
    assert pair.run(key).code == 0, pair.log()
    window = f"window_start_time = TIMESTAMPTZ '{key} 00:00:00+00'"
    for statement, undo in (
        ("pipeline_status = 'PENDING'", "pipeline_status = 'COMPLETED'"),
        ("owner = 'somebody'", "owner = NULL"),
    ):
        with pair.warehouse.open() as query:
            query(f"UPDATE pipeline_platform.pipeline_records SET {statement} WHERE {window}")
        assert [text for text in pair.look([key]).wrong if "record" in text]
        with pair.warehouse.open() as query:
            query(f"UPDATE pipeline_platform.pipeline_records SET {undo} WHERE {window}")
    assert not pair.look([key])


def test_a_case_follows_from_its_seed() -> None:
    planned = plan(300, 7, PAIRS)
    cases = {case.seed: case for of_pair in planned.values() for case in of_pair}
    assert sorted(cases) == list(range(7, 307))
    assert all(new_case(seed, WEIGHTS) == case for seed, case in cases.items())
    assert set(planned) == set(PAIRS)
    assert {case.scenario for case in cases.values()} == {"fresh", "reload", "tampered"}


def test_a_case_can_be_repeated_from_what_is_printed() -> None:
    case = Case(12, "postgres-duckdb", "fresh", (Fault("kill", 0.25),))
    assert str(case).startswith("SEED=12 postgres-duckdb fresh: kill at 0.250")
