"""Records and reports made up, and what is printed of them."""

import dataclasses
import io
import math
from typing import Any

import numpy as np
from rich.console import Console

from regc.compiler import Decision, SiteInfo
from regc.compiler.records import SiteRecord
from regc.compiler.report import Report
from regc.compiler.report.table import show_report
from regc.compiler.verify import OutputError, Verification

SMALL = "2x64: too small to gain"


def record(name: str, *decisions: Decision, shape: tuple[int, int] = (384, 1536), **changes: Any) -> SiteRecord:
    info = SiteInfo(name, ("MatMul",), (f"/{name}/MatMul",), shape, np.dtype(np.float32), True, True)
    values = SiteRecord(info, "float32", "float32", info.nbytes, info.nbytes, None, "", decisions)
    return dataclasses.replace(values, **changes)


def changed(name: str, *, error: float = 0.25, **changes: Any) -> SiteRecord:
    decision = Decision(name, "ternary", "", "float32", "ternary/64", None, error)
    done = {"after": "ternary/64", "nbytes_after": 1000, "error": error, "emitted": "ai.regc::TernaryMatMul"}
    return record(name, decision, **(done | changes))


def left(name: str, reason: str = SMALL) -> SiteRecord:
    decisions = [Decision(name, pass_, "", "float32", None, reason) for pass_ in ("low-rank", "ternary")]
    return record(name, *decisions, shape=(2, 64))


CHECK = Verification(
    inputs="4 random feeds, seed 0",
    outputs=(
        OutputError("logits", 80, 80, 80, 0.5, 0.125, 21.43, 0.99641),
        OutputError("boxes", 0, 0, 0, *[math.nan] * 4, note="shape [5, 4] became [6, 4]: not compared"),
    ),
    problems=(),
    with_library="ok",
    without_library="ok",
    library_difference=3e-7,
)


def report(*records: SiteRecord, **changes: Any) -> Report:
    whole = Report("model.onnx", "low-rank,ternary{group=64}", records, 1.5, 56_500_000, 6_700_000, "small.onnx")
    return dataclasses.replace(whole, **changes)


def shown(of: Report, width: int = 80, full: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show_report(of, console, full)
    out: Any = console.file
    return str(out.getvalue())


def words(printed: str) -> str:
    return " ".join(printed.split())
