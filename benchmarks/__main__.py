"""`python -m benchmarks`: the goals and laws of the platform's speed, measured on this machine."""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.measure import Measure
from benchmarks.parts import PARTS, Part, Take
from benchmarks.results import FOLDER, line_of, this_machine, write_results
from pipeline_platform_tests.servers.availability import MissingServerError


def chosen(part: Part, only: Sequence[str]) -> Iterable[tuple[str, Take]]:
    """The measures to take: all, or those that are named (`P9`, or `P9.postgres`)."""
    for name, take in part.takes.items():
        if not only or name in only or name.split(".")[0] in only:
            yield name, take


def run(part: Part, only: Sequence[str], *, quick: bool, folder: Path) -> bool:
    """Take the measures, print a line for each, write the files; whether all hold."""
    measures: list[Measure] = []
    began = time.monotonic()
    with part.open(quick) as bench:
        machine = this_machine(part.packages, bench.versions())
        for name, take in chosen(part, only):
            print(f"{name} ...", file=sys.stderr, flush=True)
            taken = take(bench)
            for measure in [taken] if isinstance(taken, Measure) else taken:
                print(line_of(measure), flush=True)
                measures.append(measure)
    seconds = time.monotonic() - began
    write_results(folder, part, measures, machine, partial=bool(only), quick=quick, seconds=seconds)
    print(f"{seconds:.0f} s; raw samples are in {folder / 'results.json'}")
    return all(measure.holds for measure in measures)


def main() -> int:
    """0: all bars hold; 1: at least one does not; 3: a system cannot run here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--part", choices=PARTS, default=next(iter(PARTS)), help="what to measure")
    parser.add_argument(
        "--only", default="", metavar="ID,ID", help="of the part's measures: P9, or P9.postgres"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    parser.add_argument("--to", type=Path, help="folder of the results; default: benchmarks/")
    arguments = parser.parse_args()
    part = PARTS[arguments.part]
    only = [name for name in arguments.only.split(",") if name]
    known = part.takes.keys() | {name.split(".")[0] for name in part.takes}
    if unknown := sorted(set(only) - known):
        named = ", ".join(part.takes)
        parser.error(f"no such measure: {', '.join(unknown)}; {arguments.part} has {named}")
    if arguments.quick and arguments.to is None:
        parser.error("--quick gives no figures to keep: name a folder with --to")
    try:
        holds = run(part, only, quick=arguments.quick, folder=arguments.to or FOLDER)
    except MissingServerError as missing:
        parser.exit(3, f"{missing}\n")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
