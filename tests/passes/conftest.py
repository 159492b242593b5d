"""What the tests of all passes share: sites, and the operators' own definitions as the judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from regc.compiler.passes import SiteInfo
from regc.compiler.terms import Coded
from regc.runtime_ops import ops

OPSET = 18

Float32 = npt.NDArray[np.float32]


def run_operator(term: Coded, name: str, x: Float32 | None) -> Float32:
    """Run the body of an operator on a term's operands; the matrix products get a bias of zero."""
    operator = ops.OPERATORS[name]
    constants: dict[str, npt.NDArray[Any]] = {**term.operands(), "bias": np.zeros(1, np.float32)}
    inputs = [] if x is None else [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    graph = helper.make_graph(
        [helper.make_node(name, list(operator.inputs), ["y"], domain=ops.DOMAIN)],
        "one",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None])],
        [numpy_helper.from_array(constants[i], i) for i in constants if i in operator.inputs],
    )
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(ops.DOMAIN, ops.VERSION)]
    model = helper.make_model(
        graph, opset_imports=imports, functions=ops.functions([name], OPSET), ir_version=ops.MIN_IR_VERSION
    )
    onnx.checker.check_model(model)
    outputs = ReferenceEvaluator(model).run(None, {} if x is None else {"x": x})
    assert isinstance(outputs, list)
    result: Float32 = outputs[0]
    return result


@pytest.fixture(scope="session")
def decode() -> Callable[[Coded], Float32]:
    return lambda term: run_operator(term, term.decoder, None)


@pytest.fixture(scope="session")
def matmul() -> Callable[[Coded, Float32], Float32]:
    return lambda term, x: run_operator(term, term.matmuls[0], x)


@pytest.fixture(scope="session")
def site() -> Callable[..., SiteInfo]:
    def make(
        shape: tuple[int, int],
        dtype: npt.DTypeLike = np.float32,
        splittable: bool = True,
        kernel: tuple[int, ...] = (),
    ) -> SiteInfo:
        op = "Conv" if kernel else "MatMul"
        return SiteInfo("w", (op,), ("node",), shape, np.dtype(dtype), True, splittable, kernel)

    return make
