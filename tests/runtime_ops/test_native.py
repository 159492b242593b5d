"""The kernels without ONNX Runtime around them: tests/native, built and run."""

from __future__ import annotations

import subprocess

from .native import built


def test_every_kernel_equals_its_generic_twin() -> None:
    program = built("kernels_test") / "kernels_test"
    done = subprocess.run([program, "30"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "generic: 30 cases of each kernel, 0 kernels failed" in done.stdout
