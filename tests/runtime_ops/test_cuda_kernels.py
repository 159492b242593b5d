"""The CUDA kernels, run thread by thread on the CPU, against the library's: tests/native/cuda_test.cpp."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_emulated_kernels_equal_those_of_the_cpu(tmp_path: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None or shutil.which("c++") is None:
        pytest.skip("no cmake or no C++ compiler")
    configure = [cmake, "-S", str(ROOT / "runtime_ops" / "csrc"), "-B", str(tmp_path), "-DREGC_TESTS=ON"]
    configured = subprocess.run(configure, capture_output=True, text=True, check=False)
    assert configured.returncode == 0, configured.stdout + configured.stderr
    if "REGC_EMULATES_CUDA:INTERNAL=1" not in (tmp_path / "CMakeCache.txt").read_text(encoding="utf-8"):
        pytest.skip("the C++ compiler has no _Float16 (gcc 12, clang 15), or the system no ucontext.h")
    build = [cmake, "--build", str(tmp_path), "-j2", "--target", "cuda_test"]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    done = subprocess.run([tmp_path / "cuda_test", "8"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "8 cases of each format, 0 failed\n"
