"""Models of one operator with random packed weights, and the three ways to run them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from regc import runtime_ops
from regc.runtime_ops import ops
from regc.runtime_ops.formats import block_sparse, gated, rf8, ternary, ternary5

Array = npt.NDArray[Any]
Weights = dict[str, Array]

ISAS = ("generic", "avx2", "avxvnni", "avx512")
"""Instruction sets whose results are the same bits."""
HALVES = "avx512fp16"
"""The one that multiplies RF8 weights by many rows in float16."""
SPARSE = ("BlockSparseMatMul", "BlockSparseRF8MatMul")
BY_THRESHOLD = ("GatedMatMul", "GatedRF8MatMul")
BY_RANK = ("GatedTopKMatMul", "GatedTopKRF8MatMul")
GATED = (*BY_THRESHOLD, *BY_RANK)
INT8 = ("TernaryMatMul", "Ternary5MatMul")
"""With int8 activations: kernel, body and reference agree bit for bit."""
TERNARY = (*INT8, "TernaryMatMulFloat", "Ternary5MatMulFloat")
OPERATORS = (*TERNARY, "RF8MatMul", *SPARSE, *GATED)
NODE = "layer/7"


def weights(
    op: str,
    shape: tuple[int, int],
    group: int | None = None,
    *,
    seed: int = 0,
    biases: int | None = None,
    block: int | None = None,
) -> Weights:
    """Random packed inputs for a weight ``[N, K]``; ``group`` None or at least K means no groups, ``block`` None
    any size of blocks. With five trits a byte there are 20 inputs for every 16 of ``group``.
    """
    N, K = shape
    random = np.random.default_rng(seed)
    scale = random.uniform(0.5, 2, N).astype(np.float32)
    bias = random.standard_normal(N if biases is None else biases).astype(np.float32)
    affine = {"scale": scale, "bias": bias}
    if op in SPARSE:
        block = block if block is not None else int(random.choice(block_sparse.BLOCKS))
        return {**_sparse(op, shape, block, random), **affine, "shape": np.array([N, K, block])}
    if op in GATED:
        return {**_gated(op, shape, random), **affine, "shape": np.array(shape)}
    if op == "RF8MatMul":
        return {"codes": rf8.pack_codes(_codes(shape, random)), **affine, "shape": np.array(shape)}
    trits = layout(op)
    group = group // ternary.BLOCK * trits.BLOCK if group is not None else K
    group = min(group, K)
    groups = -(-K // group)
    multipliers = random.integers(0, 65, (N, groups)) if groups > 1 else np.ones((N, 1))
    return {
        "codes": trits.pack_trits(random.integers(-1, 2, shape).astype(np.int8)),
        "multiplier": ternary.pack_multipliers(multipliers.astype(np.uint8)),
        **affine,
        "shape": np.array([N, K, group]),
    }


def layout(op: str) -> ModuleType:
    """How a ternary operator stores its trits."""
    return ternary5 if op.startswith("Ternary5") else ternary


def _codes(shape: tuple[int, int], random: np.random.Generator) -> Array:
    """RF8 codes as the encoder emits them."""
    codes = random.integers(0, 256, shape).astype(np.uint8)
    codes[(codes >> 3 & 15 == 0) | (codes & 7 == 7)] = 0
    return codes


def _sparse(op: str, shape: tuple[int, int], block: int, random: np.random.Generator) -> Weights:
    """From no blocks at all to all of them, and now and then a tile without any."""
    grid = block_sparse.grid_shape(shape, block)
    keep = random.random(grid) < random.choice([0, 0.1, 0.5, 0.9, 1])
    keep[random.random(grid[0]) < 0.1] = False
    exact = op == "BlockSparseMatMul"
    matrix = random.standard_normal(shape).astype(np.float32) if exact else _codes(shape, random)
    packed = block_sparse.pack(matrix, keep, block)
    return {"values" if exact else "codes": packed.values, "index": packed.columns, "start": packed.start}


def _gated(op: str, shape: tuple[int, int], random: np.random.Generator) -> Weights:
    """With a threshold that lets through all, most or some of activations of magnitude 1, or with a number of them."""
    exact = "RF8" not in op
    matrix = random.standard_normal(shape).astype(np.float32) if exact else _codes(shape, random)
    norms = random.uniform(0.5, 2, shape[1]).astype(np.float32)
    limits = {
        "threshold": random.choice([0, 0.5, 1], 1).astype(np.float32),
        "active": random.integers(1, shape[1] + 1, 1),
    }
    limit = "threshold" if op in BY_THRESHOLD else "active"
    return {"weights" if exact else "codes": gated.pack(matrix), "norms": norms, limit: limits[limit]}


def passed(x: Array, inputs: Mapping[str, Array]) -> Array:
    """The activations that are multiplied: of a gated operator, zeros where they do not pass."""
    if "norms" not in inputs:
        return x
    scores = np.abs(x) * inputs["norms"]
    if "threshold" in inputs:
        return np.where(scores < inputs["threshold"], np.float32(0), x)
    return np.where(top(scores, int(inputs["active"][0])), x, np.float32(0))


def top(scores: Array, count: int) -> Array:
    """bool like scores: the largest of each row, of equal ones the first; NaN counts as infinity."""
    order = np.argsort(-np.nan_to_num(scores, nan=np.inf, posinf=np.inf), axis=-1, kind="stable")
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, order[..., :count], True, axis=-1)
    return chosen


def dense(op: str, inputs: Mapping[str, Array]) -> Array:
    """The weight float64 ``[N, K]`` without its scale, decoded by the NumPy reference."""
    N, K = (int(size) for size in inputs["shape"][:2])
    if op == "RF8MatMul":
        return rf8.VALUES[rf8.unpack_codes(inputs["codes"], (N, K))].astype(np.float64)
    if op in SPARSE:
        values = inputs["values"] if "values" in inputs else rf8.VALUES[inputs["codes"]]
        packed = block_sparse.Packed(values, inputs["index"], inputs["start"])
        return block_sparse.unpack(packed, (N, K)).astype(np.float64)
    if op in GATED:
        values = inputs["weights"] if "weights" in inputs else rf8.VALUES[inputs["codes"]]
        return gated.unpack(values, N).astype(np.float64)
    trits = layout(op).unpack_trits(inputs["codes"], (N, K)).astype(np.float64)
    group = int(inputs["shape"][2])
    return trits * ternary.unpack_multipliers(inputs["multiplier"], N)[:, np.arange(K) // group]


def model(
    op: str,
    inputs: Mapping[str, Array],
    *,
    x_shape: list[int | str | None] | None = None,
    variable: tuple[str, ...] = (),
    function: bool = True,
    opset: int = 17,
    shape_of_y: bool = True,
) -> onnx.ModelProto:
    """One node ``NODE`` of an operator, whose weights are initializers.

    Those named in ``variable`` are inputs of the graph. Without ``shape_of_y`` it is left to inference.
    """
    shape = x_shape if x_shape is not None else ["rows", int(inputs["shape"][1])]
    y_shape = [*shape[:-1], inputs["scale"].size]
    names = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in inputs.items()}
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *inputs], ["y"], domain=ops.DOMAIN, name=NODE)],
        "one_operator",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
            *(helper.make_tensor_value_info(name, names[name], inputs[name].shape) for name in variable),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y_shape if shape_of_y else None)],
        [numpy_helper.from_array(value, name) for name, value in inputs.items() if name not in variable],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(ops.DOMAIN, ops.VERSION)]
    functions = ops.functions([op], opset) if function else []
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=ops.MIN_IR_VERSION)


@contextmanager
def isa(name: str) -> Iterator[None]:
    """Kernels created inside use at most this instruction set."""
    before = os.environ.get("REGC_ISA")
    os.environ["REGC_ISA"] = name
    try:
        yield
    finally:
        del os.environ["REGC_ISA"]
        if before is not None:
            os.environ["REGC_ISA"] = before


def session(proto: onnx.ModelProto, *, library: bool = True, threads: int = 1) -> ort.InferenceSession:
    """A session of ONNX Runtime with or without our operators."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if library:
        runtime_ops.register(options)
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def by_kernel(proto: onnx.ModelProto, x: Array, name: str, *, threads: int = 1, **feeds: Array) -> Array:
    """y by our kernel for one instruction set."""
    with isa(name):
        (y,) = session(proto, threads=threads).run(None, {"x": x, **feeds})
    return np.asarray(y)


def by_body(proto: onnx.ModelProto, x: Array) -> Array:
    """y by the function body in ONNX Runtime, optimized as any model is."""
    (y,) = session(proto, library=False).run(None, {"x": x})
    return np.asarray(y)


def by_reference(proto: onnx.ModelProto, x: Array) -> Array:
    """y by the function body in the reference evaluator of the onnx package."""
    with np.errstate(all="ignore"):
        (y,) = ReferenceEvaluator(proto).run(None, {"x": x})
    return np.asarray(y)


def assert_same_bits(actual: Array, expected: Array) -> None:
    """Equal in shape and in every bit, except that any NaN equals any other."""
    assert actual.dtype == expected.dtype == np.float32
    assert actual.shape == expected.shape
    same = (actual.view(np.int32) == expected.view(np.int32)) | (np.isnan(actual) & np.isnan(expected))
    assert same.all(), f"{np.count_nonzero(~same)} of {same.size} differ, first at {np.argwhere(~same)[0]}"


def assert_close(actual: Array, x: Array, op: str, inputs: Mapping[str, Array], more: float = 0) -> None:
    """Within (K + 3) half-ulps of the sum of magnitudes, K fused multiply-adds, a product and a sum; ``more`` adds."""
    weight, scale = dense(op, inputs), inputs["scale"].astype(np.float64)
    wide = passed(x, inputs).astype(np.float64)
    exact = wide @ weight.T * scale + inputs["bias"]
    magnitude = np.abs(wide) @ np.abs(weight).T * scale + np.abs(inputs["bias"])
    bound = ((weight.shape[1] + 3) * 2.0**-24 + more) * magnitude
    assert actual.shape == exact.shape
    assert (np.abs(actual - exact) <= bound).all()
