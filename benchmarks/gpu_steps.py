"""The steps of benchmarks.gpu_check, each run as ``python -m benchmarks.gpu_steps STEP JSON [ARGUMENT]...``.

A step writes what it finds to the file whenever it has found something, so that it is there whatever happens then. What
runs on a GPU or in the emulation has that as its first argument. Exit codes: 0 all is right, 1 something is wrong.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.checkout import ROOT
from benchmarks.gpu_correct import check_format
from benchmarks.gpu_kernels import TYPES, Host, Kernels, build_emulated, build_for
from benchmarks.gpu_lookups import check_lookups

BUDGET = 150
"""Seconds after which a step times nothing more."""
FOLDER = ROOT / "build" / "cuda"
GPU, EMULATED = "gpu", "emulated"
"""Places."""


class Findings:
    """What a step has found, in a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.began = path, time.monotonic()
        self.found: dict[str, Any] = {"mistakes": []}
        self.write()

    def write(self) -> None:
        """To the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.found, indent=2), encoding="utf-8")

    def add(self, key: str, *values: Any) -> None:
        """To a list, and to the file."""
        self.found.setdefault(key, []).extend(values)
        self.write()

    def mistakes(self, found: Sequence[str]) -> None:
        """Keep and print them."""
        self.add("mistakes", *found)
        for mistake in found:
            print(mistake, flush=True)

    def in_time(self) -> bool:
        """Whether more should be timed; if not, that is said."""
        if time.monotonic() - self.began < BUDGET:
            return True
        print("out of time: the rest is not timed", flush=True)
        return False


def _architecture() -> str:
    import torch  # noqa: PLC0415 - the emulation does without

    major, minor = torch.cuda.get_device_capability()
    return f"{major}{minor}"


def _kernels(place: str) -> Kernels:
    if place == EMULATED:
        return Kernels(build_emulated(ROOT / "build" / "emulated"), Host())
    from benchmarks.gpu_speed import Gpu  # noqa: PLC0415 - needs torch

    return Kernels(build_for(_architecture(), FOLDER), Gpu())


def kernels(findings: Findings, place: str) -> None:
    """Build the kernels, and load them."""
    _kernels(place)


def products(findings: Findings, place: str, kind: str) -> None:
    """Compare the products of a format with NumPy."""
    findings.mistakes(check_format(_kernels(place), kind, ("float32",) if place == EMULATED else TYPES))


def lookups(findings: Findings, place: str) -> None:
    """Compare lookups of rows with NumPy."""
    findings.mistakes(check_lookups(_kernels(place)))


def times(findings: Findings, plan: str, kinds: str) -> None:
    """Time the kernels of formats beside cuBLAS, by a plan of benchmarks.gpu_speed."""
    from benchmarks import gpu_speed  # noqa: PLC0415 - needs torch

    bandwidth = gpu_speed.copy_bandwidth()
    findings.add("bandwidth", bandwidth)
    print(f"copies at {bandwidth / 1e9:.0f} GB/s", flush=True)
    for row in gpu_speed.measure(_kernels(GPU), gpu_speed.plan(plan, kinds.split(",")), bandwidth):
        findings.add("products", row)
        if not findings.in_time():
            return


def libraries(findings: Findings) -> None:
    """Build the libraries of operators for the GPU at hand."""
    from benchmarks.gpu_provider import build_operators  # noqa: PLC0415 - needs ONNX Runtime

    build_operators(_architecture(), FOLDER)


def operators(findings: Findings, op: str) -> None:
    """Compare an operator in ONNX Runtime's CUDA provider with the CPU's."""
    from benchmarks.gpu_provider import check_operator  # noqa: PLC0415 - needs ONNX Runtime

    _use_libraries()
    findings.mistakes(check_operator(op))


def nbits(findings: Findings, place: str) -> None:
    """Check what is timed beside MatMulNBits; emulated, in the CPU's provider."""
    from benchmarks import gpu_nbits  # noqa: PLC0415 - needs torch and ONNX Runtime

    if place == GPU:
        _use_libraries()
    findings.mistakes(gpu_nbits.check_nbits(gpu_nbits.CUDA if place == GPU else "CPUExecutionProvider"))


def nbits_times(findings: Findings, plan: str, kinds: str) -> None:
    """Time our operators beside MatMulNBits in ONNX Runtime, by a plan of benchmarks.gpu_speed."""
    from benchmarks import gpu_nbits, gpu_speed  # noqa: PLC0415 - needs torch and ONNX Runtime

    _use_libraries()
    for row in gpu_nbits.measure(gpu_speed.plan(plan, kinds.split(","))):
        findings.add("operators", row)
        if not findings.in_time():
            return


def models(findings: Findings, model: str, *sizes: str) -> None:
    """Time whole models in ONNX Runtime's CUDA provider: a file, or one that is made here."""
    from benchmarks.gpu_models import measure  # noqa: PLC0415 - needs ONNX Runtime and regc's compiler

    _use_libraries()
    for row in measure(model, sizes):
        findings.add("models", asdict(row))
        print(row.text(), flush=True)


def _use_libraries() -> None:
    """Those of :func:`libraries`."""
    os.environ["REGC_OPS_LIBRARY"] = str(next(FOLDER.glob("libregc_ops.*")))
    os.environ["REGC_CUDA_OPS_LIBRARY"] = str(next(FOLDER.glob("libregc_ops_cuda.*")))


_ALL = (kernels, products, lookups, times, libraries, operators, nbits, nbits_times, models)
STEPS: dict[str, Callable[..., None]] = {step.__name__: step for step in _ALL}


def main(name: str, path: str, *arguments: str) -> int:
    """Run a step."""
    findings = Findings(Path(path))
    STEPS[name](findings, *arguments)
    return 1 if findings.found["mistakes"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
