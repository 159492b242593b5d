"""The report as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from regc.compiler.report import text
from regc.compiler.report.activity import HEADINGS, LEGEND, activity_rows
from regc.compiler.report.summary import by_pass, grouped, in_rows, refused, unseen
from regc.compiler.report.units import UNITS, kept_whole, rows_of

if TYPE_CHECKING:
    from regc.compiler.records import SiteRecord
    from regc.compiler.report import Report
    from regc.compiler.verify import Verification

_STYLE = """
:root { --ink: #1d2733; --soft: #667587; --line: #dde3ea; --paper: #fff; }
:root { --was: #c9d3de; --now: #1769aa; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4eaf0; --soft: #97a5b4; --line: #33404d; --paper: #12181f; }
  :root { --was: #42505e; --now: #5aa9e6; --bad: #f28b82; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
body { margin: 0 auto; padding: 2rem 1.5rem; max-width: 72rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem; }
p, li { overflow-wrap: anywhere; }
code { font: .88em ui-monospace, monospace; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.bad { color: var(--bad); }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin-top: 1.2rem; }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; min-width: 9rem; }
.card b { display: block; font-size: 1.35rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
table.facts { width: auto; }
th { text-align: left; font-weight: 600; color: var(--soft); }
td { overflow-wrap: anywhere; min-width: 4.5rem; }
th, td { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; white-space: nowrap; }
.bar { width: 8rem; }
.size { white-space: nowrap; }
.bar i { display: block; height: .35rem; border-radius: 1px; margin-bottom: 2px; min-width: 1px; }
.columns { display: flex; align-items: flex-end; gap: 1px; height: 1.4rem; width: 8rem; }
.columns { border-bottom: 1px solid var(--line); }
.columns i { flex: 1; }
.was { background: var(--was); }
.now { background: var(--now); }
summary { cursor: pointer; }
"""


def page(report: Report) -> str:
    """The page as HTML text."""
    title = f"regc: {report.model}"
    parts = [_head(report), _cards(report), _units(report), _weights(report), _activity(report)]
    parts += [_refusals(report), _passes(report), _calibration(report), _recovery(report)]
    if report.verification is not None:
        parts.append(_verification(report.verification))
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _head(report: Report) -> str:
    output = f" &rarr; {escape(report.output)}" if report.output else ""
    note = f'<p class="bad">{escape(report.note)}</p>' if report.note else ""
    return (
        f"<h1>{escape(report.model)}{output}</h1>\n"
        f'<p class="soft"><code>--passes "{escape(report.pipeline)}"{_target(report)}</code> &middot; '
        f"{report.seconds:.1f} s in the passes</p>{note}"
    )


def _cards(report: Report) -> str:
    before, after = report.weights
    cards = [(f"{len(report.changed)} of {len(report.records)}", "weights changed")]
    if report.changed:
        cards.append((text.ratio(before, after), f"smaller weights: {text.size(before)} &rarr; {text.size(after)}"))
    if report.nbytes_before and report.nbytes_after:
        sizes = f"{text.size(report.nbytes_before)} &rarr; {text.size(report.nbytes_after)}"
        cards.append((text.ratio(report.nbytes_before, report.nbytes_after), f"smaller file: {sizes}"))
    for output in (report.verification.outputs if report.verification else ())[:2]:
        cards.append((text.decibel(output.sqnr_db), f"SQNR of {escape(output.name)}"))
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{big}</b>{small}</div>' for big, small in cards)
        + "</div>"
    )


def _weights(report: Report) -> str:
    """The changed weights, in the rows that the terminal has; the others are listed by reason."""
    if not report.changed:
        return ""
    groups = in_rows(report.records)
    largest = max(_nbytes(group)[0] for group in groups) or 1
    calibrated = any(record.output_error is not None for record in report.changed)
    errors = ("error", "output error") if calibrated else ("error",)
    headings = ("weight", "shape", "new term", "before, after", *errors, "computed by")
    rows = [_row(group, largest, calibrated) for group in groups]
    return f"<h2>Weights</h2>\n{_table(headings, rows, numeric=(1, *range(4, 4 + len(errors))))}"


def _activity(report: Report) -> str:
    """How many of their inputs rows use, of weights that skip some."""
    rows = [
        (f"<code>{escape(row.name)}</code>", f"{row.share:.0%}", _columns(row.histogram), row.error, row.reading)
        for row in activity_rows(report.records, in_rows(report.records))
    ]
    table = _table(HEADINGS, rows, numeric=(1, 3, 4))
    return f"<h2>Inputs used</h2>\n{table}<p class='soft'>{escape(LEGEND)}</p>" if rows else ""


def _columns(histogram: Sequence[float]) -> str:
    most = max(histogram) or 1
    bars = "".join(f'<i class="now" style="height:{100 * share / most:.0f}%"></i>' for share in histogram)
    return f'<div class="columns">{bars}</div>'


def _units(report: Report) -> str:
    """The sets of units that were made smaller, and why others were not."""
    if not report.units:
        return ""
    rows = [tuple(map(escape, row)) for row in rows_of(report.removed)]
    reasons = [(escape(reason), escape(text.listed(names))) for reason, names in kept_whole(report.units)]
    parts = [_table(UNITS, rows, numeric=(2, 4))] if rows else []
    parts += [_table(("nothing removed because", "units"), reasons)] if reasons else []
    return "<h2>Units</h2>\n" + "\n".join(parts)


def _nbytes(group: Sequence[SiteRecord]) -> tuple[int, int]:
    return sum(record.nbytes_before for record in group), sum(record.nbytes_after for record in group)


def _row(group: Sequence[SiteRecord], largest: int, calibrated: bool) -> Sequence[str]:
    first, (before, after) = group[0], _nbytes(group)
    bars = _bar("was", before, largest) + _bar("now", after, largest)
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
    return f"{name}{tied}<br>{_soft(_readers(first))}"


def _readers(record: SiteRecord) -> str:
    kinds = ", ".join(record.info.op_types)
    return f"{kinds}: {text.listed(record.info.users)}" if record.info.users else kinds


def _soft(words: str) -> str:
    return f'<span class="soft">{escape(words)}</span>'


def _bar(kind: str, nbytes: int, largest: int) -> str:
    return f'<i class="{kind}" style="width:{100 * nbytes / largest:.2f}%"></i>'


def _refusals(report: Report) -> str:
    items = []
    for reason, group in refused(report.records):
        names = ", ".join(f"<code>{escape(record.info.name)}</code>" for record in group)
        what = f"{text.count(len(group), 'weight')}, {text.size(sum(record.nbytes_before for record in group))}"
        items.append(f"<li><details><summary>{what}: {escape(reason)}</summary>{names}</details></li>")
    return f"<h2>Left as they came</h2>\n<ul>{''.join(items)}</ul>" if items else ""


def _passes(report: Report) -> str:
    rows = []
    for summary in by_pass(report.records, report.pipeline):
        reasons = "".join(f"<li>{len(names)}: {escape(reason)}</li>" for reason, names in summary.refused)
        head = f"<summary>{text.count(len(summary.refused), 'reason')}</summary>"
        detail = f"<details>{head}<ul>{reasons}</ul></details>" if reasons else ""
        rows.append((f"<code>{escape(summary.name)}</code>", summary.words, detail))
    return f"<h2>Passes</h2>\n{_table(('pass', 'changed', 'refusals'), rows)}" if rows else ""


def _target(report: Report) -> str:
    target = "" if report.target == "cpu" else f" --target {escape(report.target)}"
    return target if report.fallback == "standard" else f"{target} --fallback {escape(report.fallback)}"


def _recovery(report: Report) -> str:
    recovered = report.recovered
    if recovered is None:
        return ""
    left = grouped(recovered.left, recovered.left.__getitem__).items()
    items = [f"<li>{text.count(len(names), 'weight')} not trained: {escape(reason)}</li>" for reason, names in left]
    curve = ", ".join(text.number(loss) for loss in recovered.curve)
    return f"<h2>Recovery</h2>\n<p>{escape(recovered.words)}</p><p>{curve}</p><ul>{''.join(items)}</ul>"


def _calibration(report: Report) -> str:
    if not report.calibration:
        return ""
    items = [
        f"<li>{text.count(len(group), 'weight')} uncalibrated: {escape(reason)}</li>"
        for reason, group in unseen(report.records)
    ]
    return f"<h2>Calibration</h2>\n<p>{escape(report.calibration)}</p><ul>{''.join(items)}</ul>"


def _verification(check: Verification) -> str:
    ways = (
        ("original", check.original),
        ("with the operator library", text.unless_told(check.with_library, check.original)),
        ("without it", text.unless_told(check.without_library, check.original, check.with_library)),
    )
    rows = [
        (way, escape(words) if words == "ok" else f'<span class="bad">{escape(words)}</span>') for way, words in ways
    ]
    if check.library_difference is not None:
        rows.append(("largest difference between the two ways", text.number(check.library_difference)))
    untold = (problem for problem in check.problems if check.original not in problem)
    problems = "".join(f'<p class="bad">{escape(problem)}</p>' for problem in untold)
    figures = [
        (
            f"<code>{escape(o.name)}</code> <span class='bad'>{escape(o.note)}</span>",
            f"{o.count:,}",
            text.number(o.max_abs),
            text.number(o.mean_abs),
            text.decibel(o.sqnr_db),
            text.cosine(o.cosine),
        )
        for o in check.outputs
    ]
    headings = ("output", "values", "max error", "mean error", "SQNR", "cosine")
    outputs = _table(headings, figures, numeric=(1, 2, 3, 4, 5)) if figures else ""
    return (
        f"<h2>In ONNX Runtime</h2>\n{_table((), rows)}\n{problems}"
        f"<h2>Outputs</h2>\n{outputs}<p class='soft'>measured on: {escape(check.inputs)}</p>"
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        marks = (' class="n"' if index in numeric else "" for index in range(len(row)))
        return "<tr>" + "".join(f"<{tag}{mark}>{cell}</{tag}>" for mark, cell in zip(marks, row, strict=True)) + "</tr>"

    head = cells("th", headings) if headings else ""
    facts = "" if headings else ' class="facts"'
    return f'<div class="wide"><table{facts}>{head}{"".join(cells("td", row) for row in rows)}</table></div>'
