"""One matrix product, written in every way that ONNX Runtime can be given: ours, and what a user could have instead.

Each contender builds, for a float32 weight ``[N, K]``, the nodes and constants of ``y = x @ W.T`` (or of what is left
of it when weights or inputs are left out) and tells the right answer, so that a benchmark can check its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from regc.compiler.passes import SiteInfo
from regc.compiler.terms import Coded, Dense
from regc.passes import RF8, Ternary
from regc.passes.rf8 import fit as rf8_fit
from regc.runtime_ops import ops
from regc.runtime_ops.formats import block_sparse, gated, rf8

Float32 = npt.NDArray[np.float32]
Constants = dict[str, npt.NDArray[Any]]
Answer = Callable[[Float32], Float32]


@dataclass(frozen=True, eq=False)
class Layer:
    """One product from ``x`` to ``y``: its nodes, its constants by name, and what it must compute.

    ``work`` is the multiply-adds for a row of x, ``read`` the share of the constants that a product reads,
    ``tolerance`` the relative error that quantized activations may add.
    """

    nodes: list[onnx.NodeProto]
    constants: Constants
    answer: Answer
    work: float
    read: float = 1.0
    tolerance: float = 1e-4

    @property
    def nbytes(self) -> int:
        """Bytes of the weight as stored."""
        return sum(values.nbytes for values in self.constants.values())

    @property
    def functions(self) -> set[str]:
        """The operators of ours that it uses."""
        return {node.op_type for node in self.nodes if node.domain == ops.DOMAIN}


Build = Callable[[Float32], Layer]
HALF = 3e-3
"""Relative error where the CPU multiplies RF8 weights in float16."""


@dataclass(frozen=True)
class Contender:
    """A way to write a product, and the arithmetic it is done in (a key of :data:`benchmarks.limits.Limits`): float16
    is that of RF8 weights and more than a few rows, where the CPU has it, and float32 elsewhere.
    """

    name: str
    arithmetic: str
    build: Build
    ours: bool = False


def _dense(matrix: Float32) -> Answer:
    return lambda x: x @ matrix.T


def float32(weight: Float32) -> Layer:
    """MatMul as it is."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return Layer([node], {"w": np.ascontiguousarray(weight.T)}, _dense(weight), weight.size)


def nbits(bits: int, block: int) -> Build:
    """ONNX Runtime's MatMulNBits with int8 activations (``accuracy_level=4``), symmetric, one scale a block."""

    def build(weight: Float32) -> Layer:
        outputs, inputs = weight.shape
        blocks = weight.reshape(outputs, inputs // block, block)
        zero = 1 << (bits - 1)
        scales = np.abs(blocks).max(-1, keepdims=True) / (zero - 1 if bits > 2 else 1)
        codes = np.clip(np.rint(blocks / scales) + zero, 1 if bits == 2 else 0, 2 * zero - 1).astype(np.uint8)
        matrix = ((codes.astype(np.float32) - zero) * scales).reshape(outputs, inputs).astype(np.float32)
        attributes = {"K": inputs, "N": outputs, "bits": bits, "block_size": block, "accuracy_level": 4}
        node = helper.make_node("MatMulNBits", ["x", "q", "s"], ["y"], domain="com.microsoft", **attributes)
        constants = {"q": _pack(codes, bits), "s": scales.astype(np.float32).reshape(-1)}
        return Layer([node], constants, _dense(matrix), weight.size, tolerance=0.05)

    return build


def dynamic_int8(weight: Float32) -> Layer:
    """What ``quantize_dynamic(per_channel=True)`` emits: activations quantized by tensor, int8 weights by output."""
    scales = np.abs(weight).max(1) / 127
    codes = np.rint(weight / scales[:, None]).astype(np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("MatMulInteger", ["xq", "q", "xz", "z"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["product"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["xs", "s"], ["factor"]),
        helper.make_node("Mul", ["product", "factor"], ["y"]),
    ]
    constants: Constants = {
        "q": np.ascontiguousarray(codes.T),
        "z": np.zeros(len(codes), np.int8),
        "s": scales.astype(np.float32),
    }
    matrix = (codes * scales[:, None]).astype(np.float32)
    return Layer(nodes, constants, _dense(matrix), weight.size, tolerance=0.05)


def coded(pass_: RF8 | Ternary, tolerance: float = 1e-4) -> Build:
    """The weight as a pass of ours leaves it, and the operator that multiplies by it."""

    def build(weight: Float32) -> Layer:
        site = SiteInfo("w", ("MatMul",), ("layer",), (len(weight), weight.shape[1]), weight.dtype, True, True)
        term = pass_.fit(Dense(weight), site)
        assert isinstance(term, Coded), term
        node = _ours(term.matmuls[0])
        return Layer([node], _with_bias(term.operands()), _dense(term.dense()), weight.size, tolerance=tolerance)

    return build


def sparse(kept: float, *, coded_values: bool = False, block: int = 1) -> Build:
    """Random blocks of 16 outputs by ``block`` inputs, of which a share is kept."""

    def build(weight: Float32) -> Layer:
        outputs, inputs = weight.shape
        tiles, columns = -(-outputs // block_sparse.TILE), -(-inputs // block)
        mask = np.random.default_rng(0).random((tiles, columns)) < kept
        wide = np.repeat(np.repeat(mask, block_sparse.TILE, 0), block, 1)[:outputs, :inputs]
        values, scale = _values(weight * wide, coded_values)
        packed = block_sparse.pack(values, mask, block)
        matrix = _matrix(values, scale) * wide
        operator, name = ("BlockSparseRF8MatMul", "codes") if coded_values else ("BlockSparseMatMul", "values")
        shape = np.array([outputs, inputs, block], np.int64)
        constants = {
            name: packed.values,
            "index": packed.columns,
            "start": packed.start,
            "scale": scale,
            "shape": shape,
        }
        return Layer([_ours(operator)], _with_bias({**constants, "scale": scale}), _dense(matrix), weight.size * kept)

    return build


def gate(active: float, *, coded_values: bool = False, topk: bool = False) -> Build:
    """Inputs skipped when |x| is small, below a threshold that of normal activations about ``active`` of them reach, or
    beyond so many of each row.
    """

    def build(weight: Float32) -> Layer:
        outputs, inputs = weight.shape
        count = round(active * inputs)
        threshold = np.float32(NormalDist().inv_cdf(1 - active / 2))
        values, scale = _values(weight, coded_values)
        matrix = _matrix(values, scale)
        constants = {
            "codes" if coded_values else "weights": gated.pack(values),
            "norms": np.ones(inputs, np.float32),
            **({"active": np.array([count])} if topk else {"threshold": np.array([threshold])}),
            "scale": scale,
            "shape": np.array([outputs, inputs], np.int64),
        }

        def answer(x: Float32) -> Float32:
            least = np.sort(np.abs(x), axis=1)[:, [inputs - count]] if topk else threshold
            return np.asarray(np.where(np.abs(x) < least, np.float32(0), x) @ matrix.T)

        return Layer(
            [_ours(f"Gated{'TopK' * topk}{'RF8' * coded_values}MatMul")],
            _with_bias(constants),
            answer,
            weight.size * active,
            active,
            HALF if coded_values else 1e-4,
        )

    return build


CONTENDERS: tuple[Contender, ...] = (
    Contender("float32", "float32", float32),
    Contender("int8 dynamic", "int8", dynamic_int8),
    *(Contender(f"{bits} bit, block {block}", "int8", nbits(bits, block)) for bits in (8, 4, 2) for block in (32, 128)),
    Contender("ternary", "int8", coded(Ternary(), 0.05), ours=True),
    Contender("ternary/64", "int8", coded(Ternary(group=64), 0.05), ours=True),
    Contender("ternary 1.6", "int8", coded(Ternary(storage="1.6bit"), 0.05), ours=True),
    Contender("ternary float32", "float32", coded(Ternary(act="float32")), ours=True),
    Contender("rf8", "float16", coded(RF8(), HALF), ours=True),
    *(Contender(f"sparse {percent}%", "float32", sparse(1 - percent / 100), ours=True) for percent in (50, 70, 90)),
    Contender("sparse 50% rf8", "float16", sparse(0.5, coded_values=True), ours=True),
    *(
        Contender(
            f"gated {percent}%{' rf8' * codes}{' top-k' * topk}",
            "float16" if codes else "float32",
            gate(percent / 100, coded_values=codes, topk=topk),
            ours=True,
        )
        for topk in (False, True)
        for codes in (False, True)
        for percent in (75, 50, 25)
    ),
)


def _values(weight: Float32, codes: bool) -> tuple[npt.NDArray[Any], Float32]:
    """Values ``[N, K]`` to be packed, float32 or RF8 codes, and their scales ``[N]``."""
    if not codes:
        return weight, np.ones(len(weight), np.float32)
    scale = rf8_fit.octave_scales(weight, rf8_fit.NEAREST)
    return rf8_fit.nearest_codes(weight / scale[:, None]), scale


def _matrix(values: npt.NDArray[Any], scale: Float32) -> Float32:
    matrix: Float32 = rf8.VALUES[values] * scale[:, None] if values.dtype == np.uint8 else values
    return matrix


def _ours(operator: str) -> onnx.NodeProto:
    return helper.make_node(operator, ops.OPERATORS[operator].inputs, ["y"], domain=ops.DOMAIN)


def _with_bias(operands: Constants) -> Constants:
    return {**operands, "bias": np.zeros(1, np.float32)}


def _pack(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    per_byte = 8 // bits
    fields = codes.reshape(*codes.shape[:-1], -1, per_byte) << (np.arange(per_byte, dtype=np.uint8) * bits)
    packed: npt.NDArray[np.uint8] = fields.sum(-1, dtype=np.uint8)
    return packed
