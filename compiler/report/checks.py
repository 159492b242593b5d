"""A verification in a terminal: how the models were loaded and run, and how far outputs are apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from regc.compiler.report import text
from regc.compiler.report.layout import Facts, columns

if TYPE_CHECKING:
    from regc.compiler.verify import Verification

FAITHFUL = 0.95
"""Cosine of an output to the original's below which it is another output. Vectors of a sentence encoder have 0.99 in 8
bits, 0.97 in 4 and 0.62 in 2.
"""


def add_checks(check: Verification, facts: Facts) -> None:
    """Add what happened when the models were loaded and run."""
    if check.original != "ok" and check.problems:
        facts.add("original", check.original, "yellow")
    facts.add("with library", text.unless_told(check.with_library, check.original), _style(check.with_library))
    without = text.unless_told(check.without_library, check.original, check.with_library)
    facts.add("without it", without + _closeness(check.library_difference), _style(check.without_library))
    if check.elsewhere is not None:
        for node in check.elsewhere.nodes:
            facts.add("elsewhere", node, "yellow")
        for name in check.elsewhere.copies:
            facts.add("copy", f"{name} between the memory of the host and of the device", "yellow")
        if not check.elsewhere.nodes and not check.elsewhere.copies:
            facts.add("placement", f"all nodes on {check.elsewhere.provider}")
    for problem in check.problems:
        if check.original not in problem:
            facts.add("not compared", problem, "yellow")
    if (words := fidelity(check)) is not None:
        facts.add("fidelity", words, "yellow")


def fidelity(check: Verification) -> str | None:
    """What to mind where outputs are no longer those of the original; None where they are."""
    worst = min((o for o in check.outputs if math.isfinite(o.cosine)), key=lambda o: o.cosine, default=None)
    if worst is None or worst.cosine >= FAITHFUL:
        return None
    return (
        f"{worst.name} has a cosine of {text.cosine(worst.cosine)} to the original's. A score may hold all the same; "
        "what was made from outputs of the original, such as an index of vectors or a threshold, has to be made anew"
    )


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
            f"{o.count:,}" if o.finite == o.count or not o.finite else f"{o.finite:,} of {o.count:,}",
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
