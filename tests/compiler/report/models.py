"""A model to report on."""

from pathlib import Path

import onnx

from support import model, normal

TWO = """g (float[n,256] x) => (float[n,2] y) {
    h = MatMul(x, big__weight)
    y = MatMul(h, onnx_small)
}"""


def two(path: Path) -> Path:
    proto = model(TWO.replace("__", "_"), big_weight=normal(256, 128), onnx_small=normal(128, 2))
    proto.graph.node[0].name, proto.graph.node[1].name = "/big/MatMul", "/small/MatMul"
    onnx.save(proto, path)
    return path
