"""Finding, loading and registering the operator library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from regc import runtime_ops
from regc.runtime_ops import encoder

from .packed import model, weights


def test_named_library_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "other.so"
    library.write_bytes(b"")
    monkeypatch.setenv("REGC_OPS_LIBRARY", str(library))
    assert runtime_ops.library_path() == library.resolve()


def test_named_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGC_OPS_LIBRARY", "/nowhere/ops.so")
    with pytest.raises(runtime_ops.OperatorLibraryError, match=r"REGC_OPS_LIBRARY names /nowhere/ops\.so"):
        runtime_ops.library_path()


def test_installed_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REGC_OPS_LIBRARY", raising=False)
    monkeypatch.setattr(runtime_ops, "__path__", [str(tmp_path / "a"), str(tmp_path / "b")])
    with pytest.raises(runtime_ops.OperatorLibraryError, match=r"a/lib/libregc_ops.so or .*b/lib/.*pip install"):
        runtime_ops.library_path()
    library = tmp_path / "b" / "lib" / "libregc_ops.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"")
    assert runtime_ops.library_path() == library


def test_a_file_that_is_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library = tmp_path / "broken.so"
    library.write_bytes(b"not an ELF file")
    monkeypatch.setenv("REGC_OPS_LIBRARY", str(library))
    with pytest.raises(runtime_ops.OperatorLibraryError, match=r"cannot load .*broken\.so"):
        runtime_ops.register(ort.SessionOptions())


def test_make_session(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    inputs = weights("RF8MatMul", (3, 5))
    file.write_bytes(model("RF8MatMul", inputs, function=False).SerializeToString())
    options = ort.SessionOptions()
    session = runtime_ops.make_session(file, threads=2, providers=["CPUExecutionProvider"], options=options)
    assert options.intra_op_num_threads == 2
    (y,) = session.run(None, {"x": np.zeros((2, 5), np.float32)})
    np.testing.assert_array_equal(y, np.broadcast_to(inputs["bias"], (2, 3)))


def test_one_registration_serves_many_sessions(tmp_path: Path) -> None:
    """Sessions come and go, and options are reused: the domain must outlive them all."""
    file = tmp_path / "model.onnx"
    file.write_bytes(model("RF8MatMul", weights("RF8MatMul", (3, 5)), function=False).SerializeToString())
    options = ort.SessionOptions()
    runtime_ops.register(options)
    x = np.ones((2, 5), np.float32)
    sessions = [ort.InferenceSession(str(file), options) for _ in range(3)]
    del options
    results = [session.run(None, {"x": x})[0] for session in sessions]
    del sessions
    again = runtime_ops.make_session(file).run(None, {"x": x})[0]
    assert all((result == again).all() for result in results)


def test_importing_does_not_load_onnx_runtime() -> None:
    code = "import sys, regc.runtime_ops; sys.exit('onnxruntime' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def library(*, cuda: bool) -> Path:
    try:
        return runtime_ops.library_path(cuda=cuda)
    except runtime_ops.OperatorLibraryError as error:
        if not cuda:
            raise
        pytest.skip(str(error))


def test_the_library_for_gpus_loads_without_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a session of the CPU, whose operators it has, too."""
    monkeypatch.setenv("REGC_OPS_LIBRARY", str(library(cuda=True)))
    test_make_session(tmp_path)


@pytest.mark.parametrize("cuda", [False, True])
@pytest.mark.skipif(shutil.which("nm") is None, reason="binutils' nm is not installed")
def test_exports_what_is_called_from_outside(cuda: bool) -> None:
    command = ["nm", "-D", "--defined-only", str(library(cuda=cuda))]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    exported = {line.split()[-1] for line in listing.splitlines()}
    assert exported == {"RegisterCustomOps", *encoder._ARGUMENTS}


def test_the_cuda_provider_is_asked_for_but_not_there() -> None:
    options = ort.SessionOptions()
    with pytest.raises(runtime_ops.OperatorLibraryError, match=r"has no CUDAExecutionProvider.*onnxruntime-gpu"):
        runtime_ops.register(options, [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"])


def test_the_cuda_provider_has_a_library_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    monkeypatch.delenv("REGC_CUDA_OPS_LIBRARY", raising=False)
    monkeypatch.setattr(runtime_ops, "__path__", [str(tmp_path)])
    with pytest.raises(
        runtime_ops.OperatorLibraryError, match=r"lib/libregc_ops_cuda.so: with a CUDA toolkit.*REGC_CUDA=ON"
    ):
        runtime_ops.register(ort.SessionOptions(), providers)
    library = tmp_path / "lib" / "libregc_ops_cuda.so"
    library.parent.mkdir()
    library.with_suffix(".txt").write_text("no CUDA toolkit was found\n")
    with pytest.raises(
        runtime_ops.OperatorLibraryError, match=r"left out when regc was built: no CUDA toolkit was found:"
    ):
        runtime_ops.library_path(cuda=True)
    library.write_bytes(b"")
    assert runtime_ops.library_path(cuda=True) == library
