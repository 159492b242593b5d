"""The findings of ``regc doctor`` in a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from regc.compiler.report.layout import Facts

if TYPE_CHECKING:
    from regc.compiler.doctor import Finding

_MARKS = {None: ("", ""), True: ("ok: ", "green"), False: ("WRONG: ", "red")}


def show_findings(findings: Iterable[Finding], console: Console) -> int:
    """Print findings and, for what is wrong, the remedy. Returns the exit code: 0 or 1."""
    facts, remedies = Facts(console), []
    for finding in findings:
        mark, style = _MARKS[finding.ok]
        facts.add(finding.subject, f"{mark}{finding.words}", style)
        if finding.ok is False:
            remedies.append(f"{finding.subject}: {finding.remedy}")
    facts.show()
    console.print()
    for remedy in dict.fromkeys(remedies):
        console.print(Text(remedy))
    console.print(Text("all is well" if not remedies else "see above what to do"))
    return 1 if remedies else 0
