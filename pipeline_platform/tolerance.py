"""Loss between two hops, and whether it is allowed (seed 003, phase 8; pure).

Loss is `(before - after) / before * 100` percent. A loss equal to the tolerance passes. More rows
after than before always fails. Comparisons are exact: they use whole rows, not rounded percents.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True)
class HopVerdict:
    """The comparison of one hand-over. Counts are rows, percents are of `before`."""

    before: int
    after: int
    tolerance_percent: Decimal
    passed: bool
    loss_percent: Decimal
    reason: str

    @property
    def lost(self) -> int:
        """Rows lost; negative when rows appeared."""
        return self.before - self.after

    def facts(self) -> dict[str, object]:
        """The numbers for check metadata and the drive row."""
        return {
            "expected": self.before,
            "observed": self.after,
            "loss_percent": float(self.loss_percent),
            "tolerance_percent": float(self.tolerance_percent),
        }


def loss_percent(before: int, after: int) -> Decimal:
    """Percent of rows lost, two decimals, half up; negative when rows appeared.

    Rows out of nothing have no finite percent: they report the least value that the
    PERCENTAGE_DIFFERENCE column, DECIMAL(9,2), can hold.
    """
    if before == 0:
        return Decimal("0.00") if after == 0 else Decimal("-9999999.99")
    percent = Decimal(before - after) * 100 / Decimal(before)
    bounded = max(percent, Decimal("-9999999.99"))
    return bounded.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def shrinkage(before: int, now: int, most_percent: Decimal | float) -> "HopVerdict | None":
    """The verdict on rows that are gone, if they are more than `most_percent` of those before."""
    verdict = compare_hop(before, now, most_percent, "before to now")
    return verdict if verdict.lost > 0 and not verdict.passed else None


def compare_hop(
    before: int, after: int, tolerance_percent: Decimal | float, hop: str
) -> HopVerdict:
    """Judge one hop; `hop` names it in the reason, e.g. `source to stage`."""
    tolerance = Decimal(str(tolerance_percent))
    percent = loss_percent(before, after)
    if after > before:
        reason = f"{hop}: {after} rows from {before}: {after - before} rows too many"
        return HopVerdict(before, after, tolerance, False, percent, reason)
    within = (before - after) * 100 <= tolerance * before
    verb = "within" if within else "over"
    reason = (
        f"{hop}: {after} of {before} rows"
        if after == before
        else f"{hop}: {before - after} of {before} rows lost, "
        f"{percent} % is {verb} the tolerance of {tolerance} %"
    )
    return HopVerdict(before, after, tolerance, within, percent, reason)
