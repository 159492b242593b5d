"""The CUDA kernels on a machine with a GPU: whether they are right, then how fast they are. Eight minutes at most
without whole models.

    python -m benchmarks.gpu_check [--quick] [--formats F,F] [--json FILE] [--emulate]

Needs nvcc, NumPy, and torch with CUDA; regc need not be installed. What is right: every format, ending and type, few
rows and many, and lookups of rows, against NumPy, bit for bit for int8 activations and for lookups; and, where this
ONNX Runtime has the CUDA provider, every operator against the CPU's, also in a CUDA graph. How fast: products of one to
512 rows beside cuBLAS in float16 and, with the provider, MatMulNBits with 4 bits; distinct weights beyond the L2 cache,
in CUDA graphs, timed by events of the device, in one run with the bandwidth of copying. Formats with mistakes are not
timed. Last, without ``--quick``, whole models: see :mod:`benchmarks.gpu_models`.

Everything is printed as it is found. The file (build/gpu_check.json) is written after every step, so that what was
found is in it whatever happens then. After a fault of the device nothing more works in a process: check the formats
behind it with ``--formats``, and look at the one that did it with compute-sanitizer. ``--emulate`` checks the kernels
on the CPU instead, and times nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.checkout import ROOT
from benchmarks.gpu_correct import check_kernels
from benchmarks.gpu_kernels import TYPES, Host, Kernels, build_emulated, build_for
from benchmarks.gpu_lookups import check_lookups
from benchmarks.gpu_problems import FORMATS

LIMIT = 450
"""Seconds after which nothing more is timed."""
PROVIDER = "CUDAExecutionProvider"


class UnfitError(Exception):
    """This machine cannot run the check; the text says what is missing."""


class Findings:
    """What was found, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.began = path, time.monotonic()
        self.found: dict[str, Any] = {"steps": {}, "mistakes": [], "products": [], "models": [], "failures": {}}

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        """Print with the time."""
        print(f"{self.seconds:5.0f} s  {text}", flush=True)

    def write(self) -> None:
        """To the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.found, indent=2), encoding="utf-8")

    def step(self, name: str, run: Callable[[], None]) -> bool:
        """Run a step; whether it came to its end. What it raised is told, and the next steps go on."""
        self.say(name)
        before = self.seconds
        try:
            run()
        except UnfitError:
            raise
        except Exception as error:
            self.found["failures"][name] = traceback.format_exc()
            self.say(f"{name} failed: {str(error)[-2000:]}")
            return False
        finally:
            self.found["steps"][name] = round(self.seconds - before, 1)
            self.write()
        return True


def versions() -> dict[str, Any]:
    """The GPU and what is installed for it.

    Raises:
        UnfitError: something is missing, or too old for something else.
    """
    if importlib.util.find_spec("torch") is None:
        raise UnfitError("no torch: install a build of it with CUDA")
    import torch  # noqa: PLC0415 - only where it is needed

    if not torch.cuda.is_available():
        raise UnfitError(
            f"torch {torch.__version__} finds no GPU: see nvidia-smi, and whether this is a build with CUDA"
        )
    if shutil.which("nvcc") is None:
        raise UnfitError("no nvcc in PATH: install the CUDA toolkit, or add its bin folder (/usr/local/cuda/bin)")
    said = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=False).stdout
    toolkit = re.search(r"release (\d+)\.(\d+)", said)
    driver = ctypes.c_int()
    ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(driver))
    if toolkit is not None and int(toolkit[1]) > driver.value // 1000:
        raise UnfitError(
            f"the driver is for CUDA {driver.value // 1000}.{driver.value % 1000 // 10}, nvcc for {toolkit[1]}."
            f"{toolkit[2]}: what it builds does not start here; take an nvcc of the driver's version"
        )
    major, minor = torch.cuda.get_device_capability()
    return {
        "device": torch.cuda.get_device_name(),
        "architecture": f"{major}{minor}",
        "driver": driver.value,
        "nvcc": toolkit[0] if toolkit else said,
        "torch": torch.__version__,
    }


def provider_there(findings: Findings) -> bool:
    """Whether ONNX Runtime is there with its CUDA provider; if not, that is said."""
    if importlib.util.find_spec("onnxruntime") is None or importlib.util.find_spec("onnx") is None:
        findings.say("no onnx and onnxruntime here: the operators are not checked")
        return False
    import onnxruntime as ort  # noqa: PLC0415 - may be missing

    if PROVIDER not in ort.get_available_providers():
        findings.say(f"onnxruntime {ort.__version__} has no {PROVIDER}: the operators are not checked")
        return False
    return True


def four_bits_there(findings: Findings) -> Callable[[tuple[int, int], int], float] | None:
    """What times MatMulNBits, if all of regc is installed."""
    try:
        from benchmarks.gpu_nbits import four_bits  # noqa: PLC0415 - needs ONNX Runtime and regc's compiler
    except ImportError as error:
        findings.say(f"{error}: MatMulNBits is not timed")
        return None
    return four_bits


def on_gpu(findings: Findings, formats: Sequence[str], quick: bool) -> None:
    """All steps. The kernels are checked before anything takes long."""
    from benchmarks import gpu_speed  # noqa: PLC0415 - needs torch

    architecture = findings.found["machine"]["architecture"]
    folder = ROOT / "build" / "cuda"
    kernels: list[Kernels] = []
    wrong: dict[str, list[str]] = {}

    def build() -> None:
        kernels.append(Kernels(build_for(architecture, folder), gpu_speed.Gpu()))

    def compare() -> None:
        wrong.update(check_kernels(kernels[0], TYPES, findings.say, formats))
        findings.found["mistakes"] += [words for mistakes in wrong.values() for words in mistakes]
        findings.found["mistakes"] += check_lookups(kernels[0], findings.say)

    def operators() -> None:
        from benchmarks import gpu_provider  # noqa: PLC0415 - needs ONNX Runtime

        gpu_provider.build_operators(architecture, folder)
        findings.found["mistakes"] += gpu_provider.check_provider()

    def models() -> None:
        from benchmarks import gpu_models  # noqa: PLC0415 - needs ONNX Runtime and regc's compiler

        chosen = (gpu_models.PASSES, gpu_models.SIZES, gpu_models.LAYERS, PROVIDER)
        for row in gpu_models.measure(None, *chosen):
            findings.found["models"].append(asdict(row))
            findings.say(str(row))

    def times() -> None:
        four_bits = four_bits_there(findings) if findings.found["provider"] else None
        bandwidth = findings.found["bandwidth"] = gpu_speed.copy_bandwidth()
        findings.say(f"copies at {bandwidth / 1e9:.0f} GB/s")
        for plan in (gpu_speed.QUICK,) if quick else (gpu_speed.MAIN, gpu_speed.OTHERS):
            right = replace(plan, kinds=tuple(kind for kind in plan.kinds if wrong.get(kind) == []))
            for row in gpu_speed.measure(kernels[0], right, bandwidth, four_bits):
                findings.found["products"].append(row)
                if findings.seconds > LIMIT:
                    return findings.say("out of time: the rest is not timed")
        return None

    if not findings.step("building the kernels", build):
        return
    compared = findings.step("comparing the kernels with NumPy", compare)
    findings.found["provider"] = provider_there(findings)
    if compared:
        findings.step("timing", times)
    if findings.found["provider"]:
        findings.step("checking the operators in ONNX Runtime", operators)
    if findings.found["provider"] and not quick:
        findings.step("timing whole models in ONNX Runtime", models)


def emulated(findings: Findings, formats: Sequence[str]) -> None:
    """The kernels on the CPU."""

    def compare() -> None:
        kernels = Kernels(build_emulated(ROOT / "build" / "emulated"), Host())
        for mistakes in check_kernels(kernels, ("float32",), findings.say, formats).values():
            findings.found["mistakes"] += mistakes
        findings.found["mistakes"] += check_lookups(kernels, findings.say)

    findings.step("comparing the emulated kernels with NumPy", compare)


def main() -> int:
    """0: all is right; 1: something is wrong or failed; 2: this machine cannot run the check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--json", type=Path, default=ROOT / "build" / "gpu_check.json", help="write what is found there"
    )
    parser.add_argument("--formats", default=",".join(FORMATS), help="which, of %(default)s")
    parser.add_argument("--quick", action="store_true", help="time one weight only: two minutes in all")
    parser.add_argument("--emulate", action="store_true", help="check on the CPU, and time nothing")
    options = parser.parse_args()
    findings, formats = Findings(options.json), options.formats.split(",")
    if not set(formats) <= set(FORMATS):
        parser.error(f"--formats {options.formats}: choose of {','.join(FORMATS)}")
    try:
        if options.emulate:
            emulated(findings, formats)
        else:
            findings.found["machine"] = versions()
            findings.say(", ".join(f"{key} {value}" for key, value in findings.found["machine"].items()))
            on_gpu(findings, formats, options.quick)
    except UnfitError as error:
        print(error)
        return 2
    for mistake in findings.found["mistakes"]:
        print(mistake)
    findings.say(f"{len(findings.found['mistakes'])} mistakes, {len(findings.found['failures'])} steps failed")
    findings.write()
    return 1 if findings.found["mistakes"] or findings.found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
