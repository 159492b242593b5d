"""Block-sparse weights in training: the kept values move, the others stay zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from regc.compiler.recovery.trainable import Trainable
from regc.compiler.terms import Dense
from regc.passes.group_sparse.term import BlockSparse
from regc.passes.rf8.term import RF8Term
from regc.runtime_ops.formats import block_sparse


class BlockSparseWeights(Trainable):
    """``values`` in training, of which only the blocks count that ``term`` keeps."""

    def __init__(self, term: BlockSparse, values: Trainable) -> None:
        super().__init__()
        self.like, self.values = term, values
        wide = np.repeat(np.repeat(term.keep, block_sparse.TILE, axis=0), term.block, axis=1)
        self.mask = torch.from_numpy(wide[: term.shape[0], : term.shape[1]].astype(np.float32))

    def weight(self) -> Tensor:  # noqa: D102
        return self.values.weight() * self.mask

    def term(self) -> BlockSparse:  # noqa: D102
        values = self.values.term()
        if isinstance(values, Dense):
            return replace(self.like, values=Dense(values.values * self.mask.numpy(), values.dtype))
        assert isinstance(values, RF8Term)
        return replace(self.like, values=values)
