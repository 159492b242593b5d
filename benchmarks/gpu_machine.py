"""For benchmarks.gpu_check: whether this machine can run it, asked in a process of its own, for that takes a GPU."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from typing import Any

PROVIDER = "CUDAExecutionProvider"
LIMIT = 120
_DEVICE = """
import json, torch
there = torch.cuda.is_available()
major, minor = torch.cuda.get_device_capability() if there else (0, 0)
name = torch.cuda.get_device_name() if there else ""
print(json.dumps({"device": name, "architecture": f"{major}{minor}", "torch": torch.__version__}))
"""


class UnfitError(Exception):
    """This machine cannot run the check; the text says what is missing."""


def versions() -> dict[str, Any]:
    """The GPU and what is installed for it.

    Raises:
        UnfitError: something is missing, or too old for something else.
    """
    if importlib.util.find_spec("torch") is None:
        raise UnfitError("no torch: install a build of it with CUDA")
    device = _device()
    if not device["device"]:
        raise UnfitError(f"torch {device['torch']} finds no GPU: see nvidia-smi, and whether this is a build with CUDA")
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
    return {**device, "driver": driver.value, "nvcc": toolkit[0] if toolkit else said}


def _device() -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DEVICE], capture_output=True, text=True, check=False, timeout=LIMIT
        )
    except subprocess.TimeoutExpired as error:
        raise UnfitError(f"torch does not find out in {LIMIT} s whether there is a GPU: see nvidia-smi") from error
    if done.returncode != 0:
        raise UnfitError(f"torch cannot look for a GPU: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def missing_for_operators() -> str:
    """What keeps the operators from being checked in ONNX Runtime, in words; nothing if they can be."""
    if importlib.util.find_spec("onnxruntime") is None or importlib.util.find_spec("onnx") is None:
        return "no onnx and onnxruntime here"
    import onnxruntime as ort  # noqa: PLC0415 - may be missing

    if PROVIDER not in ort.get_available_providers():
        return f"onnxruntime {ort.__version__} has no {PROVIDER}: install onnxruntime-gpu"
    return "" if shutil.which("cmake") else "no cmake in PATH"
