"""`python -m benchmarks`: every goal and law of the platform's speed, measured on this machine."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks import claims, counting, dagster_tax, laws, loading, scale
from benchmarks.bench import Bench
from benchmarks.measure import Measure
from benchmarks.results import FOLDER, line_of, this_machine, write_results
from benchmarks.world import KINDS
from pipeline_platform_tests.servers.postgres import PostgresServer

Take = Callable[[Bench], Measure | Sequence[Measure]]
TakeOfKind = Callable[[Bench, str], Measure | Sequence[Measure]]

PER_KIND: dict[str, TakeOfKind] = {
    "P9": loading.load_rate,
    "P10": counting.audit_share,
    "P11": dagster_tax.dagster_tax,
    "L1": laws.time_by_rows,
    "L2": laws.memory_by_rows,
    "L3": claims.claim_cost,
    "L4": loading.load_by_target_size,
    "L5": counting.statement_counts,
    "L7": dagster_tax.events_of_a_run,
    "D2": scale.sensor_tick,
}
GOALS = (*PER_KIND, "D1")


def _of_kind(take: TakeOfKind, kind: str) -> Take:
    return lambda bench: take(bench, kind)


def chosen(only: Sequence[str]) -> Iterable[tuple[str, Take]]:
    """The measures to take: all, or those that are named (`P9`, or `P9.postgres`)."""
    for goal in GOALS:
        if goal == "D1":
            takes: dict[str, Take] = {goal: scale.definitions_loading}
        else:
            takes = {f"{goal}.{kind}": _of_kind(PER_KIND[goal], kind) for kind in KINDS}
        for name, take in takes.items():
            if not only or goal in only or name in only:
                yield name, take


def run(only: Sequence[str], *, quick: bool, folder: Path) -> bool:
    """Take the measures, print a line for each, write the files; whether all hold."""
    measures: list[Measure] = []
    began = time.monotonic()
    with PostgresServer(durable=True) as server:
        bench = Bench(server, quick=quick)
        machine = this_machine(bench.postgres_version())
        for name, take in chosen(only):
            print(f"{name} ...", file=sys.stderr, flush=True)
            taken = take(bench)
            for measure in [taken] if isinstance(taken, Measure) else taken:
                print(line_of(measure), flush=True)
                measures.append(measure)
    seconds = time.monotonic() - began
    write_results(folder, measures, machine, partial=bool(only), quick=quick, seconds=seconds)
    print(f"{seconds:.0f} s; raw samples are in {folder / 'results.json'}")
    return all(measure.holds for measure in measures)


def main() -> int:
    """0: all bars hold; 1: at least one does not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", default="", metavar="ID,ID", help=f"of {', '.join(GOALS)}, or P9.postgres"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    parser.add_argument("--to", type=Path, help="folder of the results; default: benchmarks/")
    arguments = parser.parse_args()
    only = [name for name in arguments.only.split(",") if name]
    known = {*GOALS, *(f"{goal}.{kind}" for goal in PER_KIND for kind in KINDS)}
    if unknown := sorted(set(only) - known):
        parser.error(f"no such measure: {', '.join(unknown)}")
    if arguments.quick and arguments.to is None:
        parser.error("--quick gives no figures to keep: name a folder with --to")
    holds = run(only, quick=arguments.quick, folder=arguments.to or FOLDER)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
