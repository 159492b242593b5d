"""What becomes of libregc_ops_cuda where a toolkit is unfit, or is not wanted (csrc/cuda/library.cmake)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .native import SOURCES

pytestmark = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("c++")), reason="no cmake or no C++ compiler"
)

NVCC = """#!/bin/sh
case "$*" in
  *--version*) echo "Cuda compilation tools, release {version}, V{version}.88" ;;
  *) echo "nvcc fatal   : out of order" >&2; exit 1 ;;
esac
"""


def configured(folder: Path, choice: str, version: str) -> tuple[int, str, str]:
    """CMake's exit status and words, and what is left in the library's place, with an nvcc of a version that fails."""
    toolkit = folder / "toolkit"
    for place in ("bin/nvcc", "include/cuda_runtime.h", "lib64/libcudart.so", "lib64/libcudart_static.a"):
        (toolkit / place).parent.mkdir(parents=True, exist_ok=True)
        (toolkit / place).touch()
    (toolkit / "bin" / "nvcc").write_text(NVCC.format(version=version))
    (toolkit / "bin" / "nvcc").chmod(0o755)
    command = ("cmake", "-S", str(SOURCES), "-B", str(folder / "build"), f"-DREGC_CUDA={choice}")
    environment = {**os.environ, "CUDACXX": str(toolkit / "bin" / "nvcc")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    note = folder / "build" / "libregc_ops_cuda.txt"
    return done.returncode, " ".join((done.stdout + done.stderr).split()), note.read_text() if note.exists() else ""


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("13.0", "nvcc does not work with what is here: nvcc fatal : out of order"),
        ("11.8", "is of CUDA 11.8.88, 12 or newer is needed"),
    ],
)
def test_an_unfit_toolkit_is_told_and_ends_no_build(tmp_path: Path, version: str, why: str) -> None:
    status, _, note = configured(tmp_path, "AUTO", version)
    assert status == 0
    assert why in " ".join(note.split())
    status, words, _ = configured(tmp_path, "ON", version)
    assert status != 0
    assert f"libregc_ops_cuda cannot be built: {tmp_path}/toolkit/bin/nvcc" in words
    assert why in words


def test_none_is_looked_for_where_it_is_not_wanted(tmp_path: Path) -> None:
    assert configured(tmp_path, "OFF", "13.0")[::2] == (0, "REGC_CUDA=OFF\n")
