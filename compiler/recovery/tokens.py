"""More to learn from than the calibration inputs: sentences in which some words are others.

The teacher answers for any input, so no labels are needed. A student that has only seen a few hundred words of a
vocabulary is far off at the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
import torch
from torch import Tensor

from regc.compiler.feeds.inputs import Feed
from regc.compiler.sites.chains import constant_of

LEAST_ROWS = 256
"""Rows of a table from which its indices are words, and no types or places."""
FEW = 0.5
"""Share of all words below which calibration inputs are too few to go by."""


@dataclass(frozen=True)
class Tokens:
    """Inputs that are words, and how many there are."""

    rows: Mapping[str, int]

    @classmethod
    def of(cls, graph: gs.Graph) -> Tokens:
        """The inputs of integers by which a graph looks up rows of a large table."""
        rows: dict[str, int] = {}
        for tensor in graph.inputs:
            for node in tensor.outputs:
                table = constant_of(node.inputs[0]) if node.op == "Gather" and node.inputs[1] is tensor else None
                if table is not None and len(table.shape) == 2 and table.shape[0] >= LEAST_ROWS:
                    rows[tensor.name] = int(table.shape[0])
        return cls(rows)

    def few(self, feeds: Sequence[Feed]) -> bool:
        """Whether there are words, and feeds have few of them."""
        seen = {name: np.unique(np.concatenate([feed[name].reshape(-1) for feed in feeds])) for name in self.rows}
        return any(len(words) < FEW * self.rows[name] for name, words in seen.items())

    def mixed(self, inputs: Mapping[str, Tensor], share: float, rng: np.random.Generator) -> dict[str, Tensor]:
        """The inputs with other words in a ``share`` of the samples: in each anything from none to all of them."""
        changed = dict(inputs)
        for name, count in self.rows.items():
            ids = inputs[name]
            replaced = rng.random(len(ids)) * (rng.random(len(ids)) < share)
            hit = rng.random(tuple(ids.shape)) < replaced.reshape(-1, *(1,) * (ids.dim() - 1))
            other = torch.from_numpy(rng.integers(0, count, tuple(ids.shape)))
            changed[name] = torch.where(torch.from_numpy(hit), other.to(ids.dtype), ids)
        return changed
