"""The report in a terminal, from 80 columns up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from regc.compiler.report import text
from regc.compiler.report.activity import show_activity
from regc.compiler.report.checks import add_checks, show_outputs
from regc.compiler.report.gates import show_gates
from regc.compiler.report.layout import Facts, columns, hanging
from regc.compiler.report.summary import by_pass, emissions, grouped, in_rows, refused, unseen
from regc.compiler.report.units import show_units

if TYPE_CHECKING:
    from regc.compiler.records import SiteRecord
    from regc.compiler.report import Report

WIDE = 110
"""Columns from which there is room to say by what each weight is computed."""
SHORTEST_NAME, LONGEST_NAME = 26, 34
"""Columns that names get at least, in narrow and in wide terminals; longer ones go on in the next line."""


def show_report(report: Report, console: Console, full: bool = False) -> None:
    """Print a report: changed weights, refusals by reason, totals, and what verification found. ``full``
    gives each weight its row.
    """
    show_gates(report, console, full)
    show_units(report, console, full)
    if report.changed:
        _show_changed(report, console, full)
        console.print()
        show_activity(report.records, console, full)
    _show_refused(report, console, full)
    facts = Facts(console)
    _add_totals(report, facts)
    if report.verification is not None:
        add_checks(report.verification, facts)
    facts.show()
    if report.verification is not None:
        show_outputs(report.verification, console)


def _show_changed(report: Report, console: Console, full: bool) -> None:
    wide = console.width >= WIDE
    groups = in_rows(report.records, full)
    mixed = len({record.before for record in report.changed}) > 1
    calibrated = any(record.output_error is not None for record in report.changed)
    errors = ("error", "output error") if calibrated else ("error",)
    headings = ("weight", "shape", "new term", "bytes", *errors, *(["computed by"] if wide else []))
    table = columns(*headings, right=("shape", *errors))
    rows = [_row(group, wide, mixed, calibrated) for group in groups]
    taken = sum(max(map(len, column)) + 2 for column in zip(headings[1:], *rows, strict=True))
    width = max(LONGEST_NAME if wide else SHORTEST_NAME, console.width - taken)
    for group, row in zip(groups, rows, strict=True):
        table.add_row(*map(Text, (text.wrap(_name(group), width), *row)))
    table.columns[0].no_wrap = True
    table.columns[3].no_wrap = True
    console.print(table)


def _row(group: Sequence[SiteRecord], wide: bool, mixed: bool, calibrated: bool) -> list[str]:
    first = group[0]
    before, after = sum(r.nbytes_before for r in group), sum(r.nbytes_after for r in group)
    row = [
        text.shape(first.info.shape),
        f"{first.before} -> {first.after}" if mixed else first.after,
        f"{text.size(before)} -> {text.size(after)}",
        text.number(max(record.error or 0.0 for record in group)),
        *([text.largest(record.output_error for record in group)] if calibrated else []),
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
    console.print(Text("left in the form in which they came", "bold"))
    for reason, group in groups:
        names = [_known_as(record) for record in group]
        what = f"{text.count(len(group), 'weight')}, {text.size(sum(r.nbytes_before for r in group))}"
        listed = text.listed(names, len(names) if full else 3)
        console.print(hanging(f"{what}: {reason}"))
        console.print(hanging(listed, 4, style="dim"))
    console.print()


def _add_passes(report: Report, facts: Facts) -> None:
    """One line a pass when there are several, so that one that never applied is noticed."""
    passes = by_pass(report.records, report.pipeline)
    removing = {record.pass_name for record in report.units}
    for summary in passes if len(passes) > 1 else ():
        if summary.name in removing:
            continue
        words = summary.words
        if summary.refused:
            reason, names = summary.refused[0]
            more = len(summary.refused) - 1
            words += f"; refused {len(names)}: {reason}" + (f", and {text.count(more, 'other reason')}" if more else "")
        facts.add(summary.name, words)


def _add_calibration(report: Report, facts: Facts) -> None:
    if report.calibration:
        facts.add("calibration", report.calibration)
    for reason, group in unseen(report.records):
        names = text.listed([_known_as(record) for record in group])
        facts.add("uncalibrated", f"{text.count(len(group), 'weight')}: {reason} ({names})", "yellow")


def _add_recovery(report: Report, facts: Facts) -> None:
    if report.recovered is None:
        return
    facts.add("recovery", report.recovered.words)
    for reason, names in grouped(report.recovered.left, report.recovered.left.__getitem__).items():
        facts.add("not trained", f"{text.count(len(names), 'weight')}: {reason} ({text.listed(names)})", "yellow")


def _add_totals(report: Report, facts: Facts) -> None:
    before, after = report.weights
    facts.add("model", f"{report.model} -> {report.output}" if report.output else report.model)
    facts.add("passes", report.pipeline)
    if report.target != "cpu":
        facts.add("target", report.target)
    if report.fallback != "standard":
        facts.add("fallback", report.fallback)
    _add_passes(report, facts)
    _add_calibration(report, facts)
    _add_recovery(report, facts)
    if report.note:
        facts.add("note", report.note)
    words = f"{len(report.changed)} of {len(report.records)} changed, {text.size(before)}"
    if report.changed:
        words += f" -> {text.size(after)} ({text.ratio(before, after)} smaller)"
    none = f"already compressed by regc ({report.earlier})" if report.earlier else text.NO_WEIGHTS
    if report.records or not report.units:
        facts.add("weights", words if report.records else none)
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
