"""If and Loop, whose bodies are graphs."""

from __future__ import annotations

import torch
from torch import Tensor

from regc.compiler.recovery.operators.call import Call, Given, Operator


def _if(call: Call, condition: Tensor) -> tuple[Tensor, ...]:
    return tuple(call.bodies["then_branch" if bool(condition) else "else_branch"]([]))


def _loop(call: Call, trips: Given, condition: Given, *carried: Tensor) -> tuple[Tensor, ...]:
    most = None if trips is None else int(trips)
    go, state, scanned = condition is None or bool(condition), list(carried), list[list[Tensor]]()
    count = 0
    while go and (most is None or count < most):
        proceed = torch.tensor(True)
        keep, *results = call.bodies["body"]([torch.tensor(count), proceed, *state])
        state, outputs = results[: len(state)], results[len(state) :]
        scanned.append(outputs)
        go, count = bool(keep), count + 1
    stacked = [torch.stack(parts) for parts in zip(*scanned, strict=True)]
    empty = [torch.empty(0)] * (call.outputs - len(state) - len(stacked))
    return (*state, *stacked, *empty)


OPERATORS: dict[str, Operator] = {"If": _if, "Loop": _loop}
