"""A decoder in the shape of a language model of a billion weights, with random ones, in float16.

Grouped queries, SwiGLU and RMS normalization as of such models; attention is over the tokens given, without a cache, a
mask or positions, for what is measured is products: one token is a step of decoding, many are a prompt.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

LAYERS, WIDTH, HEADS, SHARED, HIDDEN, WORDS = 16, 2048, 32, 8, 8192, 32000
SIZE = WIDTH // HEADS

_START = f"""<ir_version: 8, opset_import: ["": 17]>
decoder (int64[tokens] ids) => (float16[tokens, {WORDS}] logits) {{
  x0 = Gather(embedding, ids)
"""
_NORM = """
  {0}s_# = Mul({1}, {1}) {0}m_# = ReduceMean<axes = [-1]>({0}s_#) {0}e_# = Add({0}m_#, epsilon)
  {0}r_# = Sqrt({0}e_#) {0}_# = Div({1}, {0}r_#)
"""
_LAYER = f"""
  {_NORM.format("n", "x#")}
  q0_# = MatMul(n_#, q#_w) q1_# = Reshape(q0_#, queries) q_# = Transpose<perm = [1, 2, 0, 3]>(q1_#)
  k0_# = MatMul(n_#, k#_w) k1_# = Reshape(k0_#, keys) k_# = Transpose<perm = [1, 2, 3, 0]>(k1_#)
  v0_# = MatMul(n_#, v#_w) v1_# = Reshape(v0_#, keys) v_# = Transpose<perm = [1, 2, 0, 3]>(v1_#)
  a0_# = MatMul(q_#, k_#) a1_# = Mul(a0_#, scale) a_# = Softmax<axis = -1>(a1_#)
  c0_# = MatMul(a_#, v_#) c1_# = Transpose<perm = [2, 0, 1, 3]>(c0_#) c_# = Reshape(c1_#, joined)
  o_# = MatMul(c_#, o#_w) h# = Add(x#, o_#)
  {_NORM.format("f", "h#")}
  g0_# = MatMul(f_#, g#_w) g1_# = Sigmoid(g0_#) g_# = Mul(g0_#, g1_#) u_# = MatMul(f_#, u#_w) p_# = Mul(g_#, u_#)
  d_# = MatMul(p_#, d#_w) x$ = Add(h#, d_#)
"""
_END = f"""
  {_NORM.format("last", "x#")}
  logits = MatMul(last_#, head_w)
}}"""


def make_decoder(path: Path, layers: int = LAYERS) -> Path:
    """Write the decoder with its values in a file beside: 61 million weights a layer, 131 million for words."""
    texts = [_LAYER.replace("#", str(index)).replace("$", str(index + 1)) for index in range(layers)]
    model = onnx.parser.parse_model(f"{_START}{''.join(texts)}{_END.replace('#', str(layers))}")
    rng, constants = np.random.default_rng(0), _small()
    for name, inputs, outputs in _weights(layers):
        values = rng.standard_normal((inputs, outputs), np.float32) / np.float32(math.sqrt(inputs))
        constants[name] = values.astype(np.float16)
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
    return path


def _small() -> dict[str, npt.NDArray[Any]]:
    return {
        "epsilon": np.array(1e-5, np.float16),
        "scale": np.array(SIZE**-0.5, np.float16),
        "queries": np.array([-1, SHARED, HEADS // SHARED, SIZE]),
        "keys": np.array([-1, SHARED, 1, SIZE]),
        "joined": np.array([-1, WIDTH]),
    }


def _weights(layers: int) -> list[tuple[str, int, int]]:
    """Names, inputs and outputs."""
    layer = [
        *(("q", WIDTH, WIDTH), ("k", WIDTH, SHARED * SIZE), ("v", WIDTH, SHARED * SIZE), ("o", WIDTH, WIDTH)),
        *(("g", WIDTH, HIDDEN), ("u", WIDTH, HIDDEN), ("d", HIDDEN, WIDTH)),
    ]
    every = [(f"{name}{index}_w", inputs, outputs) for index in range(layers) for name, inputs, outputs in layer]
    return [("embedding", WORDS, WIDTH), *every, ("head_w", WIDTH, WORDS)]
