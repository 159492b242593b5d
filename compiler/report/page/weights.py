"""What became of each weight, of units and of gates, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from regc.compiler.report import text
from regc.compiler.report.activity import HEADINGS, LEGEND, activity_rows
from regc.compiler.report.gates import GATES, gate_rows
from regc.compiler.report.page.markup import bar, columns, soft, table
from regc.compiler.report.summary import by_pass, in_rows, refused
from regc.compiler.report.units import UNITS, kept_whole, rows_of

if TYPE_CHECKING:
    from regc.compiler.records import SiteRecord
    from regc.compiler.report import Report


def weights(report: Report) -> str:
    """The changed weights, in the rows that the terminal has; the others are listed by reason."""
    if not report.changed:
        return ""
    groups = in_rows(report.records)
    largest = max(_nbytes(group)[0] for group in groups) or 1
    calibrated = any(record.output_error is not None for record in report.changed)
    errors = ("error", "output error") if calibrated else ("error",)
    headings = ("weight", "shape", "new term", "before, after", *errors, "computed by")
    rows = [_row(group, largest, calibrated) for group in groups]
    return f"<h2>Weights</h2>\n{table(headings, rows, numeric=(1, *range(4, 4 + len(errors))))}"


def activity(report: Report) -> str:
    """How many of their inputs rows use, of weights that skip some."""
    rows = [
        (f"<code>{escape(row.name)}</code>", f"{row.share:.0%}", columns(row.histogram), *row.numbers)
        for row in activity_rows(report.records, in_rows(report.records))
    ]
    used = table(HEADINGS, rows, numeric=(1, *range(3, len(HEADINGS))))
    return f"<h2>Inputs used</h2>\n{used}<p class='soft'>{escape(LEGEND)}</p>" if rows else ""


def gates(report: Report) -> str:
    """How gates varied and what became of them, those first that are safest to settle."""
    rows = [tuple(map(escape, row)) for row in gate_rows(report.gates)]
    return f"<h2>Gates</h2>\n{table(GATES, rows, numeric=(2, 3, 4))}" if rows else ""


def units(report: Report) -> str:
    """The sets of units that were made smaller, and why others were not."""
    if not report.units:
        return ""
    rows = [tuple(map(escape, row)) for row in rows_of(report.removed)]
    reasons = [(escape(reason), escape(text.listed(names))) for reason, names in kept_whole(report.units)]
    parts = [table(UNITS, rows, numeric=(2, 4))] if rows else []
    parts += [table(("nothing removed because", "units"), reasons)] if reasons else []
    return "<h2>Units</h2>\n" + "\n".join(parts)


def refusals(report: Report) -> str:
    """The weights that were left in the form in which they came, by reason."""
    items = []
    for reason, group in refused(report.records):
        names = ", ".join(f"<code>{escape(record.info.name)}</code>" for record in group)
        what = f"{text.count(len(group), 'weight')}, {text.size(sum(record.nbytes_before for record in group))}"
        items.append(f"<li><details><summary>{what}: {escape(reason)}</summary>{names}</details></li>")
    return f"<h2>Left in the form in which they came</h2>\n<ul>{''.join(items)}</ul>" if items else ""


def passes(report: Report) -> str:
    """How many weights each pass changed, and why not the others."""
    rows = []
    for summary in by_pass(report.records, report.pipeline):
        reasons = "".join(f"<li>{len(names)}: {escape(reason)}</li>" for reason, names in summary.refused)
        head = f"<summary>{text.count(len(summary.refused), 'reason')}</summary>"
        detail = f"<details>{head}<ul>{reasons}</ul></details>" if reasons else ""
        rows.append((f"<code>{escape(summary.name)}</code>", summary.words, detail))
    return f"<h2>Passes</h2>\n{table(('pass', 'changed', 'refusals'), rows)}" if rows else ""


def _nbytes(group: Sequence[SiteRecord]) -> tuple[int, int]:
    return sum(record.nbytes_before for record in group), sum(record.nbytes_after for record in group)


def _row(group: Sequence[SiteRecord], largest: int, calibrated: bool) -> Sequence[str]:
    first, (before, after) = group[0], _nbytes(group)
    bars = bar("was", before, largest) + bar("now", after, largest)
    return (
        _names(group),
        text.shape(first.info.shape),
        f"{escape(first.before)} &rarr; {escape(first.after)}",
        f'<span class="size">{text.size(before)} &rarr; {text.size(after)}</span><div class="bar">{bars}</div>',
        text.number(max(record.error or 0.0 for record in group)),
        *([text.largest(record.output_error for record in group)] if calibrated else []),
        escape(first.emitted).replace("::", "::<wbr>"),
    )


def _names(group: Sequence[SiteRecord]) -> str:
    """The name of a weight, with who reads it; or of the first one, and all of them to unfold."""
    first = group[0]
    name = f"<code>{escape(first.info.name)}</code>"
    if len(group) > 1:
        every = ", ".join(f"<code>{escape(record.info.name)}</code>" for record in group)
        return f"<details><summary>{name} and {len(group) - 1} like it</summary>{every}</details>"
    tied = f' <span class="soft">tied with {escape(", ".join(first.aliases))}</span>' if first.aliases else ""
    return f"{name}{tied}<br>{soft(_readers(first))}"


def _readers(record: SiteRecord) -> str:
    kinds = ", ".join(record.info.op_types)
    return f"{kinds}: {text.listed(record.info.users)}" if record.info.users else kinds
