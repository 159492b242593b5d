"""Whether ONNX Runtime here runs what ``--fallback matmulnbits`` writes: MatMulNBits with two bits."""

from __future__ import annotations

import numpy as np

SINCE = (1, 24)
"""The first release of ONNX Runtime that loads two bits."""
TOLERANCE = 0.03
"""Relative to the outputs: activations are rounded to 8 bits, each block of them by its own scale."""
INPUTS, OUTPUTS = 512, 256


def relative_error() -> float:
    """That of the outputs of a weight that is ternary as it comes, without our library.

    Raises what ONNX Runtime raises where it does not load the model.
    """
    import onnx  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415

    from regc.compiler.compile import compile_model  # noqa: PLC0415 - it imports the passes

    rng = np.random.default_rng(0)
    weight = (rng.integers(-1, 2, (INPUTS, OUTPUTS)) * 0.1).astype(np.float32)
    x = rng.standard_normal((3, INPUTS)).astype(np.float32)
    product = f"doctor (float[n,{INPUTS}] x) => (float[n,{OUTPUTS}] y) {{ y = MatMul(x, w) }}"
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {product}')
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    made = compile_model(proto, "ternary", fallback="matmulnbits").model.to_proto()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    expected = x @ weight
    return float(np.linalg.norm(session.run(None, {"x": x})[0] - expected) / np.linalg.norm(expected))


def is_promised(version: str) -> bool:
    """Whether a release of ONNX Runtime has it, by its version such as ``1.24.1``."""
    return tuple(int(part) for part in version.split(".")[:2]) >= SINCE
