"""How many of their inputs rows use, of weights that skip some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from regc.compiler.report import text
from regc.compiler.report.layout import columns, hanging
from regc.compiler.report.summary import in_rows

if TYPE_CHECKING:
    from regc.compiler.records import SiteRecord

HEADINGS = ("weight", "used", "rows by share", "output error", "reads less", "predicted", "measured")
LEGEND = (
    "used: the share of its inputs that a calibration row uses, on average; rows by share: how many rows use 0 to 100 "
    "% of them; reads less: how many times fewer bytes of the weight a row reads than of the original, which bounds "
    "the gain of one row from memory; predicted, measured: the speed of a product of as many rows as calibration "
    "inputs have over float32 MatMul, on one thread: by what is known of the operator, with weights beyond the cache, "
    "and of this weight alone on this machine, - where it cannot be timed: without our operator library, for a GPU, or "
    "above 256 MiB"
)
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class ActivityRow:
    """What there is to tell of a weight, or of several that are alike."""

    name: str
    share: float
    histogram: tuple[float, ...]
    error: str
    reading: str
    predicted: str
    measured: str

    @property
    def numbers(self) -> tuple[str, ...]:
        """What comes after the histogram."""
        return (self.error, self.reading, self.predicted, self.measured)


def activity_rows(records: Sequence[SiteRecord], groups: Sequence[Sequence[SiteRecord]]) -> Iterator[ActivityRow]:
    """A row for each group of records in which inputs are skipped; a factor of a weight has a row of its own."""
    for group in groups:
        first = group[0]
        name = text.known_as(first.info.name, first.info.users)
        for part in range(len(first.activities)):
            found = [record.activities[part] for record in group]
            share = sum(activity.share for activity in found) / len(found)
            histogram = tuple(sum(bins) / len(found) for bins in zip(*(a.histogram for a in found), strict=True))
            before, after = sum(r.nbytes_before for r in group), sum(r.nbytes_after for r in group)
            reading = text.ratio(before, after * share) if len(first.activities) == 1 else "-"
            like = f" and {len(group) - 1} like it" if len(group) > 1 else ""
            place = f", factor {part + 1}" if len(first.activities) > 1 else ""
            error = text.largest(record.output_error for record in group)
            yield ActivityRow(f"{name}{like}{place}", share, histogram, error, reading, *_speeds(group))


def _speeds(group: Sequence[SiteRecord]) -> tuple[str, str]:
    """Means of the speeds of whole weights, as predicted and as measured."""
    found = [record.speed for record in group if record.speed is not None]
    return text.mean_ratio(s.predicted for s in found), text.mean_ratio(s.measured for s in found)


def show_activity(records: Sequence[SiteRecord], console: Console, full: bool) -> None:
    """Print a row for each weight that skips inputs, if any does."""
    rows = list(activity_rows(records, in_rows(records, full)))
    if not rows:
        return
    table = columns(*HEADINGS, right=("used", *HEADINGS[3:]))
    for row in rows:
        table.add_row(*map(Text, (row.name, f"{row.share:.0%}", sparkline(row.histogram), *row.numbers)))
    console.print(table)
    console.print(hanging(LEGEND, style="dim"))
    console.print()


def sparkline(histogram: Sequence[float]) -> str:
    """A bar for each bin, the highest for the most rows; a bin with any has at least the lowest."""
    most = max(histogram) or 1.0
    return "".join(_BARS[max(round(8 * share / most), int(share > 0))] for share in histogram)
