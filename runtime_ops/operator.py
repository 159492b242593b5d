"""What an operator of ours is: inputs, a body in standard ONNX operators, and where it is faster than those."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx
from onnx import helper

from regc.runtime_ops.body import Body
from regc.runtime_ops.endings import Ending
from regc.runtime_ops.regions import EVERYWHERE, Region

DOMAIN = "ai.regc"
VERSION = 1
MIN_IR_VERSION = 8
"""Model-local functions exist since this IR version (ONNX 1.10)."""


@dataclass(frozen=True)
class Operator:
    """One operator: its name, its inputs in order, what it computes and the function body that defines it.

    ``since_opset`` is the lowest opset of the standard domain at which the body is legal. ``base`` is the operator that
    the body calls, if it does, and ``domain`` another domain whose operators it calls; ``attributes`` are integers, or
    lists of them, that a node must have; ``region`` is where it wins over what takes its place otherwise.
    """

    name: str
    inputs: tuple[str, ...]
    doc: str
    build: Callable[[Body], None]
    since_opset: int
    base: str | None = None
    attributes: tuple[str, ...] = ()
    region: Region = EVERYWHERE
    domain: str | None = None

    def function(self, opset: int) -> onnx.FunctionProto:
        """The operator as a model-local function for a model of this opset.

        Raises:
            ValueError: ``opset`` is below ``since_opset``.
        """
        if opset < self.since_opset:
            raise ValueError(f"{self.name} needs opset {self.since_opset}, the model has {opset}")
        body = Body(opset)
        self.build(body)
        imports = [helper.make_opsetid("", opset)]
        if self.base is not None:
            imports.append(helper.make_opsetid(DOMAIN, VERSION))
        if self.domain is not None:
            imports.append(helper.make_opsetid(self.domain, 1))
        function = helper.make_function(
            DOMAIN, self.name, self.inputs, ["y"], body.nodes, imports, attributes=self.attributes
        )
        function.doc_string = self.doc
        return function


def ending_in(base: Operator, ending: Ending) -> Operator:
    """The variant of an operator in which something follows the product."""

    def build(b: Body) -> None:
        product = b.op(base.name, *base.inputs, domain=DOMAIN)
        b.same_attributes(*base.attributes)
        ending.build(b, product)

    doc = f"{base.doc} {ending.doc}"
    inputs = (*base.inputs, *ending.inputs)
    name = base.name + ending.suffix
    return Operator(name, inputs, doc, build, base.since_opset, base.name, base.attributes, base.region)
