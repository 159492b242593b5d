"""What ``regc calibrate`` wrote, in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from regc.compiler.report import text
from regc.compiler.report.layout import Facts
from regc.compiler.report.summary import grouped

if TYPE_CHECKING:
    from regc.compiler.calibration.writing import Calibrated


def show_calibrated(done: Calibrated, console: Console) -> None:
    """Print where the statistics are, of what, and which weights have none and why."""
    facts = Facts(console)
    facts.add("written", f"{done.path}, {text.size(done.nbytes)}")
    facts.add("inputs", done.words)
    facts.add("weights", f"{done.weights} with statistics")
    for reason, names in grouped(done.reasons, done.reasons.__getitem__).items():
        facts.add("without", f"{text.count(len(names), 'weight')}: {reason} ({text.listed(names)})", "yellow")
    facts.show()
