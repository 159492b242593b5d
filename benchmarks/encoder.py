"""A transformer encoder as an exporter would write it, with random weights: what ``benchmarks.models`` times.

Biases are nodes of their own, GELU is five, and every layer computes shapes from the shape of its input. Its sizes are
those of small sentence encoders.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

LAYERS, WIDTH, HEADS, HIDDEN, WORDS = 6, 384, 12, 1536, 4000

_START = f"""<ir_version: 8, opset_import: ["": 17]>
encoder (int64[batch, seq] input_ids, int64[batch, seq] attention_mask) => (float[batch, seq, {WIDTH}] y) {{
  zero = Constant<value = int64 {{0}}>() one = Constant<value = int64 {{1}}>() axis = Constant<value = int64[1] {{0}}>()
  middle = Constant<value = int64[2] {{1, 2}}>() rest = Constant<value = int64[1] {{-1}}>()
  size = Constant<value = int64[1] {{{WIDTH // HEADS}}}>() width = Constant<value = int64[1] {{{WIDTH}}}>()
  scale = Constant<value = float {{{math.sqrt(HEADS / WIDTH)!r}}}>()
  root = Constant<value = float {{{math.sqrt(2)!r}}}>()
  half = Constant<value = float {{0.5}}>() unit = Constant<value = float {{1}}>()
  low = Constant<value = float {{-10000}}>()
  wide = Unsqueeze(attention_mask, middle) present = Cast<to = 1>(wide) absent = Sub(unit, present)
  mask = Mul(absent, low)
  words = Gather(embedding, input_ids) x0 = LayerNormalization<axis = -1>(words, n_scale, n_shift)
"""
_LAYER = """
  shape_# = Shape(x#) b0_# = Gather(shape_#, zero) s0_# = Gather(shape_#, one)
  b_# = Unsqueeze(b0_#, axis) s_# = Unsqueeze(s0_#, axis)
  split_# = Concat<axis = 0>(b_#, s_#, rest, size) join_# = Concat<axis = 0>(b_#, s_#, width)
  q0_# = MatMul(x#, q#_w) q1_# = Add(q#_b, q0_#) q2_# = Reshape(q1_#, split_#)
  k0_# = MatMul(x#, k#_w) k1_# = Add(k#_b, k0_#) k2_# = Reshape(k1_#, split_#)
  v0_# = MatMul(x#, v#_w) v1_# = Add(v#_b, v0_#) v2_# = Reshape(v1_#, split_#)
  q_# = Transpose<perm = [0, 2, 1, 3]>(q2_#) k_# = Transpose<perm = [0, 2, 3, 1]>(k2_#)
  v_# = Transpose<perm = [0, 2, 1, 3]>(v2_#)
  a0_# = MatMul(q_#, k_#) a1_# = Mul(a0_#, scale) a2_# = Add(a1_#, mask) a_# = Softmax<axis = -1>(a2_#)
  c0_# = MatMul(a_#, v_#) c1_# = Transpose<perm = [0, 2, 1, 3]>(c0_#) c_# = Reshape(c1_#, join_#)
  o0_# = MatMul(c_#, o#_w) o1_# = Add(o#_b, o0_#) o2_# = Add(o1_#, x#)
  m_# = LayerNormalization<axis = -1>(o2_#, n_scale, n_shift)
  u0_# = MatMul(m_#, u#_w) u_# = Add(u#_b, u0_#)
  g0_# = Div(u_#, root) g1_# = Erf(g0_#) g2_# = Add(g1_#, unit) g3_# = Mul(u_#, g2_#) g_# = Mul(g3_#, half)
  d0_# = MatMul(g_#, d#_w) d1_# = Add(d#_b, d0_#) d2_# = Add(d1_#, m_#)
  x$ = LayerNormalization<axis = -1>(d2_#, n_scale, n_shift)
"""


def make_encoder(path: Path, layers: int = LAYERS) -> Path:
    """Write the encoder: 1.77 million weights in each of its layers, 1.5 million in its embedding."""
    texts = [_LAYER.replace("#", str(index)).replace("$", str(index + 1)) for index in range(layers)]
    model = onnx.parser.parse_model(f"{_START}{''.join(texts)}  y = Identity(x{layers}) }}")
    rng = np.random.default_rng(0)
    constants = {
        "embedding": rng.standard_normal((WORDS, WIDTH)),
        "n_scale": np.ones(WIDTH),
        "n_shift": np.zeros(WIDTH),
    }
    for index in range(layers):
        for name, inputs, outputs in [*((n, WIDTH, WIDTH) for n in "qkvo"), ("u", WIDTH, HIDDEN), ("d", HIDDEN, WIDTH)]:
            constants[f"{name}{index}_w"] = rng.standard_normal((inputs, outputs)) / math.sqrt(inputs)
            constants[f"{name}{index}_b"] = rng.standard_normal(outputs) / 10
    tensors = (numpy_helper.from_array(values.astype(np.float32), name) for name, values in constants.items())
    model.graph.initializer.extend(tensors)
    onnx.save(model, path)
    return path
