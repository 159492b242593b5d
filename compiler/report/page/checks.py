"""With what was calibrated and trained, and how close the outputs are, as HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from regc.compiler.report import text
from regc.compiler.report.checks import fidelity
from regc.compiler.report.page.markup import table
from regc.compiler.report.summary import grouped, unseen

if TYPE_CHECKING:
    from regc.compiler.report import Report
    from regc.compiler.verify import Verification


def calibration(report: Report) -> str:
    """With what was calibrated, and what nothing is known of."""
    if not report.calibration:
        return ""
    items = [
        f"<li>{text.count(len(group), 'weight')} uncalibrated: {escape(reason)}</li>"
        for reason, group in unseen(report.records)
    ]
    return f"<h2>Calibration</h2>\n<p>{escape(report.calibration)}</p><ul>{''.join(items)}</ul>"


def recovery(report: Report) -> str:
    """What training changed."""
    recovered = report.recovered
    if recovered is None:
        return ""
    left = grouped(recovered.left, recovered.left.__getitem__).items()
    items = [f"<li>{text.count(len(names), 'weight')} not trained: {escape(reason)}</li>" for reason, names in left]
    curve = ", ".join(text.number(loss) for loss in recovered.curve)
    return f"<h2>Recovery</h2>\n<p>{escape(recovered.words)}</p><p>{curve}</p><ul>{''.join(items)}</ul>"


def verification(check: Verification) -> str:
    """How the models were loaded and run, and the error of each output."""
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
    problems = "".join(f'<p class="bad">{escape(problem)}</p>' for problem in filter(None, (*untold, fidelity(check))))
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
    outputs = table(headings, figures, numeric=(1, 2, 3, 4, 5)) if figures else ""
    return (
        f"<h2>In ONNX Runtime</h2>\n{table((), rows)}\n{problems}"
        f"<h2>Outputs</h2>\n{outputs}<p class='soft'>measured on: {escape(check.inputs)}</p>"
    )
