import io
from typing import Any

from rich.console import Console

from regc.compiler.report.catalog import show_pass, show_passes
from regc.passes import RF8, LowRank, Ternary

from .reports import words


def test_the_catalog_is_made_from_the_fields_of_a_pass() -> None:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    show_pass(Ternary, console)
    show_passes({"rf8": RF8}, console)
    out: Any = console.file
    printed = words(out.getvalue())
    assert "method gptq | lloyd | mean | median gptq where inputs are known error" in printed
    assert "group int a whole row inputs that share a scale (a multiple of 16, or 20 for 1.6bit)" in printed
    show_pass(LowRank, console)
    printed = words(out.getvalue())
    assert "ratio float 2 how many times fewer values; default: 2, unless a rank or energy is given" in printed
    assert f"rf8 {RF8.summary}" in printed
