"""Models to compare with each other."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from regc.compiler.verify.running import Runner
from support import model, normal

DENSE = "g (float[n,8] x) => (float[n,4] y) { y = MatMul(x, w) }"


TOKENS = """g (int64[batch,seq] ids, int64[batch,seq] attention_mask, float[2,batch,3] state)
        => (float[batch,seq,6] y, float[2,batch,3] next) {
    e = Gather(table, ids)
    m = Cast<to=1>(attention_mask)
    axis = Constant<value_ints=[2]>()
    m3 = Unsqueeze(m, axis)
    y = Mul(e, m3)
    next = Identity(state)
}"""


def save(proto: onnx.ModelProto, path: Path) -> Path:
    onnx.save(proto, path)
    return path


def dense(path: Path, *, change: float = 0.0) -> Path:
    return save(model(DENSE, w=normal(8, 4) + np.float32(change)), path)


def session(path: Path) -> Any:
    return Runner().open(path, library=False)


def foreign(path: Path) -> Path:
    node = helper.make_node("Thing", ["x"], ["y"], domain="com.example")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    return save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
