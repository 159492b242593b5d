"""The kernels without ONNX Runtime around them: tests/native, built and run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_kernel_equals_its_generic_twin(tmp_path: Path) -> None:
    cmake = shutil.which("cmake")
    if cmake is None or shutil.which("c++") is None:
        pytest.skip("no cmake or no C++ compiler")
    source = str(ROOT / "runtime_ops" / "csrc")
    for step in (["-S", source, "-B", str(tmp_path), "-DREGC_TESTS=ON"], ["--build", str(tmp_path), "-j2"]):
        target = ["--target", "kernels_test"] if step[0] == "--build" else []
        built = subprocess.run([cmake, *step, *target], capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stdout + built.stderr
    done = subprocess.run([tmp_path / "kernels_test", "30"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "generic: 30 cases of each kernel, 0 kernels failed" in done.stdout
