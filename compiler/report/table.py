"""The report in a terminal, from 80 columns up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from regc.compiler.report import text
from regc.compiler.report.summary import alike, by_pass, emissions, refused

if TYPE_CHECKING:
    from regc.compiler.records import SiteRecord
    from regc.compiler.report import Report
    from regc.compiler.verify import Verification

MANY = 30
"""Changed weights above which those that are alike share a row."""
WIDE = 110
"""Columns from which there is room to say by what each weight is computed."""
SHORTEST_NAME, LONGEST_NAME = 26, 34
"""Columns that names get at least, in narrow and in wide terminals; longer ones go on in the next line."""


def show_report(report: Report, console: Console, full: bool = False) -> None:
    """Print a report: changed weights, refusals by reason, totals, and what verification found. ``full``
    gives each weight its row.
    """
    if report.changed:
        _show_changed(report, console, full)
        console.print()
    _show_refused(report, console, full)
    facts = Facts(console)
    _add_totals(report, facts)
    if report.verification is not None:
        add_checks(report.verification, facts)
    facts.show()
    if report.verification is not None:
        show_outputs(report.verification, console)


def columns(*headings: str, right: Sequence[str] = ()) -> Table:
    """A table without lines; the headings in ``right`` are aligned to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_edge=False)
    for heading in headings:
        table.add_column(
            heading,
            justify="right" if heading in right else "left",
            no_wrap=heading in right,
            overflow="fold",
        )
    return table


class Facts:
    """Lines of a label and words, the words aligned."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.grid = Table.grid(padding=(0, 2, 0, 0))
        self.grid.add_column(style="bold", no_wrap=True)
        self.grid.add_column(overflow="fold")

    def add(self, label: str, words: str, style: str = "") -> None:
        """Add a line."""
        self.grid.add_row(label, Text(words, style))

    def show(self) -> None:
        """Print the lines."""
        self.console.print(self.grid)


def _show_changed(report: Report, console: Console, full: bool) -> None:
    wide = console.width >= WIDE
    groups = [[r] for r in report.changed] if full or len(report.changed) <= MANY else alike(report.records)
    before = {record.before for record in report.changed}
    mixed = len(before) > 1
    term = "term" if mixed else f"{before.pop()} ->"
    table = columns(
        "weight",
        "shape",
        term,
        "bytes",
        "error",
        *(["computed by"] if wide else []),
        right=("shape", "error"),
    )
    rows = [_row(group, wide, mixed) for group in groups]
    taken = sum(max(map(len, column)) + 2 for column in zip(*rows, strict=True))
    width = max(LONGEST_NAME if wide else SHORTEST_NAME, console.width - taken)
    for group, row in zip(groups, rows, strict=True):
        table.add_row(*map(Text, (text.wrap(_name(group), width), *row)))
    table.columns[0].no_wrap = True
    table.columns[3].no_wrap = True
    console.print(table)


def _row(group: Sequence[SiteRecord], wide: bool, mixed: bool) -> list[str]:
    first = group[0]
    before, after = sum(r.nbytes_before for r in group), sum(r.nbytes_after for r in group)
    row = [
        text.shape(first.info.shape),
        f"{first.before} -> {first.after}" if mixed else first.after,
        f"{text.size(before)} -> {text.size(after)}",
        text.number(max(record.error or 0.0 for record in group)),
    ]
    return [*row, first.emitted] if wide else row


def _name(group: Sequence[SiteRecord]) -> str:
    name, aliases = _known_as(group[0]), group[0].aliases
    if len(group) > 1:
        return f"{name} and {len(group) - 1} like it"
    return name + (f" ({len(aliases) + 1} tied)" if aliases else "")


def _known_as(record: SiteRecord) -> str:
    return text.known_as(record.info.name, record.info.users)


def _show_refused(report: Report, console: Console, full: bool) -> None:
    groups = refused(report.records)
    if not groups:
        return
    console.print(Text("left as they came", "bold"))
    for reason, group in groups:
        names = [_known_as(record) for record in group]
        what = f"{text.count(len(group), 'weight')}, {text.size(sum(r.nbytes_before for r in group))}"
        listed = text.listed(names, len(names) if full else 3)
        console.print(_hanging(f"{what}: {reason}"))
        console.print(_hanging(listed, 4, style="dim"))
    console.print()


def _hanging(words: str, indent: int = 2, style: str = "") -> Table:
    grid = Table.grid(padding=0)
    grid.add_column(width=indent)
    grid.add_column(overflow="fold")
    grid.add_row("", Text(words, style))
    return grid


def _add_passes(report: Report, facts: Facts) -> None:
    """One line a pass when there are several, so that one that never applied is noticed."""
    passes = by_pass(report.records, report.pipeline)
    for summary in passes if len(passes) > 1 else ():
        words = summary.words
        if summary.refused:
            reason, names = summary.refused[0]
            more = len(summary.refused) - 1
            words += f"; refused {len(names)}: {reason}" + (f", and {text.count(more, 'other reason')}" if more else "")
        facts.add(summary.name, words)


def _add_totals(report: Report, facts: Facts) -> None:
    before, after = report.weights
    facts.add("model", f"{report.model} -> {report.output}" if report.output else report.model)
    facts.add("passes", report.pipeline)
    _add_passes(report, facts)
    if report.note:
        facts.add("note", report.note)
    words = f"{len(report.changed)} of {len(report.records)} changed, {text.size(before)}"
    if report.changed:
        words += f" -> {text.size(after)} ({text.ratio(before, after)} smaller)"
    facts.add("weights", words if report.records else "none that a pass could take")
    ways = "\n".join(f"{times} x {way}" for way, times in emissions(report.records))
    if ways:
        facts.add("computed by", ways)
    if report.nbytes_before is not None:
        facts.add("file", text.size(report.nbytes_before) + _after(report.nbytes_before, report.nbytes_after))
    facts.add("time", f"{report.seconds:.1f} s in the passes")


def _after(before: int, after: int | None) -> str:
    if after is None:
        return ""
    return (
        f" -> {text.size(after)} ({text.ratio(before, after)} smaller)" if after < before else f" -> {text.size(after)}"
    )


def add_checks(check: Verification, facts: Facts) -> None:
    """Add what happened when the models were loaded and run."""
    if check.original != "ok" and check.problems:
        facts.add("original", check.original, "yellow")
    facts.add("with library", check.with_library, _style(check.with_library))
    facts.add(
        "without it",
        check.without_library + _closeness(check.library_difference),
        _style(check.without_library),
    )
    for problem in check.problems:
        if check.original not in problem:
            facts.add("not compared", problem, "yellow")


def _closeness(difference: float | None) -> str:
    if difference is None:
        return ""
    return ", with the same outputs" if difference == 0 else f", outputs differ by at most {text.number(difference)}"


def _style(status: str) -> str:
    return "" if status == "ok" else "yellow" if status.startswith("not checked") else "red"


def show_verification(check: Verification, console: Console) -> None:
    """Print all of a verification."""
    facts = Facts(console)
    add_checks(check, facts)
    facts.show()
    show_outputs(check, console)


def show_outputs(check: Verification, console: Console) -> None:
    """Print the error of each output, and on what it was measured."""
    if not check.outputs:
        return
    console.print()
    figures = ("max error", "mean error", "SQNR", "cosine")
    table = columns("output", "values", *figures, right=("values", *figures))
    for o in check.outputs:
        name = text.shorten(o.name, max(16, console.width - 58))
        row = (
            f"{o.count:,}",
            text.number(o.max_abs),
            text.number(o.mean_abs),
            text.decibel(o.sqnr_db),
            text.cosine(o.cosine),
        )
        table.add_row(Text(name), *row)
    console.print(table)
    for o in check.outputs:
        if o.note:
            console.print(Text(f"{o.name}: {o.note}", "yellow"))
    console.print(Text(f"measured on {check.inputs}", "dim"))
