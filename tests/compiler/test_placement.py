"""Target cuda, and what a model runs on another provider than the one that was asked for."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner

from regc.compiler import compile_model
from regc.compiler.cli import main
from regc.compiler.report.data import verification_data
from regc.compiler.target import TARGETS
from regc.compiler.verify import verify_compiled
from regc.compiler.verify.outcome import Verification
from regc.compiler.verify.placement import Elsewhere, elsewhere, read_profile
from regc.compiler.verify.running import Runner
from regc.passes import RF8, Int, LowRank, Ternary
from regc.runtime_ops.ops import ON_CUDA, OPERATORS
from support import model, normal, op_types, run

CUDA = "CUDAExecutionProvider"
PRODUCTS = Path(__file__).parents[2] / "runtime_ops" / "csrc" / "cuda" / "operators.cpp"
needs_gpu = pytest.mark.skipif(CUDA not in ort.get_available_providers(), reason=f"this ONNX Runtime has no {CUDA}")


def layers(path: Path) -> Path:
    text = """g (float[n,128] x) => (float[n,64] y) {
        a = MatMul(x, w)
        b = Relu(a)
        y = MatMul(b, v)
    }"""
    onnx.save(model(text, w=normal(128, 96), v=normal(96, 64)), path)
    return path


def kernel(name: str, op: str, provider: str) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "args": {"op_name": op, "provider": provider}}


def test_operators_of_the_provider_are_those_that_the_compiler_knows() -> None:
    """By the functions that make them: a name in C++ is that of the operator in lower case."""
    made = set(re.findall(r"\{(\w+)\(\), (?:Format|Layout)::", PRODUCTS.read_text(encoding="utf-8")))
    bases = {OPERATORS[name].base or name for name in ON_CUDA}
    assert {name.replace("_", "") for name in made} == {name.lower() for name in bases}


@pytest.mark.parametrize("passes", [[Ternary()], [RF8()], [LowRank(ratio=2), Ternary(group=32)], [Int(bits=4)]])
def test_target_cuda_emits_what_runs_there(passes: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    compile_model(layers(tmp_path / "m.onnx"), passes, target="cuda").save(out)
    ours = [name.removeprefix("ai.regc::") for name in op_types(onnx.load(out)) if name.startswith("ai.regc::")]
    assert set(ours) <= ON_CUDA
    assert ours or any("MatMulNBits" in name for name in op_types(onnx.load(out)))
    onnx.checker.check_model(out)
    check = verify_compiled(tmp_path / "m.onnx", out)
    assert check.with_library == check.without_library == "ok"


HALF = """g (T[n,64] x, T[n,48] r) => (T[n,48] y) {
    p = MatMul(x, w) u = Add(p, b)
    d = Div(u, s) e = Erf(d) a = Add(e, one) m = Mul(u, a) h = Mul(m, half)
    q = MatMul(h, v) y = Add(q, r)
}"""
"""A block of a transformer as exporters write it, in a type T."""


def half_layers(dtype: Any, opset: int = 17) -> onnx.ModelProto:
    values = {"w": normal(64, 48), "b": normal(48), "v": normal(48, 48), "s": math.sqrt(2), "one": 1, "half": 0.5}
    constants = {name: np.asarray(value).astype(dtype) for name, value in values.items()}
    return model(HALF.replace("T[", f"{np.dtype(dtype).name}["), opset=opset, **constants)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_activations_of_two_bytes_stay_so(dtype: Any) -> None:
    """On a GPU: without casts, and with what follows a product in its operator."""
    small = compile_model(half_layers(dtype), [Ternary()], target="cuda").model.to_proto()
    onnx.checker.check_model(small, full_check=True)
    assert op_types(small) == ["ai.regc::TernaryMatMulGelu", "ai.regc::TernaryMatMulAdd"]
    assert "Cast" in op_types(compile_model(half_layers(dtype), [Ternary()]).model.to_proto())


def test_they_are_cast_where_bodies_cannot(tmp_path: Path) -> None:
    small = compile_model(half_layers(np.float16, opset=14), [Ternary()], target="cuda").model.to_proto()
    assert op_types(small)[:3] == ["Cast", "ai.regc::TernaryMatMul", "Cast"]


def test_a_float16_model_for_cuda_runs_anywhere() -> None:
    proto = half_layers(np.float16)
    small = compile_model(proto, [RF8()], target="cuda").model.to_proto()
    feeds = {"x": normal(5, 64, seed=7).astype(np.float16), "r": normal(5, 48, seed=8).astype(np.float16)}
    (original,) = run(proto, feeds)
    for library in (True, False):
        (y,) = run(small, feeds, library=library)
        assert y.dtype == np.float16
        np.testing.assert_allclose(y, original, rtol=0.1, atol=0.1 * np.abs(original).max())


def test_convolutions_stay_those_of_the_provider(tmp_path: Path) -> None:
    text = "g (float[1,64,9,9] x) => (float[1,32,9,9] y) { y = Conv <pads = [1,1,1,1]> (x, w) }"
    onnx.save(model(text, w=normal(32, 64, 3, 3)), tmp_path / "m.onnx")
    out = tmp_path / "small.onnx"
    compile_model(tmp_path / "m.onnx", [Ternary()], target="cuda").save(out)
    names = op_types(onnx.load(out))
    assert "Conv" in names
    assert "ai.regc::TernaryConv" not in names


def test_what_would_run_on_the_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    term = Ternary().fit(*_leaf())
    assert TARGETS["cuda"].refuses(term) is None
    monkeypatch.setattr(type(term), "matmuls", ("SomeMatMul",))
    assert TARGETS["cuda"].refuses(term) == "target cuda: SomeMatMul has no kernel there and would run on the host"


def _leaf() -> Any:
    from regc.compiler.passes import SiteInfo
    from regc.compiler.terms import Dense

    shape = (32, 64)
    return Dense(normal(*shape)), SiteInfo("w", ("MatMul",), ("node",), shape, np.dtype(np.float32), True, True)


def test_a_profile_tells_what_ran_elsewhere() -> None:
    events = [
        kernel("a", "MatMul", CUDA),
        kernel("b", "Erf", "CPUExecutionProvider"),
        kernel("b", "Erf", "CPUExecutionProvider"),
        kernel("m", "MemcpyToHost", CUDA),
        {"cat": "Session", "name": "model_run", "args": {}},
        {"cat": "Node", "name": "c_fence_before", "args": {"op_name": "Add"}},
    ]
    found = read_profile(events, CUDA)
    assert found == Elsewhere(CUDA, ("b (Erf) on CPUExecutionProvider",), ("m",))
    check = Verification("none", (), (), "ok", "ok", elsewhere=found)
    assert verification_data(check)["elsewhere"]["copies"] == ("m",)


def test_nodes_of_a_session_are_found(tmp_path: Path) -> None:
    path, feed = layers(tmp_path / "m.onnx"), {"x": np.zeros((2, 128), np.float32)}
    assert elsewhere(Runner(), path, feed, False) == Elsewhere("CPUExecutionProvider", (), ())
    assert not list(Path.cwd().glob("profile*"))


def test_a_provider_that_is_not_there_is_said(tmp_path: Path) -> None:
    if CUDA in ort.get_available_providers():
        pytest.skip(f"this ONNX Runtime has {CUDA}")
    path = str(layers(tmp_path / "m.onnx"))
    result = CliRunner().invoke(main, ["verify", path, path, "--providers", "cuda"])
    assert result.exit_code == 2
    assert f"has no {CUDA} here; it has" in result.output
    assert "onnxruntime-gpu" in result.output


@needs_gpu
def test_a_model_for_cuda_runs_there(tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    compile_model(layers(tmp_path / "m.onnx"), [Ternary()], target="cuda").save(out)
    check = verify_compiled(tmp_path / "m.onnx", out, providers=[CUDA, "CPUExecutionProvider"])
    assert check.with_library == "ok"
    assert check.elsewhere == Elsewhere(CUDA, (), ())
