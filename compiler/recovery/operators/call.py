"""What an operator is given beside its inputs, and the types of ONNX in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Given = Tensor | None
"""An input, None where an optional one is left out."""
Result = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Call:
    """A node as its operator sees it.

    ``opset`` is the version of the standard domain, ``outputs`` how many outputs the node names. ``bodies`` run the
    subgraphs among the attributes, by name, on inputs in order.
    """

    attributes: Mapping[str, Any]
    opset: int = 17
    outputs: int = 1
    bodies: Mapping[str, Callable[[Sequence[Tensor]], list[Tensor]]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)

    def ints(self, name: str, given: Given, default: Sequence[int] | None = None) -> list[int] | None:
        """Integers that are an input in newer opsets and an attribute in older ones."""
        if given is not None:
            return integers(given)
        value = self.attributes.get(name, default)
        return None if value is None else list(value)


Operator = Callable[..., Result]
"""``operator(call, *inputs)`` gives the output, or a tuple of several."""


class UnsupportedError(Exception):
    """An operator is used in a way that is not known here."""


def integers(tensor: Tensor) -> list[int]:
    """The values of a tensor of integers, whatever its shape."""
    return [int(value) for value in tensor.reshape(-1).tolist()]


DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}
"""Enumerators of ONNX; what is missing has no type in PyTorch that computes."""


def dtype_of(enumerator: int) -> torch.dtype:
    """The type of an enumerator of ONNX. Raises UnsupportedError where PyTorch has none."""
    if enumerator not in DTYPES:
        raise UnsupportedError(f"element type {enumerator}")
    return DTYPES[enumerator]
