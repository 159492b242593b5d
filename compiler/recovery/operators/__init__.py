"""The operators of ONNX in PyTorch, differentiable: one small function each, by the semantics of the model's opset.

:data:`OPERATORS` has them by name, with ``domain::`` in front where the domain is not the standard one.
"""

from regc.compiler.recovery.operators import control, elementwise, indexing, products, reducing, shaping, windows
from regc.compiler.recovery.operators.call import Call, Operator, UnsupportedError

OPERATORS: dict[str, Operator] = {
    **elementwise.OPERATORS,
    **shaping.OPERATORS,
    **indexing.OPERATORS,
    **windows.OPERATORS,
    **reducing.OPERATORS,
    **products.OPERATORS,
    **control.OPERATORS,
}

__all__ = ["OPERATORS", "Call", "Operator", "UnsupportedError"]
