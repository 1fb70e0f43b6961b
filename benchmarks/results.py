"""Where figures are kept: `results.json` for programs, `RESULTS.md` for people."""

import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measure import Measure, medians
from benchmarks.parts import Part

FOLDER = Path(__file__).parent
JSON_NAME, MARKDOWN_NAME = "results.json", "RESULTS.md"
_TITLE = "# Results of the benchmarks"
_HEADING = "## "


@dataclass(frozen=True)
class Machine:
    """What the figures were taken on. Load averages are those of one minute."""

    started: datetime
    versions: Mapping[str, str]
    cores: int
    memory_gib: float
    load_before: float

    def as_lines(self) -> list[str]:
        """Lines of a Markdown list."""
        named = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return [
            f"- Date: {self.started:%Y-%m-%d %H:%M} UTC",
            f"- Versions: {named}",
            f"- Machine: {self.cores} cores, {self.memory_gib:.0f} GiB of memory, "
            f"{platform.system()} {platform.machine()}",
            f"- Load average of one minute: {self.load_before:.2f} before, "
            f"{os.getloadavg()[0]:.2f} after (the benchmarks' own load included)",
        ]


def this_machine(packages: Sequence[str], systems: Mapping[str, str]) -> Machine:
    """The machine as it is before anything is measured; with versions of systems beside it."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    versions = {"python": platform.python_version()}
    versions |= {name: version(name) for name in packages}
    return Machine(
        datetime.now(timezone.utc),
        {**versions, **systems},
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        pages * size / 2**30,
        os.getloadavg()[0],
    )


def as_entry(measure: Measure) -> dict[str, Any]:
    """The measure as results.json has it."""
    return {
        "id": measure.id,
        "value": round(measure.value, 4),
        "unit": measure.unit,
        "bar": measure.bar,
        "holds": measure.holds,
        "samples": {
            side: [round(value, 5) for value in values] for side, values in measure.samples.items()
        },
    }


def line_of(measure: Measure) -> str:
    """One line for the terminal."""
    verdict = "holds" if measure.holds else "FALLS SHORT"
    value = f"{measure.value:10.3f} {measure.unit:<10}"
    return f"{measure.id:<26} {value} {measure.rule} {measure.bar:<6g} {verdict}"


def read_entries(folder: Path) -> list[dict[str, Any]]:
    """What results.json holds; nothing if there is none yet."""
    path = folder / JSON_NAME
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return entries


def write_results(
    folder: Path,
    part: Part,
    measures: Sequence[Measure],
    machine: Machine,
    *,
    partial: bool,
    quick: bool,
    seconds: float,
) -> None:
    """Replace what both files have of this part, and nothing else.

    Of a partial run only its own ids change, the table says so.
    """
    kept = [e for e in read_entries(folder) if partial or not part.owns(e["id"])]
    entries = {entry["id"]: entry for entry in kept}
    entries |= {measure.id: as_entry(measure) for measure in measures}
    ordered = [entries[name] for name in sorted(entries)]
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / JSON_NAME, "[\n" + ",\n".join(map(json.dumps, ordered)) + "\n]\n")
    sections = read_sections(folder)
    if not partial:
        sections[part.title] = _section(part, measures, machine, quick, seconds)
    elif part.title in sections:
        sections[part.title] = _with_rows(sections[part.title], measures, machine)
    if sections:
        _replace(folder / MARKDOWN_NAME, _page(sections))


def read_sections(folder: Path) -> dict[str, str]:
    """The text of each part in RESULTS.md, by its title; nothing if there is none yet."""
    path = folder / MARKDOWN_NAME
    if not path.exists():
        return {}
    sections: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(_HEADING):
            sections[line.removeprefix(_HEADING)] = []
        elif sections:
            sections[next(reversed(sections))].append(line)
    return {title: "\n".join(lines).strip() for title, lines in sections.items()}


def _page(sections: Mapping[str, str]) -> str:
    lines = [
        _TITLE, "",
        "Each part is written by the command it names; the raw samples of all are in "
        "`results.json`. Samples of the sides of a comparison are interleaved, values are "
        "medians.", "",
    ]  # fmt: skip
    for title in sorted(sections):
        lines += [_HEADING + title, "", sections[title], ""]
    return "\n".join(lines)


def _section(
    part: Part, measures: Sequence[Measure], machine: Machine, quick: bool, seconds: float
) -> str:
    kind = " Quick: small sizes, no verdict." if quick else ""
    lines = [
        f"Written by `{part.command}`.{kind}", "",
        *machine.as_lines(),
        f"- The run took {seconds / 60:.1f} minutes", "",
        "| id | value | unit | bar | holds | medians |",
        "| --- | ---: | --- | --- | --- | --- |",
        *(_row(measure) for measure in measures), "",
        "### What was compared", "",
        *(f"- **{measure.id}**: {measure.compared}" for measure in measures),
    ]  # fmt: skip
    return "\n".join(lines)


def _row(measure: Measure, since: str = "") -> str:
    middle = ", ".join(f"{side} {value:.4g}" for side, value in medians(measure.samples).items())
    return (
        f"| {measure.id} | {measure.value:.3f} | {measure.unit} | {measure.rule} {measure.bar:g} "
        f"| {'yes' if measure.holds else 'NO'}{since} | {middle} |"
    )


def _with_rows(section: str, measures: Sequence[Measure], machine: Machine) -> str:
    """The section with the rows of these measures replaced and dated."""
    since = f" (taken again {machine.started:%Y-%m-%d %H:%M} UTC)"
    rows = {f"| {measure.id} |": _row(measure, since) for measure in measures}
    told = {
        f"- **{measure.id}**:": f"- **{measure.id}**: {measure.compared}" for measure in measures
    }
    return "\n".join(
        next((text for start, text in (rows | told).items() if line.startswith(start)), line)
        for line in section.splitlines()
    )


def _replace(path: Path, text: str) -> None:
    """All of it or nothing: a run that is stopped leaves the file of the one before."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, encoding="utf-8", prefix=f".{path.name}."
    ) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
