"""regc: a compression compiler for ONNX models, from file to file.

>>> from regc.compiler import compile_model
>>> from regc.passes import RF8
>>> result = compile_model("model.onnx", passes=[RF8()])
>>> result.save("small.onnx")
>>> print(result.report)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regc.compiler.calibration import Calibration
    from regc.compiler.compile import CompileResult, compile_model
    from regc.compiler.errors import ModelError, RegcError, UsageError
    from regc.compiler.model import Model, load, save
    from regc.compiler.passes import Decision, Pass, Preview, Refusal, SiteInfo, Surveyed, option
    from regc.compiler.pipeline import PassManager
    from regc.compiler.records import Progress, SiteRecord
    from regc.compiler.recovery.options import Recover
    from regc.compiler.spec import format_passes, parse_passes
    from regc.compiler.statistics import Need, Statistics
    from regc.compiler.terms import Coded, Dense, Operated, Product, Separable, Sum, Term

_HOMES = {
    "calibration": ("Calibration",),
    "compile": ("CompileResult", "compile_model"),
    "errors": ("ModelError", "RegcError", "UsageError"),
    "model": ("Model", "load", "save"),
    "recovery.options": ("Recover",),
    "passes": ("Decision", "Pass", "Preview", "Refusal", "SiteInfo", "Surveyed", "option"),
    "pipeline": ("PassManager",),
    "records": ("Progress", "SiteRecord"),
    "spec": ("format_passes", "parse_passes"),
    "statistics": ("Need", "Statistics"),
    "terms": ("Coded", "Dense", "Operated", "Product", "Separable", "Sum", "Term"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Calibration",
    "Coded",
    "CompileResult",
    "Decision",
    "Dense",
    "Model",
    "ModelError",
    "Need",
    "Operated",
    "Pass",
    "PassManager",
    "Preview",
    "Product",
    "Progress",
    "Recover",
    "Refusal",
    "RegcError",
    "Separable",
    "SiteInfo",
    "SiteRecord",
    "Statistics",
    "Sum",
    "Surveyed",
    "Term",
    "UsageError",
    "compile_model",
    "format_passes",
    "load",
    "option",
    "parse_passes",
    "save",
]


def __getattr__(name: str) -> Any:
    """Import the module of a public name when the name is first used, so that importing the package costs nothing."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"regc.compiler.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
