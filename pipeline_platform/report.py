"""Tables for the terminal, from rows of the drive table."""

from collections.abc import Collection, Sequence
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from pipeline_platform.backfill import Backfill
from pipeline_platform.drive_table.store import DriveStore
from pipeline_platform.execution import ExecutionRow
from pipeline_platform.flow.recheck import Recount
from pipeline_platform.runner import WindowResult
from pipeline_platform.tolerance import loss_percent

_COLORS = {"SUCCESS": "green", "SKIPPED": "cyan", "FAILED": "red", "RUNNING": "yellow"}
# Nothing is cut or folded in a file or a pipe.
_WIDTH_OF_A_FILE = 1000


def console(*, stderr: bool = False) -> Console:
    """Where reports go: as wide as the terminal, and as wide as it takes elsewhere."""
    found = Console(stderr=stderr, highlight=False, soft_wrap=True)
    if not found.is_terminal:
        found.width = _WIDTH_OF_A_FILE
    return found


def window_line(pipeline: str, result: WindowResult) -> str:
    """What became of one window, in one line (rich markup)."""
    mark = "[green]✓[/]" if result.success else "[red]✗[/]"
    tries = f" after {result.attempts} attempts" if result.attempts > 1 else ""
    rows = _counts(result.row)[2] if result.row and result.verdict == "SUCCESS" else None
    moved = [f"{rows:,} rows"] if rows is not None else []
    # That nothing was there before is what one expects of a first run.
    first = result.row is not None and result.row.epoch == 1 and result.verdict == "SUCCESS"
    text = "; ".join([*moved, *([result.reason] if result.reason and not first else [])])
    return f"{mark} {pipeline} {result.window.key}  {result.verdict}{tries}: {escape(text)}"


def summary_line(results: Sequence[WindowResult], failed_before: Collection[datetime]) -> str:
    """How many windows ended how (rich markup). Healed: succeeded after a failure, whether in an
    attempt of this backfill or in a run before it."""
    moved = [result for result in results if result.success and result.verdict != "SKIPPED"]
    healed = [
        result for result in moved if result.attempts > 1 or result.window.start in failed_before
    ]
    right = sum(result.success and result.verdict == "SKIPPED" for result in results)
    failed = sum(not result.success for result in results)
    parts = [f"[green]{len(moved)} succeeded[/]" + (f" ({len(healed)} healed)" if healed else "")]
    if right:
        parts.append(f"[cyan]{right} already right[/]")
    parts.append(f"[red]{failed} failed[/]" if failed else "0 failed")
    return f"{_windows(len(results))}: {', '.join(parts)}"


def window_progress(console: Console, pipeline: str) -> Progress:
    """A bar over windows; silent where there is no terminal."""
    return Progress(
        TextColumn(f"{pipeline}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip


def left_out_line(backfill: Backfill) -> str:
    """What a backfill runs and what it leaves out (rich markup)."""
    text = f"{_windows(len(backfill.windows))} to run"
    if backfill.windows:
        text += f", {backfill.windows[0].key} to {backfill.windows[-1].key}"
    if backfill.left_alone:
        text += f"; {_windows(backfill.left_alone)} left alone"
    if backfill.not_ready:
        text += f"; {_windows(backfill.not_ready)} not ready yet"
    return f"{text}."


def _windows(number: int) -> str:
    return f"{number} window" if number == 1 else f"{number} windows"


def results_table(pipeline: str, results: Sequence[WindowResult]) -> Table:
    """One line per window: rows at source, stage and target, loss, verdict, seconds."""
    table = _table(f"Pipeline {pipeline}")
    table.add_column("window")
    for name in ("source", "stage", "target"):
        table.add_column(f"rows at {name}", justify="right")
    table.add_column("loss", justify="right")
    table.add_column("verdict")
    table.add_column("seconds", justify="right")
    for result in results:
        row = result.row
        counts = _counts(row) if row else (None, None, None)
        source, _, target = counts
        loss = "" if source is None or target is None else f"{loss_percent(source, target)} %"
        table.add_row(
            result.window.key,
            *("" if count is None else f"{count:,}" for count in counts),
            loss,
            f"[{_COLORS.get(result.verdict, 'red')}]{result.verdict}[/]",
            f"{_seconds(row):.1f}" if row else "",
        )
    return table


def recheck_table(pipeline: str, counted: Sequence[Recount]) -> Table:
    """Windows counted again, newest first: one line for each way in which one is not as it was
    committed, one for a window that is."""
    table = _table(f"Pipeline {pipeline}, counted again")
    for column in ("window", "run", "class"):
        table.add_column(column)
    for column in ("rows then", "rows now", "difference"):
        table.add_column(column, justify="right")
    table.add_column("what happens")
    for one in counted:
        for deviation in one.deviations:
            table.add_row(
                one.window.key, one.run, f"[red]{deviation.kind}[/]",
                f"{deviation.rows_then:,}", f"{deviation.rows_now:,}",
                f"{deviation.difference:+,}", one.why,
            )  # fmt: skip
        if not one.deviations:
            rows = f"{one.source_rows:,}"
            table.add_row(one.window.key, one.run, "[green]as committed[/]", rows, rows, "0", "")
    return table


def recheck_line(counted: Sequence[Recount], left: Sequence[Recount]) -> str:
    """How many of the windows are not as committed (rich markup)."""
    if not left:
        return f"{_windows(len(counted))} counted: [green]all as committed[/]"
    return f"{_windows(len(counted))} counted: [red]{len(left)} not as committed[/]"


def records_table(store: DriveStore, names: Sequence[str]) -> Table:
    """Windows of each pipeline by state."""
    table = _table(f"Windows in {store.name}")
    for column in ("pipeline", "completed", "pending", "held now", "latest completed"):
        table.add_column(column, justify="left" if column == "pipeline" else "right")
    for name in names:
        [summary] = store.query("window_summary", pipeline_name=name)
        latest = summary["latest_completed_window"]
        table.add_row(
            name,
            str(summary["completed"]),
            str(summary["pending"]),
            str(summary["held"]),
            latest.strftime("%Y-%m-%d %H:%M UTC") if latest else "",
        )
    return table


def runs_table(store: DriveStore, names: Sequence[str], limit: int) -> Table:
    """Latest runs, newest first, with where they failed and why."""
    table = _table("Latest runs")
    for column in ("run", "status", "retry", "started", "took", "failed at", "why"):
        table.add_column(column, overflow="fold")
    rows = [row for name in names for row in store.latest_runs(name, limit)]
    rows.sort(key=lambda row: row.pipeline_start_timestamp, reverse=True)
    for row in rows[:limit]:
        failed = row.phase_failed
        error = next((p.error_message for n, p in row.phases.items() if n == failed), None)
        table.add_row(
            row.pipeline_id,
            f"[{_COLORS[row.pipeline_status]}]{row.pipeline_status}[/]",
            str(row.pipeline_retry_number),
            row.pipeline_start_timestamp.strftime("%Y-%m-%d %H:%M:%S UTC"),
            row.pipeline_run_duration or "",
            failed or "",
            escape(error or ""),
        )
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left")


def _counts(row: ExecutionRow) -> tuple[int | None, int | None, int | None]:
    """Rows at source, stage and target as the run counted them; of a skipped run, as it found."""
    if row.pipeline_status == "SKIPPED":
        found = row.phases["pre_validation"].phase_specific_details
        return found.get("source_count"), found.get("stage_rows"), found.get("target_rows")
    audit = row.phases["audit"].phase_specific_details
    counts = {
        name: row.phases[name].phase_specific_details.get("value")
        for name in ("source_count", "stage_count", "target_count")
    }
    source = audit.get("source_count", counts["source_count"])
    return source, counts["stage_count"], counts["target_count"]


def _seconds(row: ExecutionRow) -> float:
    if row.pipeline_end_timestamp is None:
        return 0.0
    return (row.pipeline_end_timestamp - row.pipeline_start_timestamp).total_seconds()
