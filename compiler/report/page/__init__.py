"""The report as one HTML page that needs nothing else: no scripts, no fonts, no network."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from regc.compiler.report import text
from regc.compiler.report.page.checks import calibration, recovery, verification
from regc.compiler.report.page.weights import activity, gates, passes, refusals, units, weights

if TYPE_CHECKING:
    from regc.compiler.report import Report

_STYLE = Path(__file__).with_name("style.css")


def page(report: Report) -> str:
    """The page as HTML text."""
    title = f"regc: {report.model}"
    parts = [_head(report), _cards(report), gates(report), units(report), weights(report), activity(report)]
    parts += [refusals(report), passes(report), calibration(report), recovery(report)]
    if report.verification is not None:
        parts.append(verification(report.verification))
    body = "\n".join(part for part in parts if part)
    style = _STYLE.read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
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


def _target(report: Report) -> str:
    target = "" if report.target == "cpu" else f" --target {escape(report.target)}"
    return target if report.fallback == "standard" else f"{target} --fallback {escape(report.fallback)}"
