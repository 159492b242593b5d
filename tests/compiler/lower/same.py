"""Weights that the passes represent exactly: the compiled model must compute what it did."""

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from regc.compiler import compile_model
from regc.compiler.model import Model
from regc.passes import RF8
from regc.runtime_ops.formats import rf8
from support import Array, normal, run

ROWS, INPUTS, OUTPUTS = 5, 80, 48


def exact(*shape: int, seed: int = 0, dtype: type = np.float32) -> Array:
    """Weights that RF8 represents without loss: its own values over a few octaves."""
    codes = np.random.default_rng(seed).choice(np.arange(10 * 8, 16 * 8)[np.arange(48) % 8 < 7], shape)
    signs = np.random.default_rng(seed + 1).choice([-1, 1], shape)
    return (rf8.VALUES[codes] * signs).astype(dtype)


def compile_proto(proto: onnx.ModelProto, *passes: object) -> onnx.ModelProto:
    """The compiled model, by RF8 unless passes are given; at least one weight has changed, and it is valid."""
    compiled = changed(proto, *passes).to_proto()
    onnx.checker.check_model(compiled, full_check=True)
    return compiled


def same(proto: onnx.ModelProto, compiled: onnx.ModelProto, feeds: dict[str, Array], *, library: bool = True) -> None:
    """Both models give the same, in ONNX Runtime without and with the library and in the reference evaluator."""
    expected = run(proto, feeds)
    results = [run(compiled, feeds), ReferenceEvaluator(compiled).run(None, feeds)]
    for outputs in [*results, run(compiled, feeds, library=True)] if library else results:
        for ours, theirs in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4 * np.abs(theirs).max())


def x(*shape: int) -> Array:
    return normal(*shape, seed=7)


W = exact(OUTPUTS, INPUTS)
BIAS = normal(OUTPUTS, seed=3)


def changed(proto: onnx.ModelProto, *passes: object) -> Model:
    """The same, as an opened model."""
    result = compile_model(proto, list(passes) or [RF8()])  # type: ignore[arg-type]
    assert result.changed, [record.reason for record in result.records]
    return result.model
