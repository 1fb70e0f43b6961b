"""Tables of plain text, for people and for logs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline_platform.fault_points import FAULT_POINTS

PHASES_OF_POINTS = {
    "claim": "claim",
    "close": "stale handling",
    "save": "every phase: the drive row",
    "stage": "source to stage",
    "prepare": "stage to target: tables",
    "copy": "stage to target: copies",
    "load": "stage to target",
    "audit": "audit",
    "clean": "stage cleaning",
    "delete": "mismatch of the last attempt",
}


def print_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    texts = [tuple(names), *(tuple(str(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(names))]
    print()
    for row in texts:
        print(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        )
    print(flush=True)


def points_table(reached: Counter[str], fired: Counter[str]) -> list[tuple[str, str, int, int]]:
    """Phase, point, how often it was reached, how many faults were there."""
    return [
        (PHASES_OF_POINTS[point.partition(".")[0]], point, reached[point], fired[point])
        for point in FAULT_POINTS
    ]
