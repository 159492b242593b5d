"""The CUDA kernels on a machine with a GPU: whether they are right, then how fast they are. About ten minutes.

    python -m benchmarks.gpu_check [--quick] [--formats F,F] [--model FILE [--sizes S]...] [--json FILE] [--emulate]

Needs nvcc, NumPy, and torch with CUDA; regc need not be installed. What is right: every format, ending and type, few
rows and many, infinities and NaN, and lookups of rows, against NumPy, bit for bit for int8 activations and for lookups;
and, where this ONNX Runtime has the CUDA provider, every operator against the CPU's, also in a CUDA graph. How fast:
products of one to 512 rows beside cuBLAS in float16, with the bandwidth of copying in the same run, and, within ONNX
Runtime, beside MatMulNBits with 4 bits; distinct weights beyond the L2 cache, in CUDA graphs, timed by events of the
device. Formats with mistakes are not timed. Last, without ``--quick``, whole models (benchmarks.gpu_models): a decoder
in the shape of a billion weights and the small encoder of benchmarks.encoder, or ``--model``.

Every step is a process of its own, with a time limit: a fault of the device, or a hang, ends that step alone. What is
found is printed at once. At the end there is a list of all steps, with the last lines of those that failed; the file
(build/gpu_check.json) has that and all numbers, and is written after every step. Look at a fault with compute-sanitizer
and the command of its step. ``--emulate`` tries the script on the CPU, without timing anything: kernels thread by
thread, and what is timed beside MatMulNBits in ONNX Runtime's CPU provider, if that is here.

Exit codes: 0 all is right; 1 a step failed or was too slow; 2 this machine cannot run the check.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.checkout import ROOT
from benchmarks.gpu_lookups import LAYOUTS
from benchmarks.gpu_machine import UnfitError, missing_for_operators, versions
from benchmarks.gpu_problems import FORMATS
from benchmarks.gpu_process import FAILED, PASSED, SKIPPED, TIMED_OUT, Outcome, run_step
from benchmarks.gpu_steps import EMULATED, GPU


class Check:
    """Runs steps (benchmarks.gpu_steps) and keeps what becomes of them."""

    def __init__(self, path: Path) -> None:
        self.path, self.began = path, time.monotonic()
        self.outcomes: list[Outcome] = []
        self.found: dict[str, Any] = {"machine": {}, "steps": [], "mistakes": []}

    def say(self, text: str) -> None:
        """Print with the time since the start."""
        print(f"{time.monotonic() - self.began:5.0f} s  {text}", flush=True)

    def step(self, name: str, step: str, *arguments: str, limit: float) -> bool:
        """Run a step in a process of its own; whether it passed."""
        self.say(name)
        part = self.path.with_suffix(".part.json")
        part.unlink(missing_ok=True)
        command = [sys.executable, "-u", "-m", "benchmarks.gpu_steps", step, str(part), *arguments]
        outcome = run_step(name, command, limit, ROOT)
        if part.exists():
            for key, values in json.loads(part.read_text(encoding="utf-8")).items():
                self.found.setdefault(key, []).extend(values)
            part.unlink()
        self.keep(outcome, " ".join(command[3:]))
        return outcome.status == PASSED

    def skip(self, name: str, why: str) -> None:
        """A step that cannot be run."""
        self.keep(Outcome(name, SKIPPED, why=why))

    def keep(self, outcome: Outcome, command: str = "") -> None:
        """An outcome, in the file, too."""
        self.outcomes.append(outcome)
        self.found["steps"].append({**asdict(outcome), "command": command})
        self.say(f"{outcome.name}: {outcome.status}" + (f", {outcome.why}" if outcome.why else ""))
        self.write()

    def write(self) -> None:
        """To the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.found, indent=2), encoding="utf-8")

    def summary(self) -> int:
        """Print all steps; the exit code."""
        print()
        for outcome in self.outcomes:
            print(outcome.text())
        counts = [f"{sum(o.status == s for o in self.outcomes)} {s}" for s in (PASSED, FAILED, TIMED_OUT, SKIPPED)]
        print(f"\n{', '.join(counts)}; everything is in {self.path}")
        return 1 if any(outcome.status in (FAILED, TIMED_OUT) for outcome in self.outcomes) else 0


def compare(check: Check, place: str, formats: Sequence[str]) -> list[str]:
    """Build the kernels and compare them with NumPy; the formats that are right."""
    if not check.step("building the kernels", "kernels", place, limit=300):
        check.skip("all that needs the kernels", "they were not built")
        return []
    right = [kind for kind in formats if check.step(f"products {kind}", "products", place, kind, limit=180)]
    check.step("lookups", "lookups", place, limit=180)
    return right


def in_provider(check: Check, right: Sequence[str], plans: Sequence[str]) -> bool:
    """Compare the operators in ONNX Runtime's CUDA provider and time them; whether they were built."""
    if not check.step("building the operators", "libraries", limit=400):
        check.skip("all that needs the operators", "they were not built")
        return False
    from benchmarks.gpu_provider import OPERATORS  # noqa: PLC0415 - needs ONNX Runtime

    for op in (*OPERATORS, *LAYOUTS):
        check.step(f"operator {op}", "operators", op, limit=120)
    if check.step("beside MatMulNBits", "nbits", GPU, limit=120):
        for plan in plans:
            check.step(f"times beside MatMulNBits, {plan}", "nbits_times", plan, ",".join(right), limit=300)
    else:
        check.skip("times beside MatMulNBits", "what would be timed is wrong")
    return True


def on_gpu(check: Check, formats: Sequence[str], quick: bool, models: Sequence[Sequence[str]]) -> None:
    """All steps; what is right is timed before operators are compared, which takes long."""
    right = compare(check, GPU, formats)
    plans = ("quick",) if quick else ("main", "others")
    if right:
        for plan in plans:
            check.step(f"times beside cuBLAS, {plan}", "times", plan, ",".join(right), limit=300)
    else:
        check.skip("times beside cuBLAS", "no format is right")
    missing = missing_for_operators()
    if missing:
        return check.skip("operators in ONNX Runtime, beside MatMulNBits and in whole models", missing)
    if in_provider(check, right, plans[:1]) and not quick:
        for arguments in models:
            check.step(f"whole models: {arguments[0]}", "models", *arguments, limit=600)
    return None


def emulated(check: Check, formats: Sequence[str]) -> None:
    """The kernels on the CPU."""
    compare(check, EMULATED, formats)
    if importlib.util.find_spec("torch") and importlib.util.find_spec("onnxruntime"):
        check.step("beside MatMulNBits", "nbits", EMULATED, limit=120)
    else:
        check.skip("beside MatMulNBits", "no torch or no onnxruntime here")


def main() -> int:
    """Run the check; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ROOT / "build" / "gpu_check.json"
    parser.add_argument("--json", type=Path, default=default, help="write what is found there")
    parser.add_argument("--formats", default=",".join(FORMATS), help="which, of %(default)s")
    parser.add_argument("--quick", action="store_true", help="time one weight only, and no whole models")
    parser.add_argument("--model", default="", help="time this ONNX file in place of models made here")
    parser.add_argument("--sizes", action="append", default=[], help="of its named dimensions: batch=1,seq=32")
    parser.add_argument("--emulate", action="store_true", help="check on the CPU, and time nothing")
    options = parser.parse_args()
    formats = options.formats.split(",")
    if not set(formats) <= set(FORMATS):
        parser.error(f"--formats {options.formats}: choose of {','.join(FORMATS)}")
    if bool(options.model) != bool(options.sizes):
        parser.error("--model and --sizes belong together")
    models = [[options.model, *options.sizes]] if options.model else [["decoder"], ["encoder"]]
    check = Check(options.json)
    if options.emulate:
        emulated(check, formats)
        return check.summary()
    try:
        check.found["machine"] = versions()
    except UnfitError as error:
        print(error)
        return 2
    check.say(", ".join(f"{key} {value}" for key, value in check.found["machine"].items()))
    on_gpu(check, formats, options.quick, models)
    return check.summary()


if __name__ == "__main__":
    sys.exit(main())
